"""The shapes that a load can have over time, as values: how often something is meant to happen.

Each shape says how many events it has and when each of them is meant to be, in seconds after its
own beginning. Nothing here waits for anybody: that is what makes a load open-loop.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final, Literal, Protocol

import msgspec
from msgspec import Meta

EVENTS_MAX: Final = 10_000_000
"""Events in one phase; more is a slip of the pen."""

Spacing = Literal["even", "random"]
_Rate = Annotated[float, Meta(ge=0.0, le=1e6)]
_Duration = Annotated[float, Meta(gt=0.0, le=2_592_000.0)]
_Moment = Annotated[float, Meta(ge=0.0, le=2_592_000.0)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Ratio = Annotated[float, Meta(gt=0.0, le=1.0)]
# A mark is found when the integral is this close to it: a millionth of an event.
_CLOSE: Final = 1e-6
_STEPS_MAX: Final = 100


class Shape(Protocol):
    """What every shape tells of itself; times are seconds after its own beginning."""

    @property
    def begins_s(self) -> float | None:
        """Seconds after the load's start; None: when the phase before it ends."""

    @property
    def lasts_s(self) -> float:
        """From its beginning to its end."""

    @property
    def count(self) -> int:
        """How many events it has."""

    def times(self, seed: str) -> Iterator[float]:
        """When each event is meant to be, in order."""


# What several shapes have in common is fields alone.


class _Phase(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", forbid_unknown_fields=True
):
    begins_s: _Moment | None = None
    """Seconds after the load's start; not given: when the phase before it ends."""


class _Lasting(_Phase, frozen=True, kw_only=True):
    duration_s: _Duration
    """How long, seconds."""

    @property
    def lasts_s(self) -> float:
        """See `Shape`."""
        return self.duration_s


class _Spaced(_Lasting, frozen=True, kw_only=True):
    spacing: Spacing = "even"
    """`even`: as regular as the rate allows; `random`: by chance, as if nobody knew of another."""


class Constant(_Spaced, frozen=True, kw_only=True, tag="constant"):
    """The same rate throughout."""

    rate_per_s: _Rate
    """Events per second."""

    @property
    def count(self) -> int:
        """See `Shape`."""
        return _rounded(self.rate_per_s * self.duration_s)

    def times(self, seed: str) -> Iterator[float]:
        """See `Shape`."""
        total, rate = self.rate_per_s * self.duration_s, self.rate_per_s
        return (mark / rate for mark in _marks(self.count, total, self.spacing, seed))


class Poisson(_Lasting, frozen=True, kw_only=True, tag="poisson"):
    """A Poisson process: events by chance, none of which knows of another.

    How many there are is what rate and duration say, so that two runs can be compared; when they
    are follows from the seed.
    """

    rate_per_s: _Rate
    """Events per second, on the average."""

    @property
    def count(self) -> int:
        """See `Shape`."""
        return _rounded(self.rate_per_s * self.duration_s)

    def times(self, seed: str) -> Iterator[float]:
        """See `Shape`."""
        return _by_chance(self.count, self.duration_s, seed)


class Ramp(_Spaced, frozen=True, kw_only=True, tag="ramp"):
    """A rate that grows, or falls, in a straight line."""

    from_per_s: _Rate
    """Events per second at its beginning."""
    to_per_s: _Rate
    """Events per second at its end."""

    @property
    def _total(self) -> float:
        return (self.from_per_s + self.to_per_s) / 2.0 * self.duration_s

    @property
    def count(self) -> int:
        """See `Shape`."""
        return _rounded(self._total)

    def times(self, seed: str) -> Iterator[float]:
        """See `Shape`."""
        begins = self.from_per_s
        slope = (self.to_per_s - begins) / self.duration_s
        for mark in _marks(self.count, self._total, self.spacing, seed):
            # The root of `begins * t + slope / 2 * t**2 = mark`, in the form that keeps its digits
            # when the slope is small.
            root = math.sqrt(max(0.0, begins * begins + 2.0 * slope * mark))
            yield min(self.duration_s, 2.0 * mark / (begins + root))


class Steps(_Phase, frozen=True, tag="steps"):
    """One rate after the other, each for the same time: a staircase."""

    rates_per_s: Annotated[tuple[_Rate, ...], Meta(min_length=1, max_length=10_000)]
    """Events per second on each step."""
    step_s: _Duration
    """How long each step is, seconds."""
    spacing: Spacing = "even"
    """As of `constant`."""

    @property
    def lasts_s(self) -> float:
        """See `Shape`."""
        return len(self.rates_per_s) * self.step_s

    @property
    def _total(self) -> float:
        return math.fsum(self.rates_per_s) * self.step_s

    @property
    def count(self) -> int:
        """See `Shape`."""
        return _rounded(self._total)

    def times(self, seed: str) -> Iterator[float]:
        """See `Shape`."""
        step, before, rates = 0, 0.0, self.rates_per_s
        for mark in _marks(self.count, self._total, self.spacing, seed):
            while step < len(rates) - 1 and mark > before + rates[step] * self.step_s:
                before += rates[step] * self.step_s
                step += 1
            within_s = (mark - before) / rates[step] if rates[step] else self.step_s
            yield step * self.step_s + min(self.step_s, max(0.0, within_s))


class Wave(_Spaced, frozen=True, kw_only=True, tag="wave"):
    """A rate that swings between two values as a cosine does; it begins at the low one."""

    low_per_s: _Rate
    """Events per second at the bottom."""
    high_per_s: _Rate
    """Events per second at the top."""
    period_s: _Duration
    """From one bottom to the next, seconds."""

    @property
    def count(self) -> int:
        """See `Shape`."""
        return _rounded(self._until(self.duration_s))

    def times(self, seed: str) -> Iterator[float]:
        """See `Shape`."""
        total, at_s = self._until(self.duration_s), 0.0
        for mark in _marks(self.count, total, self.spacing, seed):
            at_s = _find(self._until, self._rate, mark, at_s, self.duration_s)
            yield at_s

    def _rate(self, at_s: float) -> float:
        swing = (self.high_per_s - self.low_per_s) / 2.0
        return self.low_per_s + swing * (1.0 - math.cos(2.0 * math.pi * at_s / self.period_s))

    def _until(self, at_s: float) -> float:
        swing, turn = (self.high_per_s - self.low_per_s) / 2.0, 2.0 * math.pi / self.period_s
        return self.low_per_s * at_s + swing * (at_s - math.sin(turn * at_s) / turn)


class Bursts(_Phase, frozen=True, tag="bursts"):
    """So many events at once, again and again."""

    events: _Count
    """Events in one burst."""
    bursts: _Count
    """How many bursts."""
    every_s: _Duration
    """From the beginning of one burst to the next, seconds."""
    over_s: _Moment = 0.0
    """A burst's events are spread over so many seconds; 0: all at one moment."""

    @property
    def lasts_s(self) -> float:
        """See `Shape`."""
        return self.bursts * self.every_s

    @property
    def count(self) -> int:
        """See `Shape`."""
        return self.events * self.bursts

    def times(self, seed: str) -> Iterator[float]:
        """See `Shape`."""
        gap_s = self.over_s / self.events
        for burst in range(self.bursts):
            for event in range(self.events):
                yield burst * self.every_s + event * gap_s


class Replay(_Phase, frozen=True, tag="replay"):
    """Moments that were recorded elsewhere. In TOML `file` names them: seconds, one a line."""

    times_s: Annotated[tuple[_Moment, ...], Meta(min_length=1, max_length=EVENTS_MAX)]
    """When each event was, seconds after the first line's zero, in order."""
    speed: Annotated[float, Meta(gt=0.0, le=10_000.0)] = 1.0
    """Seconds of the recording in one second of the load."""

    @property
    def lasts_s(self) -> float:
        """See `Shape`."""
        return self.times_s[-1] / self.speed

    @property
    def count(self) -> int:
        """See `Shape`."""
        return len(self.times_s)

    def times(self, seed: str) -> Iterator[float]:
        """See `Shape`."""
        return (at_s / self.speed for at_s in self.times_s)


class PowerCut(_Phase, frozen=True, tag="power_cut"):
    """Devices lose their power at one moment, and all come back within a window.

    Nobody de-registers and no connection is closed in order. Only for `reconnects`.
    """

    outage_s: _Moment
    """How long nobody is there, seconds."""
    return_within_s: _Moment
    """From the first device that is back to the last, seconds; they come in random order."""
    ratio: _Ratio = 1.0
    """The part of the devices that it hits."""

    @property
    def lasts_s(self) -> float:
        """See `Shape`."""
        return self.outage_s + self.return_within_s

    @property
    def count(self) -> int:
        """Of the devices, not of the shape: see `hit`."""
        return 0

    def times(self, seed: str) -> Iterator[float]:
        """None: see `hit` and `returns_s`."""
        return iter(())

    def hit(self, devices: int) -> int:
        """How many of so many devices lose their power."""
        return _rounded(self.ratio * devices)

    def returns_s(self, hit: int, share: int = 0, shares: int = 1) -> Iterator[float]:
        """When one device after the other is back, seconds after the cut.

        `share` of `shares` loads that share the window lie between each other.
        """
        gap_s = self.return_within_s / max(1, hit)
        offset = (share + 0.5) / shares
        return (self.outage_s + (number + offset) * gap_s for number in range(hit))


Phase = Constant | Ramp | Steps | Wave | Poisson | Bursts | Replay
"""A shape that is a rate of events."""
ReconnectPhase = Constant | Ramp | Steps | Wave | Poisson | Bursts | Replay | PowerCut
SHAPES: Final = (Constant, Ramp, Steps, Wave, Poisson, Bursts, Replay, PowerCut)


def _rounded(total: float) -> int:
    # Half an event is one, so that neighbours with the same fraction do not alternate; floating
    # point must not take the last event of `0.1 * 30` away.
    return math.floor(total + 0.5 + 1e-9)


def what_is_wrong(shape: Shape) -> tuple[str, str] | None:
    """The field that cannot be, and why; None when all is well."""
    match shape:
        case Wave() if shape.low_per_s > shape.high_per_s:
            return "low_per_s", f"{shape.low_per_s:g} is above high_per_s, exchange them"
        case Bursts() if shape.over_s > shape.every_s:
            return "over_s", f"{shape.over_s:g} s is longer than every_s, bursts would overlap"
        case Replay() if (unsorted := _first_unsorted(shape.times_s)) is not None:
            return "times_s", f"number {unsorted + 1} is before the last"
    if shape.count > EVENTS_MAX:
        return "shape", f"{shape.count:,} events, at most {EVENTS_MAX:,} are allowed in one phase"
    return None


def _marks(count: int, total: float, spacing: Spacing, seed: str) -> Iterator[float]:
    """Where on the integral of the rate, 0 to `total`, each of the events lies."""
    if spacing == "random":
        return _by_chance(count, total, seed)
    # Each event in the middle of its own part: whatever part of a phase is looked at, it is never
    # more than half an event away from the rate.
    return (min(total, number + 0.5) for number in range(count))


def _by_chance(count: int, total: float, seed: str) -> Iterator[float]:
    """So many points of [0, `total`) by chance, in order, without keeping them."""
    chance = random.Random(seed).random
    left = 1.0
    for waiting in range(count, 0, -1):
        # The smallest of n uniform numbers is 1 - u**(1/n); what is left of the line is as if new.
        left *= (1.0 - chance()) ** (1.0 / waiting)
        yield total * (1.0 - left)


def _find(
    until: Callable[[float], float],
    rate: Callable[[float], float],
    mark: float,
    low_s: float,
    high_s: float,
) -> float:
    """When a growing integral reaches `mark`, from `low_s` on: Newton's steps, kept in bounds."""
    at_s = low_s
    for _ in range(_STEPS_MAX):
        off = until(at_s) - mark
        if abs(off) <= _CLOSE:
            return at_s
        low_s, high_s = (at_s, high_s) if off < 0 else (low_s, at_s)
        slope = rate(at_s)
        at_s = at_s - off / slope if slope > 0.0 else high_s
        # Where the rate is next to nothing a step leads anywhere.
        if not low_s < at_s < high_s:
            at_s = (low_s + high_s) / 2.0
    return at_s


def _first_unsorted(times_s: Sequence[float]) -> int | None:
    return next(
        (number for number in range(1, len(times_s)) if times_s[number] < times_s[number - 1]), None
    )
