"""The options of `lamplighter load`. Nothing here imports Locust."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from harness.errors import ScenarioError
from harness.load.options import LOCUSTFILE, LOOPBACK, MASTER_PORT, WEB_PORT, LoadOptions
from harness.runner.scenario import Broker
from harness.security import Security

# What follows `--` is Locust's.
CONTEXT: Final = {"allow_extra_args": True, "allow_interspersed_args": True}


def _of(panel: str, text: str, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, **more)


_locust = partial(_of, "Locust")
_target = partial(_of, "What is loaded, and with which devices")
_machines = partial(_of, "Several machines")

Users = Annotated[int, _locust("Devices, at most.")]
SpawnRate = Annotated[float, _locust("Devices switched on per second, open-loop.")]
Workers = Annotated[int, _locust("Locust workers on this machine.")]
RunTime = Annotated[str, _locust("300, 90s, 10m, 1h30m. Default: until it is stopped.")]
Headless = Annotated[bool, typer.Option("--headless", help="No page.", rich_help_panel="Locust")]
WebHost = Annotated[str, _locust("Where the page is.")]
WebPort = Annotated[int, _locust("Where the page is.", min=1, max=65535)]
Locustfile = Annotated[Path, _locust("Yours, instead of ours.", metavar="FILE")]

Server = Annotated[
    str, _target("coap:// or coaps://host:port. Default: a bench of its own.", metavar="URI")
]
Devices = Annotated[
    Path | None, _target("With --server: devices and their keys, one a line.", metavar="FILE")
]
Trust = Annotated[Path | None, _target("PEM of who signs server certificates.", metavar="FILE")]
Manifest = Annotated[Path | None, _target("CSV or JSON of devices.", metavar="FILE")]
BrokerKind = Annotated[Broker, _target("The bench's: embedded, amqtt, mosquitto.", metavar="KIND")]
Mode = Annotated[Security, _target("The bench's: psk, x509 or none.", metavar="MODE")]
Uplink = Annotated[bool, _target("Whether devices connect to MQTT.")]
ReportEvery = Annotated[float | None, _target("Seconds between two packs of a device.")]
Commands = Annotated[float, _target("Dim commands per second, through the bench's control API.")]
Lifetime = Annotated[int, _target("Of registrations, seconds.")]
Seed = Annotated[int, _target("Every random choice follows from it.")]
Taps = Annotated[bool, _target("Watch the bench's broker and server.")]

MasterHost = Annotated[str, _machines("Add workers to a master elsewhere.")]
MasterPort = Annotated[int, _machines("0: a free one.", min=0, max=65535)]
MasterBindHost = Annotated[str, _machines("Where the master listens.")]
ExpectWorkers = Annotated[
    int | None, _machines("Of all machines. A test begins when they are there.")
]
Out = Annotated[Path, typer.Option(help="Folder for the run's own folder.")]


def load(
    context: typer.Context,
    users: Users = 100,
    spawn_rate: SpawnRate = 10.0,
    workers: Workers = 2,
    run_time: RunTime = "",
    headless: Headless = False,
    web_host: WebHost = LOOPBACK,
    web_port: WebPort = WEB_PORT,
    locustfile: Locustfile = LOCUSTFILE,
    server: Server = "",
    devices: Devices = None,
    trust: Trust = None,
    manifest: Manifest = None,
    broker: BrokerKind = "embedded",
    security: Mode = "psk",
    uplink: Uplink = True,
    report_every: ReportEvery = None,
    commands: Commands = 0.0,
    lifetime: Lifetime = 300,
    seed: Seed = 1,
    taps: Taps = True,
    master_host: MasterHost = "",
    master_port: MasterPort = MASTER_PORT,
    master_bind_host: MasterBindHost = LOOPBACK,
    expect_workers: ExpectWorkers = None,
    out: Out = Path("reports"),
) -> None:
    """Load a platform by Locust, with simulated devices as users. What follows -- is Locust's.

    Exit 0 holds, 1 failures, 2 inconclusive, 3 saturated or anything else.
    """
    chosen = dict(context.params)
    for ours, name in _RENAMED.items():
        chosen[name] = chosen.pop(ours)
    _run(LoadOptions(**chosen, locust_arguments=tuple(context.args)))


# What an option is called for people, and what with its unit or kind.
_RENAMED: Final = {
    "spawn_rate": "spawn_rate_per_s",
    "devices": "devices_file",
    "trust": "trust_anchors_file",
    "report_every": "report_every_s",
    "commands": "commands_per_s",
    "lifetime": "lifetime_s",
}


def _run(options: LoadOptions) -> None:
    if importlib.util.find_spec("locust") is None:
        raise ScenarioError(
            "Locust is not installed: in the checkout, "
            ".venv/bin/python -m pip install -c constraints.txt -e '.[load]'"
        )
    from harness.cli import run_loop
    from harness.load.run import run_load

    raise typer.Exit(run_loop(run_load(options, Console())).exit_code)
