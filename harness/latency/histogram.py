"""Counts of latencies in log-linear buckets: 1 µs to an hour, three significant digits throughout.

The buckets are those of HdrHistogram with these bounds, so that nothing is lost in exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil
from typing import Final

HIGHEST_US: Final = 3_600_000_000
"""An hour; what took longer counts as this long."""
SIGNIFICANT_DIGITS: Final = 3
QUANTILES: Final = (0.5, 0.9, 0.99, 0.999, 0.9999)
"""Those that reports show, beside the maximum."""

# 2,048 values of 1 µs each, then as many buckets of 2 µs less those that are there already, and so
# on: a bucket is never wider than a thousandth of its value.
_SUB_BITS: Final = 11
_HALF_BITS: Final = _SUB_BITS - 1
_FIRST: Final = 1 << _SUB_BITS
COUNTS: Final = ((HIGHEST_US.bit_length() - _SUB_BITS + 1) + 1) << _HALF_BITS
"""Buckets of a histogram."""


class Histogram:
    """Latencies in microseconds. A negative one counts as 0, one above an hour as an hour."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * COUNTS

    @property
    def total(self) -> int:
        """How many were recorded."""
        return sum(self._counts)

    @classmethod
    def of_ns(cls, latencies_ns: Iterable[int]) -> Histogram:
        """One of these latencies in nanoseconds."""
        made = cls()
        for latency_ns in latencies_ns:
            made.record(latency_ns // 1_000)
        return made

    def record(self, latency_us: int, times: int = 1) -> None:
        """Count one latency, as often as it was seen."""
        if 0 <= latency_us < _FIRST:
            self._counts[latency_us] += times
            return
        if latency_us < 0:
            latency_us = 0
        elif latency_us > HIGHEST_US:
            latency_us = HIGHEST_US
        shift = latency_us.bit_length() - _SUB_BITS if latency_us else 0
        self._counts[(shift << _HALF_BITS) + (latency_us >> shift)] += times

    def add(self, other: Histogram) -> None:
        """Count all that another has counted."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]

    def value_at(self, ratio: float) -> int | None:
        """The latency that `ratio` of all did not exceed (nearest rank), µs; None of none.

        It is the largest value of the bucket, at most a thousandth above the true one.
        """
        total = self.total
        if not total:
            return None
        left = max(1, ceil(ratio * total - 1e-9))
        for index, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return min(HIGHEST_US, highest_of(index))
        raise AssertionError("the total is the sum of all counts")

    @property
    def max_us(self) -> int | None:
        """The largest latency, to three digits; None of none."""
        return self.value_at(1.0)

    def counts(self) -> list[int]:
        """All buckets up to the last that holds anything, for exchange."""
        last = next((n for n in range(COUNTS - 1, -1, -1) if self._counts[n]), -1)
        return self._counts[: last + 1]

    @classmethod
    def of_counts(cls, counts: Iterator[tuple[int, int]]) -> Histogram:
        """One with these (bucket, count). Raises `IndexError` for a bucket that is none."""
        made = cls()
        for index, count in counts:
            made._counts[index] += count
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]  # it changes


def highest_of(index: int) -> int:
    """The largest value of a bucket, µs."""
    shift = max(0, (index >> _HALF_BITS) - 1)
    within = index - (shift << _HALF_BITS)
    return ((within + 1) << shift) - 1
