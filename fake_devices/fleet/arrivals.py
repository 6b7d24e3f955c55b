"""What a fleet is meant to do and when: switching on, reports and power cuts, by profile or rate.

Arrivals are open: the schedule does not wait for anybody, so a slow platform meets the same load.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from contracts.schedule import EventKind, EventValue
from fake_devices.load_profiles import LoadProfile, PowerCut, Share

_D = TypeVar("_D")

# The golden ratio's fraction: any run of neighbours is spread evenly over the interval.
_GOLDEN = 0.6180339887498949

WHOEVER_IS_NEXT = -1
"""Stands for a device's number where it is the fleet's to choose one."""


class Intended(NamedTuple):
    """One thing that a fleet is meant to do, `at_ns` after the load's start.

    `reconnect`: the device loses its power and has it back at once. `path` and `value` are a
    schedule's.
    """

    at_ns: int
    kind: EventKind | Literal["reconnect"]
    number: int = WHOEVER_IS_NEXT
    path: str | None = None
    value: EventValue = None


def arrival_order(devices: Sequence[_D], seed: int) -> list[_D]:
    """The devices in the order in which they are switched on."""
    order = list(devices)
    random.Random(f"arrivals/{seed}").shuffle(order)
    return order


def phase_of(position: int) -> float:
    """The part of the report interval, in [0, 1), after which the device at `position` reports."""
    return position * _GOLDEN % 1.0


def at_rate(devices: Iterable[int], rate_per_s: float) -> Iterator[Intended]:
    """One of these devices after the other, the first at once."""
    return (
        Intended(round(position / rate_per_s * 1e9), "switch_on", number)
        for position, number in enumerate(devices)
    )


def of_profile(profile: LoadProfile, devices: int, seed: int, share: Share) -> Iterator[Intended]:
    """A fleet's share of a profile, in order of time; it has so many of the run's devices.

    Arrivals are those of the profile, or none: see `at_rate`.
    """
    streams = [
        _events(profile.times_s("registrations", seed, share), "switch_on"),
        _events(profile.times_s("telemetry", seed, share), "report"),
        _events(profile.times_s("reconnects", seed, share), "reconnect"),
    ]
    for number, (begins_s, cut) in enumerate(profile.power_cuts()):
        streams.append(of_power_cut(cut, devices, f"{seed}/power_cut/{number}", share, begins_s))
    return heapq.merge(*streams, key=_at_ns)


def of_power_cut(
    cut: PowerCut, devices: int, seed: str, share: Share, begins_s: float = 0.0
) -> Iterator[Intended]:
    """A fleet's share of a power cut, in order of time: all whom it hits at `begins_s`, then one
    return after the other, between those of the fleets that share it."""
    hit, returning = _hit_by(cut, devices, seed)
    back_s = [begins_s + at_s for at_s in cut.returns_s(len(hit), *share)]
    yield from _events([begins_s] * len(hit), "power_off", hit)
    yield from _events(back_s, "power_on", returning)


def _events(
    times_s: Iterator[float] | Sequence[float],
    kind: Literal["switch_on", "report", "reconnect", "power_off", "power_on"],
    numbers: Sequence[int] | None = None,
) -> Iterator[Intended]:
    if numbers is None:
        return (Intended(round(at_s * 1e9), kind) for at_s in times_s)
    pairs = zip(times_s, numbers, strict=True)
    return (Intended(round(at_s * 1e9), kind, number) for at_s, number in pairs)


def _hit_by(cut: PowerCut, devices: int, seed: str) -> tuple[list[int], list[int]]:
    """The devices that a cut hits, and the same in the order in which they come back."""
    chance = random.Random(seed)
    hit = sorted(chance.sample(range(devices), cut.hit(devices)))
    returning = list(hit)
    chance.shuffle(returning)
    return hit, returning


def _at_ns(intended: Intended) -> int:
    return intended.at_ns
