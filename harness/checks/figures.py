"""Exact percentiles and rates from recorded values."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import ceil, floor


def percentile(values: Sequence[float], ratio: float) -> float:
    """The nearest-rank percentile of values that are in order; there must be one."""
    # 0.999 * 1000 is a hair above 999 in floating point.
    return values[max(0, ceil(ratio * len(values) - 1e-9) - 1)]


def slope_per_s(times_ns: Sequence[int]) -> float | None:
    """Completions per second between the 10th and the 90th percentile of times in order.

    None for fewer than ten, or when all of those came at one moment.
    """
    count = len(times_ns)
    if count < 10:
        return None
    first, last = floor(0.1 * (count - 1)), ceil(0.9 * (count - 1))
    took_ns = times_ns[last] - times_ns[first]
    return None if took_ns <= 0 else (last - first) / took_ns * 1e9


def peak_per_s(times_ns: Sequence[int]) -> float:
    """The most completions within any one second, of times in order."""
    starts = range(len(times_ns))
    window_ns = 1_000_000_000
    ends = (bisect_left(times_ns, times_ns[start] + window_ns, start) for start in starts)
    return float(max((end - start for start, end in zip(starts, ends, strict=True)), default=0))


def backlog_grew(arrivals_ns: Sequence[int], completions_ns: Sequence[int]) -> bool:
    """Whether completions were more than a tenth slower than the arrivals they answer."""
    arrived, completed = slope_per_s(arrivals_ns), slope_per_s(completions_ns)
    return arrived is not None and completed is not None and completed < 0.9 * arrived
