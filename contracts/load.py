"""What a loader was meant to do and says of itself; records of the journal and their limits.

And what only runs at scale observe: Updates, packages of firmware, what came over the data
interface, and what parts of the bench say when they are asked at the end.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from contracts.telemetry import ReadingValue

# An option of `RunStarted` and its value: a run of the LwM2M server and a fleet, without the rest.
OPTION_PARTS: Final = "parts"
LWM2M_ALONE: Final = "lwm2m alone"


class _Record(
    msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="k", omit_defaults=True
):
    at_ns: int


_Milliseconds = Annotated[float, Meta(gt=0.0, le=1e6)]


class LoaderLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Beyond these the loader was the bottleneck, and what was measured is void."""

    lag_p99_ms: _Milliseconds = 50.0
    """99 of 100 pieces of work are issued within this after they were intended, milliseconds."""
    lag_max_ms: _Milliseconds | None = None
    """None is issued later than this, milliseconds; not given: no limit."""
    loop_delay_p99_ms: _Milliseconds = 20.0
    """99 of 100 timers of the fleet's event loop are at most this late, milliseconds."""
    loop_delay_max_ms: _Milliseconds | None = None
    """None is later than this, milliseconds; not given: no limit."""
    socket_drops: Annotated[int, Meta(ge=0)] = 0
    """Datagrams that a full socket of the fleet may drop."""


class LoadPlanned(_Record, frozen=True, tag="load_planned"):
    """The load of this run: events by kind as the profile intends them, and the loader's limits.

    `began_ns` is the moment that the profile's times count from.
    """

    profile: str
    began_ns: int
    events: dict[str, int] = {}
    duration_s: float = 0.0
    fleet_processes: int = 1
    limits: LoaderLimits = LoaderLimits()


class FleetBuilt(_Record, frozen=True, tag="fleet_built"):
    """A fleet process has its devices. `addresses`: `shared` is one socket for all of them, each
    with a loopback address of its own from `first_address` on; `own` is a socket each."""

    process: str
    devices: int
    addresses: Literal["shared", "own"]
    first_address: str = ""


class LagSample(_Record, frozen=True, tag="lag_sample"):
    """How much later than intended the loader issued its work of one kind since the last sample.

    `lags` as `LoopSample.delays`. `missed` was not issued at all: there was nobody to do it.
    """

    process: str
    kind: str
    lags: list[tuple[int, int]]
    lag_max_ns: int
    missed: int = 0


class DevicePowerLost(_Record, frozen=True, tag="device_power_lost"):
    """The device went silent without a word to anybody, as when its power is cut."""

    endpoint: str
    intended_at_ns: int


class DevicePowerRestored(_Record, frozen=True, tag="device_power_restored"):
    """The device boots, to register and connect again."""

    endpoint: str
    intended_at_ns: int


class DeviceUpdated(_Record, frozen=True, tag="device_updated"):
    """The device's registration was kept alive: 2.04 to the Update that it sent at `sent_at_ns`."""

    endpoint: str
    sent_at_ns: int


class FirmwareTaken(_Record, frozen=True, tag="firmware_taken"):
    """The device has a whole package of firmware, by push or by pull; it has not checked it yet."""

    endpoint: str
    package_bytes: int
    sha256: str


class FirmwareOffered(_Record, frozen=True, tag="firmware_offered"):
    """The story offers a package: by `push` (written in blocks) or by `pull` (fetched by URI)."""

    endpoint: str
    way: Literal["push", "pull"]
    package_bytes: int
    sha256: str
    intended_at_ns: int


class EventsDelivered(_Record, frozen=True, tag="events_delivered"):
    """The reader of the data interface was given these events, one after the other.

    `kinds` counts them by kind; `first` to `last` has no gap. `snapshot` registrations came in
    a snapshot before them.
    """

    server: str
    epoch: str
    first: int
    last: int
    kinds: dict[str, int]
    snapshot: int = 0


class OperationEnded(_Record, frozen=True, tag="operation_ended"):
    """The server's administration was asked for one operation on a device, and answered.

    `value` is what was read, `expected` what the device is known to hold; None of other operations.
    `code` is empty when the device did not answer; `stage` then says what failed.
    """

    endpoint: str
    operation: str
    path: str
    intended_at_ns: int
    code: str = ""
    stage: str = ""
    value: ReadingValue | None = None
    expected: ReadingValue | None = None


class ServerCounted(_Record, frozen=True, tag="server_counted"):
    """The LwM2M server's own counters, such as `registrations` and `events_newest`."""

    server: str
    when: str
    numbers: dict[str, int]


class StoreAsked(_Record, frozen=True, tag="store_asked"):
    """What the parts that keep something about a device said of it when they were asked.

    `registered`: the server holds it; `thing`: provisioning knows its thing. `path`, `time_us` and
    `value`: the newest reading that the telemetry store has, empty and 0 without any.
    """

    endpoint: str
    registered: bool
    thing: str
    path: str = ""
    time_us: int = 0
    value: ReadingValue | None = None


class LoadAsked(_Record, frozen=True, tag="load_asked"):
    """What the story wants to be true of this run, by the names that its checks know."""

    wanted: dict[str, float]


LoadRecord = (
    LoadPlanned
    | FleetBuilt
    | LagSample
    | DevicePowerLost
    | DevicePowerRestored
    | DeviceUpdated
    | FirmwareTaken
    | FirmwareOffered
    | EventsDelivered
    | OperationEnded
    | ServerCounted
    | StoreAsked
    | LoadAsked
)
