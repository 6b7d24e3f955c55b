"""Options that commands of `lamplighter` take: their types, and what `--help` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.runner.scenario import DEFECTS, Broker, Defect
from harness.security import Security

BrokerOption = Annotated[Broker, typer.Option(metavar="KIND", help="embedded, amqtt or mosquitto.")]
SecurityOption = Annotated[
    Security,
    typer.Option(metavar="MODE", help="How devices prove themselves by DTLS: psk, x509 or none."),
]
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
ProfileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A load profile (TOML): what happens when.")
]
FleetProcessesOption = Annotated[
    int, typer.Option(metavar="N", help="Processes that share the devices.")
]
ServersOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="LwM2M servers, each with its bridge; they share the devices."),
]
TargetOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Where the platform keeps its data (TOML); see deploy/aws."),
]
DurationOption = Annotated[
    float | None, typer.Option(help="Seconds of telemetry after the last device is online.")
]
ReportEveryOption = Annotated[
    float | None, typer.Option(help="Seconds between two packs of a device.")
]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")]
TcpPortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, help="CoAP over TCP; 0: a free port.")
]
TlsPortOption = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="CoAP over TLS, with certificates; 0: a free port."),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Devices' keys: {endpoint, identity, key in base64} a line."),
]
OscoreOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Devices' OSCORE contexts, one a line.")
]
EntriesOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="What devices are bootstrapped to, an entry a line."),
]
TraceOption = Annotated[bool, typer.Option("--trace", help="Print every message, decoded.")]
SimulateOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Let N simulated devices come online, and keep them so."),
]
SimulatedModelOption = Annotated[
    str | None,
    typer.Option(help="Of --simulate: only devices of this model: street_lamp, water_meter, …"),
]
SimulatedReportEveryOption = Annotated[
    float | None,
    typer.Option(help="Of --simulate: seconds between two packs of a device. Default: 5."),
]
SimulatedSpeedOption = Annotated[
    float | None,
    typer.Option(help="Of --simulate: seconds of the city in one of ours. Default: 1."),
]
