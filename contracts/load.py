"""What a loader was meant to do and says of itself; records of the journal and their limits."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


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
