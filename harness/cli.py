"""The `lamplighter` command: it parses, calls one function, prints, and exits with the verdict."""

from __future__ import annotations

import asyncio
import importlib.metadata
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from harness.errors import LamplighterError
from harness.runner.scenario import DEFECTS, Broker, Defect, RunOptions
from runtime.http_client import HttpError

EXIT_OTHER = 3
# Longer than a teardown takes.
CANCEL_AGAIN_AFTER_S = 4.0
Result = TypeVar("Result")

app = typer.Typer(
    name="lamplighter",
    help="A proving ground for smart-city device platforms that speak LwM2M and MQTT.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


BrokerOption = Annotated[Broker, typer.Option(metavar="KIND", help="embedded, amqtt or mosquitto.")]
DefectOption = Annotated[
    Defect | None,
    typer.Option(metavar="NAME", help="Plant one that must be found: " + ", ".join(DEFECTS)),
]
DevicesOption = Annotated[
    int | None,
    typer.Option(help="A sample of the manifest, or more. Default: 200, or all of yours."),
]
ManifestOption = Annotated[
    Path | None, typer.Option(help="CSV or JSON of devices; default: the harbour district.")
]
RateOption = Annotated[
    float | None,
    typer.Option(help="Devices switched on per second, open-loop. Default: the scenario's."),
]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")]


@app.callback()
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """See the commands below; each has a --help of its own."""
    if version:
        sys.stdout.write(f"lamplighter {importlib.metadata.version('lamplighter')}\n")
    elif context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
        raise typer.Exit(EXIT_OTHER)


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="Its name; `lamplighter list` shows all.")],
    manifest: ManifestOption = None,
    devices: DevicesOption = None,
    rate: RateOption = None,
    seed: Annotated[int, typer.Option(help="Every random choice follows from it.")] = 1,
    broker: BrokerOption = "embedded",
    defect: DefectOption = None,
    report_every: Annotated[
        float | None, typer.Option(help="Seconds between two packs of a device.")
    ] = None,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of telemetry after the last device is online.")
    ] = None,
    taps: Annotated[
        bool, typer.Option(help="Watch the broker and the server's data interface.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Folder for the run's own folder.")] = Path("reports"),
    keep_state: Annotated[bool, typer.Option(help="Keep stores and keys after the run.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print report.json instead of text.")
    ] = False,
) -> None:
    """Run a scenario: exit 0 holds, 1 broken, 2 inconclusive, 3 anything else."""
    from harness.runner.scenario import find_scenario

    options = RunOptions(
        devices=devices,
        rate_per_s=rate,
        seed=seed,
        broker=broker,
        defect=defect,
        manifest=manifest,
        out=out,
        report_every_s=report_every,
        telemetry_s=duration,
        taps=taps,
        keep_state=keep_state,
    )
    chosen = find_scenario(scenario)
    from harness.reporting import print_summary
    from harness.runner.execute import execute

    console = Console(stderr=as_json)
    executed = run_loop(execute(chosen, options, console))
    if as_json:
        sys.stdout.write((executed.directory / "report.json").read_text())
    else:
        print_summary(executed.report, executed.directory, console)
    raise typer.Exit(executed.report.exit_code)


@app.command(name="list")
def list_scenarios() -> None:
    """List the scenarios and what each claims."""
    from harness.runner.scenario import find_scenarios

    console = Console()
    for scenario in find_scenarios().values():
        console.print(f"[bold]{scenario.name}[/bold]\n    {scenario.claim}")


@app.command()
def up(
    broker: BrokerOption = "embedded",
    manifest: ManifestOption = None,
    devices: DevicesOption = None,
    state: Annotated[
        Path | None, typer.Option(help="Keep stores and keys here; default: a temporary folder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for logs and journal.")] = Path("reports"),
    coap_port: PortOption = 0,
    mqtt_port: PortOption = 0,
    data_port: PortOption = 0,
    control_port: PortOption = 0,
) -> None:
    """Bring the bench up and keep it until Ctrl-C, so that a real device or client can connect."""
    from harness.runner.keep_up import keep_up

    ports = {"coap": coap_port, "mqtt": mqtt_port, "data": data_port, "control": control_port}
    run_loop(keep_up(broker, manifest, devices, state, out, ports, Console()))


def run_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run one coroutine to its end on uvloop; Ctrl-C and SIGTERM cancel it and let it tear down."""
    import uvloop

    return uvloop.run(_until_signalled(work))


async def _until_signalled(work: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        # A wait that ends in the same turn can swallow a cancellation: ask until it is heard.
        if not task.done():
            task.cancel()
            loop.call_later(CANCEL_AGAIN_AFTER_S, cancel)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel)
    return await task


def main() -> None:
    """Entry point: every error is one line on standard error, exit 3."""
    try:
        # Outside its standalone mode click returns the code of `typer.Exit`.
        sys.exit(app(standalone_mode=False))
    except LamplighterError as error:
        fail(str(error))
    except (OSError, HttpError) as error:
        fail(f"{error}: see the logs of the run, or choose another folder")
    except Exception as error:
        # typer brings a click of its own: its usage errors are known by what they can do.
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        fail(told() or "see lamplighter --help")
    except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
        fail("interrupted: what was started has been ended, and nothing is judged")


def fail(text: str) -> None:
    """Print one line and exit 3."""
    sys.stderr.write(f"lamplighter: {text}\n")
    sys.exit(EXIT_OTHER)
