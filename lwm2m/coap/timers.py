"""One wheel for all timers of an endpoint: setting and clearing one costs the same with any number.

Deadlines are rounded up to whole ticks, so that nothing fires early and what is due together fires
together. Only ticks are in a heap, not timers.
"""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

TICKS_PER_S = 64
# The tick of what has been cleared in the very turn in which it was due: it is then passed over.
NEVER = 1 << 62

Item = TypeVar("Item")


class TimerWheel(Generic[Item]):
    """Items under an integer key, each due at a tick. The caller keeps the tick to clear it by."""

    __slots__ = ("_buckets", "_ticks")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, Item]] = {}
        self._ticks: list[int] = []

    def schedule(self, key: int, item: Item, deadline: float) -> int:
        """Make `item` due at `deadline` (s). Returns the tick, which `cancel` asks for."""
        tick = math.ceil(deadline * TICKS_PER_S)
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {key: item}
            heapq.heappush(self._ticks, tick)
        else:
            bucket[key] = item
        return tick

    def cancel(self, key: int, tick: int) -> None:
        """Forget what is due under `key` at `tick`; nothing happens when it is not there."""
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.pop(key, None)

    def next_deadline(self) -> float | None:
        """When the next item is due, in seconds."""
        while self._ticks:
            tick = self._ticks[0]
            if self._buckets[tick]:
                return tick / TICKS_PER_S
            del self._buckets[heapq.heappop(self._ticks)]
        return None

    def take_due(self, now: float) -> list[Item]:
        """Remove and return what is due at `now`, earliest tick first, in the order it was set."""
        due: list[Item] = []
        limit = math.floor(now * TICKS_PER_S)
        while self._ticks and self._ticks[0] <= limit:
            due += self._buckets.pop(heapq.heappop(self._ticks)).values()
        return due
