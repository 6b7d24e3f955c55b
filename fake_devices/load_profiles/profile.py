"""A load profile: what is meant to happen when, for all that a fleet does, as one value."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from contracts.load import LoaderLimits
from fake_devices.load_profiles.shapes import (
    Phase,
    PowerCut,
    ReconnectPhase,
    Shape,
    what_is_wrong,
)

LoadKind = Literal["registrations", "telemetry", "commands", "reconnects"]
KINDS: Final[tuple[LoadKind, ...]] = get_args(LoadKind)


class IllegalProfile(ValueError):
    """A profile cannot be followed; the text says where, what, and what to do."""


class Share(NamedTuple):
    """One of several loads that are one together: every `of`-th event, beginning with `first`."""

    first: int = 0
    of: int = 1


WHOLE: Final = Share()


class LoadProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is meant to happen when. Times are seconds after the load's start.

    Each kind has phases, one after the other; those that say when they begin may overlap. What a
    kind that has no phases does is the run's affair: devices are switched on at its rate, report
    at their own interval, and nobody reconnects.
    """

    name: str = ""
    """What reports call it; of a file: its name."""
    registrations: tuple[Phase, ...] = ()
    """Devices are switched on for the first time, one by each event."""
    telemetry: tuple[Phase, ...] = ()
    """Reports of the whole fleet: each event, one device that has an MQTT account measures and
    sends, in turn. Devices then have no interval of their own."""
    commands: tuple[Phase, ...] = ()
    """Commands posted to the control API."""
    reconnects: tuple[ReconnectPhase, ...] = ()
    """Devices go silent and come back: with each event of a rate one device, at once; with a power
    cut all of them, within its window."""
    limits: LoaderLimits = LoaderLimits()
    """Beyond these the loader counts as saturated."""

    def __post_init__(self) -> None:
        """Refuse what cannot be followed. Raises `IllegalProfile` with the field's path."""
        for kind in KINDS:
            for number, phase in enumerate(self.phases(kind)):
                wrong = what_is_wrong(phase)
                if wrong is not None:
                    raise IllegalProfile(f"{wrong[1]} - at `$.{kind}[{number}].{wrong[0]}`")

    def phases(self, kind: LoadKind) -> Sequence[Shape]:
        """The phases of one kind."""
        found: Sequence[Shape] = getattr(self, kind)
        return found

    def begins_s(self, kind: LoadKind) -> list[float]:
        """When each phase of a kind begins."""
        found, end_s = [], 0.0
        for phase in self.phases(kind):
            begins_s = end_s if phase.begins_s is None else phase.begins_s
            found.append(begins_s)
            end_s = begins_s + phase.lasts_s
        return found

    def ends_s(self, kind: LoadKind) -> float:
        """When the last phase of a kind is over; 0 without any."""
        pairs = zip(self.begins_s(kind), self.phases(kind), strict=True)
        return max((begins_s + phase.lasts_s for begins_s, phase in pairs), default=0.0)

    @property
    def duration_s(self) -> float:
        """When everything is over."""
        return max(self.ends_s(kind) for kind in KINDS)

    def count(self, kind: LoadKind) -> int:
        """Events of a kind; what power cuts do is not among them."""
        return sum(phase.count for phase in self.phases(kind))

    def times_s(self, kind: LoadKind, seed: int, share: Share = WHOLE) -> Iterator[float]:
        """When each event of a kind is meant to be, in order; power cuts apart.

        The shares of a profile are together exactly the whole of it.
        """
        begins = self.begins_s(kind)
        streams = [
            _shifted(phase.times(f"{seed}/{kind}/{number}"), begins[number])
            for number, phase in enumerate(self.phases(kind))
        ]
        return islice(heapq.merge(*streams), share.first, None, share.of)

    def power_cuts(self) -> list[tuple[float, PowerCut]]:
        """When each power cut begins, and what it is like."""
        pairs = zip(self.begins_s("reconnects"), self.reconnects, strict=True)
        return [(begins_s, cut) for begins_s, cut in pairs if isinstance(cut, PowerCut)]

    def mean_per_s(self, kind: LoadKind) -> float | None:
        """Events per second while a kind goes on; None without any."""
        count, begins = self.count(kind), self.begins_s(kind)
        lasts_s = self.ends_s(kind) - min(begins, default=0.0)
        return count / lasts_s if count and lasts_s > 0.0 else None


def _shifted(times_s: Iterator[float], begins_s: float) -> Iterator[float]:
    return (begins_s + at_s for at_s in times_s)
