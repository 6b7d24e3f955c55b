"""Latencies by the second in which the work was meant to begin: where a pause of a second shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import ceil
from typing import Final, NamedTuple

_NS_PER_S: Final = 1_000_000_000


class Second(NamedTuple):
    """One second, or piece, of a run: work that was meant to begin in it. Latencies in µs."""

    at_s: int
    work: int
    p50_us: int
    p99_us: int
    max_us: int


def by_second(work: Iterable[tuple[int, int]], began_ns: int, piece_s: int = 1) -> list[Second]:
    """Figures of (intended at, latency), both in nanoseconds, for each second with any work."""
    pieces: defaultdict[int, list[int]] = defaultdict(list)
    for intended_ns, latency_ns in work:
        pieces[(intended_ns - began_ns) // _NS_PER_S // piece_s].append(latency_ns)
    return [_second(number * piece_s, pieces[number]) for number in sorted(pieces)]


def _second(at_s: int, latencies_ns: list[int]) -> Second:
    # A second has few enough of them to be put in order.
    latencies_ns.sort()
    p50, p99, most = (_rank_us(latencies_ns, ratio) for ratio in (0.5, 0.99, 1.0))
    return Second(at_s, len(latencies_ns), p50, p99, most)


def _rank_us(ordered_ns: list[int], ratio: float) -> int:
    return ordered_ns[max(0, ceil(ratio * len(ordered_ns) - 1e-9) - 1)] // 1_000
