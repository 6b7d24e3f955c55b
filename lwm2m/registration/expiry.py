"""When registrations end: a wheel of seconds, and the exact order within the second that has come.

To renew costs a removal and an addition, however many others there are. Only seconds are in a heap,
not registrations: a hundred thousand of them that registered within ten seconds fill ten.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection
from math import floor

_TICKS_SLACK = 64


class ExpiryWheel:
    """Keys, each with one time in seconds at which it is due; infinity is never.

    `due_of` says when a key is due that was added and not removed.
    """

    __slots__ = ("_buckets", "_due_of", "_opened", "_opened_until", "_ticks")

    def __init__(self, due_of: Callable[[str], float]) -> None:
        self._due_of = due_of
        # By whole second: the keys that are due within it, for their order.
        self._buckets: dict[int, dict[str, None]] = {}
        # The seconds that have, or had, a bucket.
        self._ticks: list[int] = []
        # What is due before `_opened_until`, by its exact time; removed keys stay until then.
        self._opened: list[tuple[float, str]] = []
        self._opened_until = -math.inf

    def add(self, key: str, due: float) -> None:
        """Make `key` due."""
        if due < self._opened_until:
            heapq.heappush(self._opened, (due, key))
        elif due != math.inf:
            tick = floor(due)
            bucket = self._buckets.get(tick)
            if bucket is None:
                self._buckets[tick] = {key: None}
                self._note_tick(tick)
            else:
                bucket[key] = None

    def add_all(self, keys: Collection[str], due: float) -> None:
        """Make all `keys` due at one time."""
        tick = floor(due) if self._opened_until <= due < math.inf else None
        bucket = self._buckets.get(tick) if tick is not None else None
        if bucket is None:
            for key in keys:
                self.add(key, due)
        else:
            bucket.update(dict.fromkeys(keys))

    def move(self, key: str, due: float, later: float) -> None:
        """`remove` and `add` as one, to which a second that stays the same is nothing to do. Both
        times are finite."""
        opened_until = self._opened_until
        if due < opened_until or later < opened_until or floor(due) != floor(later):
            self.remove(key, due)
            self.add(key, later)

    def remove(self, key: str, due: float) -> None:
        """Forget that `key` is due; once its second has come, `take_due` gives it still."""
        if due == math.inf:
            return
        tick = floor(due)
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.pop(key, None)
            if not bucket:
                del self._buckets[tick]

    def take_due(self, now: float) -> tuple[float, str | None]:
        """The earliest that is due at `now`, with its time; no key when there is none."""
        if not self._opened or self._opened[0][0] > now:
            self._open(now)
        if self._opened and self._opened[0][0] <= now:
            return heapq.heappop(self._opened)
        return now, None

    def next_timer(self) -> float | None:
        """When to call `take_due`: never late; early when what was due has been removed."""
        if self._opened:
            return self._opened[0][0]
        ticks = self._ticks
        while ticks and ticks[0] not in self._buckets:
            heapq.heappop(ticks)
        return float(ticks[0]) if ticks else None

    def _open(self, now: float) -> None:
        ticks = self._ticks
        while ticks and ticks[0] <= now:
            tick = heapq.heappop(ticks)
            self._opened += [(self._due_of(key), key) for key in self._buckets.pop(tick, ())]
            heapq.heapify(self._opened)
            self._opened_until = max(self._opened_until, tick + 1)

    def _note_tick(self, tick: int) -> None:
        heapq.heappush(self._ticks, tick)
        # Buckets that are emptied and filled again leave their second behind each time.
        if len(self._ticks) > 2 * len(self._buckets) + _TICKS_SLACK:
            self._ticks = list(self._buckets)
            heapq.heapify(self._ticks)
