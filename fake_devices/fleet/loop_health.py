"""How late things run in this process, and what was lost on the way in; for the journal.

A loop delay is how late a timer was; a lag, how much later than intended work was issued.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from contracts.load import LagSample
from runtime.latency import Buckets, bucket_of, count_delays_us


class Delays(NamedTuple):
    """Delays between two samples: 99th percentile and maximum in nanoseconds, and all of them as
    `runtime.latency` counts them in microseconds."""

    p99_ns: int
    max_ns: int
    buckets: Buckets


class LoopHealth:
    """Collects delays between two samples."""

    def __init__(self) -> None:
        self._delays_ns: list[int] = []

    def add(self, delays_ns: Iterable[int]) -> None:
        """These things happened that much later than they were meant to."""
        self._delays_ns.extend(delays_ns)

    def take(self) -> tuple[int, int]:
        """The 99th percentile and the maximum since the last call, nanoseconds."""
        return self.take_all()[:2]

    def take_all(self) -> Delays:
        """The delays since the last call."""
        delays, self._delays_ns = sorted(self._delays_ns), []
        if not delays:
            return Delays(0, 0, [])
        p99_ns = delays[min(len(delays) - 1, len(delays) * 99 // 100)]
        return Delays(p99_ns, delays[-1], count_delays_us(delays))


class _Lags:
    """Those of one kind of work."""

    __slots__ = ("counts", "max_ns", "missed")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.max_ns = 0
        self.missed = 0


class LagBook:
    """Lags by kind of work since the last sample, in buckets: a fleet issues thousands a second."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Lags] = {}

    def add(self, kind: str, lag_ns: int) -> None:
        """One piece of work was issued that much later than intended."""
        lags = self._of(kind)
        bucket = bucket_of(max(0, lag_ns) // 1_000)
        lags.counts[bucket] = lags.counts.get(bucket, 0) + 1
        if lag_ns > lags.max_ns:
            lags.max_ns = lag_ns

    def miss(self, kind: str) -> None:
        """One piece of work was not issued: there was nobody to do it."""
        self._of(kind).missed += 1

    def take(self, process: str, at_ns: int) -> list[LagSample]:
        """Records of what was added since the last call."""
        kinds, self._kinds = self._kinds, {}
        return [
            LagSample(
                at_ns=at_ns,
                process=process,
                kind=kind,
                lags=sorted(lags.counts.items()),
                lag_max_ns=lags.max_ns,
                missed=lags.missed,
            )
            for kind, lags in kinds.items()
        ]

    def _of(self, kind: str) -> _Lags:
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Lags()
        return found
