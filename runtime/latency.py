"""Log-linear buckets for latencies: few enough to write down, fine enough for percentiles.

A bucket is at most 1/32 of its value wide, so a percentile is at most 3.2 % above the true one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# Each power of two is cut into this many equal parts.
_PARTS_BITS = 5

Buckets = list[tuple[int, int]]
"""(largest value of the bucket, how many), in order of value."""


def bucket_of(value: int) -> int:
    """The largest value of the bucket that `value` (0 or more) falls into."""
    shift = max(0, value.bit_length() - 1 - _PARTS_BITS)
    return (((value >> shift) + 1) << shift) - 1


def count_delays_us(delays_ns: Iterable[int]) -> Buckets:
    """Delays in nanoseconds, counted in buckets of microseconds."""
    return sorted(Counter(bucket_of(max(0, delay_ns) // 1_000) for delay_ns in delays_ns).items())


def merge_buckets(samples: Iterable[Buckets]) -> Buckets:
    """All samples as one."""
    total: Counter[int] = Counter()
    for sample in samples:
        for value, count in sample:
            total[value] += count
    return sorted(total.items())


def percentile_of(buckets: Buckets, ratio: float) -> int | None:
    """The bucket's largest value below which `ratio` of all lie (nearest rank); None of none."""
    left = ratio * sum(count for _, count in buckets)
    for value, count in buckets:
        left -= count
        # A count of timers is far below 2^53: only the product above can be off by a hair.
        if left <= 1e-9:
            return value
    return None
