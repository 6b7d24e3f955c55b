"""How late things run in this process, and what was lost on the way in; for `LoopSample`."""

from __future__ import annotations

from collections.abc import Iterable


class LoopHealth:
    """Collects delays between two samples."""

    def __init__(self) -> None:
        self._delays_ns: list[int] = []

    def add(self, delays_ns: Iterable[int]) -> None:
        """These things happened that much later than they were meant to."""
        self._delays_ns.extend(delays_ns)

    def take(self) -> tuple[int, int]:
        """The 99th percentile and the maximum since the last call, nanoseconds."""
        delays, self._delays_ns = sorted(self._delays_ns), []
        if not delays:
            return 0, 0
        return delays[min(len(delays) - 1, len(delays) * 99 // 100)], delays[-1]
