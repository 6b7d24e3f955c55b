"""What a bridge says of itself: how it stands and what it carries, on a topic of its own.

Nothing is retained. A bridge tells on every change of its state and every `every_s`, so that who
comes late knows within one period; its last will tells of its loss, and silence does where a
broker lost both.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from contracts.data_interface import Holder
from contracts.errors import ContractError, UnsupportedVersion

VERSION: Final = 1
EVERY_S: Final = 30.0
# After so many periods without a word a bridge is taken for lost.
PERIODS_SILENT_MAX: Final = 2.5

# `live`: its server's devices are known and commands pass. `connecting`: the server is not reached,
# or its snapshot not complete. `stopped`: it said good-bye. `lost`: its last will.
BridgeState = Literal["connecting", "live", "stopped", "lost"]


class BridgeLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What a bridge carries. Rates are of the time since the status before, per second."""

    devices_held: int = 0
    """Devices of its server, without those that another server took over."""
    devices_superseded: int = 0
    """Registrations of its server that a later one elsewhere has overtaken."""
    events_per_s: float = 0.0
    commands_per_s: float = 0.0
    queue_depth: int = 0
    """Messages that wait for an MQTT connection to take them."""
    events_unacknowledged: int = 0
    """Events of the server that are published, or wait to be, without their PUBACK."""
    credentials_under_way: int = 0
    credentials_waiting: int = 0
    messages_waiting: int = 0
    """MQTT messages that wait for the server."""


class BridgeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a bridge's status topic, QoS 1, never retained.

    `instance` is drawn at the start of its process: the last will of an older one says nothing of
    this one. `sequence` counts an instance's statuses; a last will has 0 and no load. Times are
    Unix microseconds: when this was told, and when `state` began. `counts` are its counters so far.
    """

    server: str
    instance: str
    sequence: int
    state: BridgeState
    at_us: int
    since_us: int
    every_s: float = EVERY_S
    load: BridgeLoad = BridgeLoad()
    counts: dict[str, int] = {}
    v: int = VERSION


class BridgeStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One bridge as `GET /v1/bridges` shows it.

    `state` is its own word, or `lost` when its will or its silence tells, or `unknown` for a server
    that holds devices and whose bridge has not been heard of. `since_us`: since when; `heard_at_us`
    is when its newest status came, None when none did. `devices_held` is what control knows:
    how many devices commands for which go to this bridge. `restarts`: how many further processes of
    this bridge were heard of.
    """

    server: str
    state: Literal["connecting", "live", "stopped", "lost", "unknown"]
    since_us: int | None
    heard_at_us: int | None
    devices_held: int
    restarts: int = 0
    load: BridgeLoad | None = None
    counts: dict[str, int] = {}


class BridgeList(msgspec.Struct, frozen=True):
    """All bridges, in the order of their servers' names."""

    bridges: list[BridgeStanding]


class HolderNotice(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a holder topic, to the bridge of the server in the topic: its registration
    `registration_id` of `endpoint` was overtaken by a later one elsewhere, that of `holder`.

    Control tells this whenever a bridge announces a registration that has been overtaken, so also
    after the bridge's restart.
    """

    endpoint: str
    registration_id: str
    holder: Holder
    v: int = VERSION


_notices = msgspec.json.Decoder(HolderNotice)
_statuses = msgspec.json.Decoder(BridgeStatus)


def decode_status(data: bytes) -> BridgeStatus:
    """The payload of a bridge's status topic. Raises `ContractError`."""
    try:
        found = _statuses.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"not a bridge's status: {error}") from None
    if found.v > VERSION:
        raise UnsupportedVersion("this bridge's status", found.v, VERSION)
    return found


def decode_notice(data: bytes) -> HolderNotice:
    """The payload of a holder topic. Raises `ContractError`."""
    try:
        found = _notices.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"not a holder notice: {error}") from None
    if found.v > VERSION:
        raise UnsupportedVersion("this holder notice", found.v, VERSION)
    return found
