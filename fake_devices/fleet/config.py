"""What a fleet process is told: its devices, its server, its pace."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from contracts.names import IllegalName, check_endpoint_name
from fake_devices.device import DeviceSettings
from fake_devices.devices import MODELS
from fake_devices.load_profiles import IllegalProfile, LoadProfile, Share, read_profile
from lwm2m.bootstrap import parse_uri
from runtime.component import ConfigError
from runtime.files import check_owner_only

AddressMode = Literal["auto", "shared", "own"]


class IncidentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens to one device, in seconds after its first MQTT connection."""

    endpoint: str
    kind: str
    begins_after_s: float
    ends_after_s: float


class FleetConfig(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fleet's configuration; what it inherits is every device's."""

    devices_file: str
    """NDJSON, one `DeviceLine` a line."""
    server: str = ""
    """The LwM2M server, `coap://host:port` or `coaps://host:port`; empty: devices are to bootstrap.
    """
    bootstrap_server: str = ""
    """The bootstrap server likewise. Devices without `server` begin there; with both, it is where
    they turn to when the server refuses them or cannot be reached."""
    trust_anchor_file: str | None = None
    """PEM certificates of the authorities that servers' certificates must come from. None: the
    certificate that bootstrap wrote must be the server's own."""
    seed: int = 0
    """Of arrivals, phases, back-offs and everything that devices measure."""
    incidents: tuple[IncidentConfig, ...] = ()
    """Of any devices in the file; others are a `ConfigError`."""
    profile_file: str | None = None
    """What the fleet is meant to do and when: a load profile, TOML, or JSON by its name. None:
    devices are switched on at a rate and report at their interval."""
    schedule_file: str | None = None
    """A schedule (`contracts.schedule`) that the fleet follows when it is told to. Devices that it
    does not name, and names of other fleets' devices, are no error."""
    share_first: int = 0
    """Of `share_of` fleets that follow one profile together, which this is, from 0."""
    share_of: int = 1
    """How many fleets follow the profile together; each does every so-manieth piece of it."""
    process: str = "fleet"
    """What its records call it."""
    first_address: int = 0
    """Devices that share a socket have loopback addresses from this one on, counted from
    127.16.1.1: several fleets can have ranges of their own."""
    journal_file: str | None = None
    """Where records go, appended; None: nowhere."""
    addresses: AddressMode = "auto"
    """`shared`: one socket, each device its own 127.x.y.z (loopback only); `own`: a socket each;
    `auto`: shared when the server is on loopback."""
    ack_timeout_s: float = 2.0
    """CoAP's ACK_TIMEOUT (RFC 7252 §4.8)."""
    max_retransmit: int = 4
    """CoAP's MAX_RETRANSMIT (RFC 7252 §4.8)."""
    starts_per_turn_max: int = 32
    """Devices switched on in one turn of the event loop when the schedule is behind."""
    progress_every_s: float = 0.25
    """Seconds between progress lines on standard output."""
    sample_every_s: float = 0.5
    """Seconds between `LoopSample` records."""

    @property
    def share(self) -> Share:
        """Its part of the profile."""
        return Share(self.share_first, self.share_of)


class DeviceLine(msgspec.Struct, frozen=True):
    """One device of the devices file; further fields are ignored.

    Its credentials, for every server of the configuration: a PSK identity and key (hexadecimal), or
    PEM files of certificate and key. A file with keys must be its owner's alone.
    """

    endpoint: str
    serial: str
    model: str
    latitude: float
    longitude: float
    psk_identity: str | None = None
    psk: str | None = None
    certificate: str | None = None
    key: str | None = None
    server: str | None = None
    """The device's own LwM2M server, where that is not the configuration's."""
    mqtt_key: str | None = None
    """PEM file of the private key that the device keeps to itself for MQTT (P-256). None: the
    platform writes one to it."""

    def __repr__(self) -> str:
        return f"DeviceLine({self.endpoint!r}, {self.model!r}, …)"


class ServerAddress(msgspec.Struct, frozen=True):
    """Where an LwM2M server listens, and whether by DTLS."""

    host: str
    port: int
    is_secure: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether it is on 127.0.0.0/8."""
        try:
            return ipaddress.IPv4Address(self.host).is_loopback
        except ipaddress.AddressValueError:
            return False


def parse_server(uri: str) -> ServerAddress:
    """The address in a `coap://host:port` or `coaps://host:port` URI. Raises `ConfigError`."""
    address = parse_uri(uri)
    if address is None or address[0] not in ("coap", "coaps"):
        raise ConfigError(
            f"server {uri!r}: expected coap://host:port or coaps://host:port (UDP or DTLS), with a "
            "port of 1 to 65535"
        )
    scheme, host, port = address
    return ServerAddress(host, port, scheme == "coaps")


def main_server(config: FleetConfig) -> ServerAddress:
    """The server that devices turn to first. Raises `ConfigError`."""
    if not config.server and not config.bootstrap_server:
        raise ConfigError("server or bootstrap_server: one of them is needed")
    return parse_server(config.server or config.bootstrap_server)


def read_load(path: Path) -> LoadProfile:
    """The load profile of a file. Raises `ConfigError`."""
    try:
        if path.suffix == ".json":
            return msgspec.json.decode(path.read_bytes(), type=LoadProfile)
        return read_profile(path)
    except OSError as error:
        raise ConfigError(f"cannot read the load profile {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the load profile {path} is wrong: {error}") from error
    except IllegalProfile as error:
        raise ConfigError(str(error)) from None


def read_devices(path: Path) -> list[DeviceLine]:
    """The devices of a file, in its order. Raises `ConfigError` that names the line."""
    try:
        with path.open("rb") as lines:
            return _read_lines(path, lines)
    except OSError as error:
        raise ConfigError(f"cannot read the devices {path}: {error.strerror}") from error


def _read_lines(path: Path, lines: Iterable[bytes]) -> list[DeviceLine]:
    # Line by line: a million of them twice in memory would be what a fleet's memory is judged by.
    decoder = msgspec.json.Decoder(DeviceLine)
    devices: list[DeviceLine] = []
    seen: set[str] = set()
    has_keys = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            device = decoder.decode(line)
            check_endpoint_name(device.endpoint)
        except (msgspec.DecodeError, IllegalName) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
        if device.model not in MODELS:
            raise ConfigError(f"{path}, line {number}: no model {device.model!r}")
        if device.endpoint in seen:
            raise ConfigError(f"{path}, line {number}: {device.endpoint} is there twice")
        if device.psk is not None and not has_keys:
            check_owner_only(path)
            has_keys = True
        seen.add(device.endpoint)
        devices.append(device)
    return devices
