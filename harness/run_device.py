"""`lamplighter device`: one simulated device against any LwM2M server."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Hashable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from contracts import journal
from contracts.names import check_endpoint_name
from fake_devices.device import Device
from fake_devices.devices import MODELS
from fake_devices.fleet.assembly import assembled
from fake_devices.fleet.building import make_devices
from fake_devices.fleet.config import DeviceLine, FleetConfig, parse_server
from harness.errors import ScenarioError
from harness.trace_printer import TracePrinter
from lwm2m.objects import builtin_models
from lwm2m.transport.silence import noting_silence
from lwm2m.transport.tracing import MessageReader, TracedMessage, Wrap, traced
from runtime.clock import SystemClock
from runtime.component import ConfigError
from runtime.files import check_owner_only

# The harbour district's middle: where a device is that nobody placed.
_LATITUDE, _LONGITUDE = 53.5448, 8.5709
# 1000 days: what `lamplighter load` takes, too.
_LIFETIME_MAX_S = 86_400_000


class DeviceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may choose about one device. Keys are in files, never on a command line."""

    model: str
    server: str = ""
    bootstrap_server: str = ""
    endpoint: str = ""
    identity: str = ""
    psk_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    trust_anchors_file: Path | None = None
    lwm2m_version: str = "1.1"
    lifetime_s: int = 300
    queue_mode: bool = False
    trace: bool = False


async def run_device(options: DeviceOptions, console: Console) -> None:
    """Run it until cancelled, telling on `console` what happens to it.

    Raises `ScenarioError` or `ConfigError` with what to do.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    _check(options)
    line, config = _line_of(options), _config_of(options)
    clock = SystemClock()
    told = _Teller(console)

    def make(peers: Sequence[Hashable]) -> list[Device]:
        return make_devices(config, [line], peers, clock, told)

    wrap = noting_silence(
        trace_on(console, clock) if options.trace else _refusals_on(console),
        lambda text: console.print(text, highlight=False, soft_wrap=True),
    )
    async with assembled(config, clock, 1, make, wrap=wrap) as (fleet, _):
        where = config.server or f"{config.bootstrap_server} (bootstrap)"
        console.print(f"{line.endpoint}, model {line.model}, turns to {where}. Ctrl-C ends it.")
        fleet.start(1_000.0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            console.print(f"{line.endpoint} was switched off.")
        finally:
            fleet.end()


def trace_on(console: Console, clock: SystemClock) -> Wrap:
    """A trace of all messages, decoded, printed on `console`."""
    return traced(_reader(), TracePrinter(console, clock).tell)


def _refusals_on(console: Console) -> Wrap:
    """What servers refuse the device, with their reasons, printed on `console`."""

    def tell(message: TracedMessage) -> None:
        if not message.sent and message.refusal:
            text = f"{message.address} refused: {' '.join([message.refusal, *message.content])}"
            console.print(text, highlight=False, soft_wrap=True, markup=False)

    return traced(_reader(), tell)


def _reader() -> MessageReader:
    from harness.lwm2m_server.secret_resources import is_secret

    return MessageReader(builtin_models(), lambda path: is_secret(str(path)))


class _Teller:
    """Prints what a device records, a line each."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def record(self, record: msgspec.Struct) -> None:
        text = _told(record)
        if text:
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def _told(record: msgspec.Struct) -> str:
    match record:
        case journal.DeviceRegistered():
            return f"registered at {record.location}"
        case journal.DeviceRegistrationFailed() if not record.code:
            return "could not register: no answer"
        case journal.DownlinkServed():
            value = "" if record.value is None else f" = {record.value}"
            return f"{record.operation} {record.path}{value}: {record.code}"
        case journal.CredentialsActivated():
            return f"has its MQTT account, as {record.client_id}"
        case journal.DeviceConnected():
            return "connected to the MQTT broker"
        case journal.DeviceDisconnected():
            return f"lost its MQTT connection: {record.reason}"
        case journal.AlarmGenerated():
            return f"alarm {record.alarm} {'raised' if record.raised else 'cleared'}"
    return ""


def _check(options: DeviceOptions) -> None:
    """Refuse options that cannot work together. Raises `ScenarioError` that names them."""
    if not options.server and not options.bootstrap_server:
        raise ScenarioError("--server coap://host:port (or coaps://…) or --bootstrap is needed")
    for option, uri in (("--server", options.server), ("--bootstrap", options.bootstrap_server)):
        try:
            if uri:
                parse_server(uri)
        except ConfigError as error:
            raise ScenarioError(f"{option}: {error}") from None
    if not 1 <= options.lifetime_s <= _LIFETIME_MAX_S:
        raise ScenarioError(f"--lifetime {options.lifetime_s}: choose 1 to {_LIFETIME_MAX_S} s")
    has_certificate = options.certificate_file is not None
    if has_certificate != (options.key_file is not None):
        missing = "--key" if has_certificate else "--certificate"
        raise ScenarioError(f"{missing} FILE is missing: --certificate and --key go together")
    secure = [u for u in (options.server, options.bootstrap_server) if u.startswith("coaps")]
    if not secure or options.psk_file is not None:
        return
    if not has_certificate:
        raise ScenarioError(
            f"{secure[0]} needs --psk FILE, or --certificate, --key and --trust with a FILE each"
        )
    if options.trust_anchors_file is None:
        raise ScenarioError(
            f"{secure[0]} with --certificate needs --trust FILE too: the PEM of who signs the "
            "server's certificate"
        )


def _line_of(options: DeviceOptions) -> DeviceLine:
    if options.model not in MODELS:
        raise ScenarioError(f"no model {options.model!r}; there are: {', '.join(MODELS)}")
    endpoint = options.endpoint or f"{options.model.replace('_', '-')}-1"
    check_endpoint_name(endpoint)
    psk = None if options.psk_file is None else _read_key(options.psk_file)
    return DeviceLine(
        endpoint,
        endpoint,
        options.model,
        _LATITUDE,
        _LONGITUDE,
        psk_identity=(options.identity or endpoint) if psk is not None else None,
        psk=psk,
        certificate=_text(options.certificate_file),
        key=_text(options.key_file),
    )


def _config_of(options: DeviceOptions) -> FleetConfig:
    if options.lwm2m_version not in ("1.0", "1.1", "1.2"):
        raise ScenarioError(f"--lwm2m-version {options.lwm2m_version}: choose 1.0, 1.1 or 1.2")
    return msgspec.convert(
        {
            "devices_file": "",
            "server": options.server,
            "bootstrap_server": options.bootstrap_server,
            "trust_anchor_file": _text(options.trust_anchors_file),
            "lwm2m_version": options.lwm2m_version,
            "lifetime_s": options.lifetime_s,
            "queue_mode": options.queue_mode,
        },
        FleetConfig,
    )


def _read_key(file: Path) -> str:
    try:
        if str(file) == "-":
            text = sys.stdin.readline()
        else:
            check_owner_only(file)
            text = file.read_text()
    except OSError as error:
        raise ScenarioError(f"cannot read the key {file}: {error.strerror}") from error
    try:
        return bytes.fromhex(text.strip()).hex()
    except ValueError:
        raise ScenarioError(f"the key in {file} is not hexadecimal: 32 to 128 digits") from None


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file)
