"""The `lamplighter` command: it parses, calls one function, prints, and exits with the verdict."""

from __future__ import annotations

import asyncio
import errno
import importlib.metadata
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from contracts.names import IllegalName
from harness.cli_options import (
    BrokerOption,
    DefectOption,
    DevicesOption,
    DurationOption,
    EntriesOption,
    FleetProcessesOption,
    KeysOption,
    ManifestOption,
    OscoreOption,
    PortOption,
    ProfileOption,
    RateOption,
    ReportEveryOption,
    SecurityOption,
    ServersOption,
    SimulatedModelOption,
    SimulatedReportEveryOption,
    SimulatedSpeedOption,
    SimulateOption,
    TargetOption,
    TcpPortOption,
    TlsPortOption,
    TraceOption,
)
from harness.command import EXIT_OTHER, INTERRUPTED
from harness.errors import LamplighterError
from harness.load import command as load_command
from harness.runner.scenario import RunOptions
from harness.security import Security
from runtime.component import ConfigError
from runtime.http import PortInUse
from runtime.http_client import HttpError

if TYPE_CHECKING:
    from harness.objects_command import Printed

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
    security: Annotated[
        Security | None,
        typer.Option(metavar="MODE", help="DTLS: psk, x509 or none. Default: psk, where it can."),
    ] = None,
    defect: DefectOption = None,
    report_every: ReportEveryOption = None,
    duration: DurationOption = None,
    taps: Annotated[
        bool, typer.Option(help="Watch the broker and the server's data interface.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Folder for the run's own folder.")] = Path("reports"),
    keep_state: Annotated[bool, typer.Option(help="Keep stores and keys after the run.")] = False,
    profile: ProfileOption = None,
    fleet_processes: FleetProcessesOption = 1,
    servers: ServersOption = None,
    target: TargetOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print report.json instead of text.")
    ] = False,
) -> None:
    """Run a scenario: exit 0 holds, 1 broken, 2 inconclusive, 3 anything else."""
    from harness.bench.target import load_target
    from harness.runner.scenario import load_profile

    options = RunOptions(
        devices=devices,
        rate_per_s=rate,
        seed=seed,
        broker=broker,
        security=security,
        defect=defect,
        manifest=manifest,
        out=out,
        report_every_s=report_every,
        telemetry_s=duration,
        taps=taps,
        keep_state=keep_state,
        profile=None if profile is None else load_profile(profile),
        fleet_processes=fleet_processes,
        servers=servers,
        target=None if target is None else load_target(target),
    )
    _run_and_print(scenario, options, as_json=as_json)


def _run_and_print(scenario: str, options: RunOptions, *, as_json: bool) -> None:
    from harness.runner.scenario import find_scenario

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
    """List the scenarios: how large each is, how long it takes, and what it claims."""
    from harness.runner.scenario import find_scenarios, told_size

    console = Console()
    for scenario in find_scenarios().values():
        size = told_size(scenario)
        console.print(f"[bold]{scenario.name}[/bold]  {size}", highlight=False, soft_wrap=True)
        # Further lines are indented, too.
        console.print(Padding(Text(scenario.claim), (0, 0, 0, 4)))


@app.command()
def up(
    broker: BrokerOption = "embedded",
    security: SecurityOption = "psk",
    manifest: ManifestOption = None,
    devices: DevicesOption = None,
    state: Annotated[
        Path | None, typer.Option(help="Keep stores and keys here; default: a temporary folder.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for logs and journal.")] = Path("reports"),
    host: Annotated[
        str, typer.Option(help="Where devices reach this machine: the LwM2M server and the broker.")
    ] = "127.0.0.1",
    coap_port: PortOption = 0,
    coaps_port: PortOption = 0,
    mqtt_port: PortOption = 0,
    data_port: PortOption = 0,
    control_port: PortOption = 0,
    dashboard_port: PortOption = 0,
    servers: ServersOption = None,
    simulate: SimulateOption = None,
    model: SimulatedModelOption = None,
    report_every: SimulatedReportEveryOption = None,
    speed: SimulatedSpeedOption = None,
    compose: Annotated[
        bool, typer.Option("--compose", help="In containers, with Mosquitto, Neo4j and Locust.")
    ] = False,
) -> None:
    """Bring the platform up and keep it until Ctrl-C, for devices of yours or simulated ones."""
    from harness.runner.keep_up import UpOptions, keep_up
    from harness.runner.simulate import simulation_of

    ports = {
        "coap": coap_port,
        "coaps": coaps_port,
        "mqtt": mqtt_port,
        "data": data_port,
        "control": control_port,
        "dashboard": dashboard_port,
    }
    options = UpOptions(
        broker=broker,
        security=security,
        manifest=manifest,
        devices=devices,
        state=state,
        out=out,
        host=host,
        ports=ports,
        servers=servers or 1,
        simulation=simulation_of(simulate, model, report_every, speed),
    )
    if compose:
        from harness.compose.up import up_composed as keep_up
    run_loop(keep_up(options, Console()))


@app.command()
def device(
    model: Annotated[str, typer.Option(help="street_lamp, water_meter, …")] = "street_lamp",
    server: Annotated[str, typer.Option(metavar="URI", help="coap:// or coaps://host:port.")] = "",
    bootstrap: Annotated[
        str, typer.Option(metavar="URI", help="Bootstrap server; with --server, a fallback.")
    ] = "",
    endpoint: Annotated[str, typer.Option(help="Endpoint name. Default: the model's.")] = "",
    identity: Annotated[str, typer.Option(help="PSK identity. Default: the endpoint.")] = "",
    psk: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Pre-shared key in hex; - reads a line of input."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The device's certificate, PEM.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The private key of --certificate, PEM.")
    ] = None,
    trust: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM of who signs server certificates.")
    ] = None,
    lwm2m_version: Annotated[str, typer.Option(help="1.0, 1.1 or 1.2.")] = "1.1",
    lifetime: Annotated[int, typer.Option(help="Registration lifetime in seconds.")] = 300,
    queue_mode: Annotated[bool, typer.Option(help="Sleep between messages.")] = False,
    trace: TraceOption = False,
) -> None:
    """Run one simulated device against any LwM2M server until Ctrl-C."""
    from harness.run_device import DeviceOptions, run_device

    options = DeviceOptions(
        model=model,
        server=server,
        bootstrap_server=bootstrap,
        endpoint=endpoint,
        identity=identity,
        psk_file=psk,
        certificate_file=certificate,
        key_file=key,
        trust_anchors_file=trust,
        lwm2m_version=lwm2m_version,
        lifetime_s=lifetime,
        queue_mode=queue_mode,
        trace=trace,
    )
    run_loop(run_device(options, Console()))


@app.command()
def serve(
    security: SecurityOption = "psk",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    coap_port: PortOption = 5683,
    coaps_port: PortOption = 5684,
    bootstrap_port: PortOption = 5783,
    bootstrap_secure_port: PortOption = 5784,
    admin_port: PortOption = 0,
    state: Annotated[
        Path | None, typer.Option(help="Keep registrations and keys here; default: nowhere.")
    ] = None,
    tcp_port: TcpPortOption = None,
    tls_port: TlsPortOption = None,
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device", metavar="NAME", help="Make a key, or a certificate, for this device."
        ),
    ] = None,
    keys: KeysOption = None,
    oscore: OscoreOption = None,
    entries: EntriesOption = None,
    objects: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Further object definitions (XML).")
    ] = None,
    trace: TraceOption = False,
) -> None:
    """Run the LwM2M server and its bootstrap server alone until Ctrl-C, for devices of yours."""
    from harness.serve import ServeOptions
    from harness.serve import serve as serve_both

    options = ServeOptions(
        security=security,
        host=host,
        coap_port=coap_port,
        coaps_port=coaps_port,
        bootstrap_port=bootstrap_port,
        bootstrap_secure_port=bootstrap_secure_port,
        tcp_port=tcp_port,
        tls_port=tls_port,
        admin_port=admin_port,
        state=state,
        devices=tuple(devices or ()),
        keys_file=keys,
        oscore_file=oscore,
        bootstrap_file=entries,
        object_files=tuple(objects or ()),
        trace=trace,
    )
    run_loop(serve_both(options, Console()))


@app.command()
def schedule(
    city: Annotated[str, typer.Argument(help="harbour_district, or the file of a manifest.")],
    date: Annotated[str, typer.Option(help="The day, for the sun.")] = "2026-11-21",
    begins: Annotated[str, typer.Option("--from", metavar="HH:MM", help="City time.")] = "00:00",
    ends: Annotated[
        str, typer.Option("--to", metavar="HH:MM", help="City time; on the next day if not later.")
    ] = "24:00",
    utc_offset: Annotated[
        str | None,
        typer.Option(metavar="±HH:MM", help="Of city time. Default: mean solar time."),
    ] = None,
    speed: Annotated[float, typer.Option(help="Seconds of the city in one of the run.")] = 60.0,
    devices: Annotated[
        int | None, typer.Option(help="A sample of the city, or more. Default: all of it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Every random choice follows from it.")] = 1,
    life: Annotated[
        Path | None, typer.Option(metavar="FILE", help="How the city lives (TOML).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the schedule (NDJSON).")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write its picture.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print figures as JSON instead of text.")
    ] = False,
) -> None:
    """Work out a city's day ahead of a run: what happens to which device and when."""
    from harness.schedule_command import ScheduleOptions, make_schedule

    options = ScheduleOptions(
        city=city,
        date=date,
        begins=begins,
        ends=ends,
        utc_offset=utc_offset,
        speed=speed,
        devices=devices,
        seed=seed,
        life=life,
        out=out,
        html=html,
        as_json=as_json,
    )
    make_schedule(options, Console(stderr=as_json))


app.command(context_settings=load_command.CONTEXT)(load_command.load)


objects_app = typer.Typer(help="Object definitions: what is known, and whether yours are right.")
app.add_typer(objects_app, name="objects")


@objects_app.command(name="check")
def check_objects(
    files: Annotated[list[Path], typer.Argument(help="OMA object XML, or folders of it.")],
) -> None:
    """Check object definitions; a line per problem with file and line number."""
    from harness.objects_command import check_files

    _print_lines(check_files(files))


@objects_app.command(name="list")
def list_objects() -> None:
    """List the built-in object definitions and their versions."""
    from harness.objects_command import list_objects as listed

    _print_lines(listed())


def _print_lines(printed: Printed) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in printed.lines))
    raise typer.Exit(printed.exit_code)


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


def _add_commands() -> None:
    """Take in what other parts of the installation offer: only what is asked for is imported."""
    asked = sys.argv[1:2]
    for found in importlib.metadata.entry_points(group="lamplighter.commands"):
        if asked in ([], ["--help"], [found.name]):
            command = found.load()
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=found.name)
            else:
                app.command(found.name)(command)


def main() -> None:
    """Entry point: every error is one line on standard error, exit 3."""
    try:
        _add_commands()
        # Outside its standalone mode click returns the code of `typer.Exit`.
        sys.exit(app(standalone_mode=False))
    except (LamplighterError, ConfigError, IllegalName) as error:
        fail(str(error))
    except PortInUse as error:
        fail(f"{error}: see the --…-port options of this command")
    except (OSError, HttpError) as error:
        fail_of_os(error)
    except Exception as error:
        # typer brings a click of its own: its usage errors are known by what they can do.
        told = getattr(error, "format_message", None)
        if told is None:
            raise
        # What checks a choice puts the kind of its error in front.
        fail(told().replace("Value error, ", "") or "see lamplighter --help")
    except (KeyboardInterrupt, asyncio.CancelledError, typer.Abort):
        fail(INTERRUPTED)


def fail_of_os(error: OSError | HttpError) -> None:
    """Print what the system refused, and what to do; exit 3."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        fail(f"{error}: free space there, or choose a folder on another disk; then start again")
    fail(f"{error}: see the logs of the run, or choose another folder")


def fail(text: str) -> None:
    """Print one line and exit 3."""
    sys.stderr.write(f"lamplighter: {text}\n")
    sys.exit(EXIT_OTHER)
