"""Axes of charts: from values to places, and where to put ticks."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor, log10
from typing import NamedTuple


class Tick(NamedTuple):
    """A place on an axis and what is written there."""

    value: float
    label: str


class Scale(NamedTuple):
    """Maps `low` to `high` onto `begins` to `ends`, straight or by logarithm."""

    low: float
    high: float
    begins: float
    ends: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where `value` lies; beyond the ends it stays at the end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, at = log10(low), log10(high), log10(at)
        share = (at - low) / (high - low) if high > low else 0.0
        return round(self.begins + share * (self.ends - self.begins), 2)


def linear_ticks(high: float, about: int, label: Callable[[float], str]) -> list[Tick]:
    """Ticks from 0 to the first round value at or above `high`."""
    step = _round_step(max(high, 1e-9) / about)
    count = max(1, ceil(high / step - 1e-9))
    return [Tick(n * step, label(n * step)) for n in range(count + 1)]


def _round_step(step: float) -> float:
    magnitude = 10.0 ** floor(log10(step))
    return float(next(m for m in (1, 2, 5, 10) if m * magnitude >= step * 0.999) * magnitude)


def log_ticks(low: float, high: float, label: Callable[[float], str]) -> list[Tick]:
    """A tick for every power of ten from the one at or below `low` to the one above `high`."""
    first = floor(log10(low) + 1e-9)
    last = max(first + 1, ceil(log10(high) - 1e-9))
    return [Tick(10.0**power, label(10.0**power)) for power in range(first, last + 1)]


def plain(value: float) -> str:
    """A number as people write it on an axis: 12,000 and 0.5."""
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def milliseconds(value: float) -> str:
    """A latency: `0.4 ms`, `12 ms`, `3.5 s`."""
    if value >= 1_000.0:
        return f"{value / 1_000.0:.3g} s"
    if value >= 100.0:
        return f"{value:.0f} ms"
    return f"{value:.2g} ms" if value < 1.0 else f"{value:.3g} ms"


def seconds(value: float) -> str:
    """A moment of the run."""
    return f"{value:g} s"


def mebibytes(value: float) -> str:
    """Memory."""
    return f"{value / 2**20:,.0f} MiB"
