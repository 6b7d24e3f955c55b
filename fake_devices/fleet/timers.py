"""One heap of deadlines for a whole fleet, and one timer of the event loop for the earliest."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from runtime.clock import Clock

Wake = Callable[[int], None]

# uvloop's timers have whole milliseconds: a shorter wait would come back at once, and spin.
TICK_S: Final = 0.001
# More stale entries than this per live one and the heap is rebuilt.
_STALE_RATIO_MAX = 4


class TimerHeap:
    """Calls `wake(number)` when the deadline of device `number` has come.

    A device has at most one deadline; setting another replaces it. Deadlines are monotonic seconds
    of `clock`. How late the wake-ups came is kept for `take_delays_ns`.
    """

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        self._clock = clock
        self._loop = loop
        self._wake = wake
        self._heap: list[tuple[float, int]] = []
        self._deadlines: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._delays_ns: list[int] = []

    def set(self, number: int, deadline: float | None) -> None:
        """Wake device `number` at `deadline`; None: not at all."""
        if self._deadlines.get(number) == deadline:
            return
        if deadline is None:
            del self._deadlines[number]
            return
        self._deadlines[number] = deadline
        if len(self._heap) > _STALE_RATIO_MAX * (len(self._deadlines) + 64):
            self._heap = [(when, each) for each, when in self._deadlines.items()]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (deadline, number))
        if deadline < self._timer_at:
            self._arm()

    def take_delays_ns(self) -> list[int]:
        """How late each wake-up since the last call was, nanoseconds."""
        delays, self._delays_ns = self._delays_ns, []
        return delays

    def close(self) -> None:
        """Wake nobody any more."""
        self._heap.clear()
        self._deadlines.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._heap and self._is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        self._timer_at = self._heap[0][0] if self._heap else float("inf")
        if self._heap:
            delay_s = self._timer_at - self._clock.now_ns() / 1e9
            self._timer = self._loop.call_later(max(TICK_S, delay_s), self._elapse)

    def _elapse(self) -> None:
        self._timer, self._timer_at = None, float("-inf")
        now_ns = self._clock.now_ns()
        try:
            while self._heap and self._heap[0][0] <= now_ns / 1e9:
                entry = heapq.heappop(self._heap)
                if not self._is_stale(entry):
                    deadline, number = entry
                    del self._deadlines[number]
                    self._delays_ns.append(max(0, now_ns - round(deadline * 1e9)))
                    self._wake(number)
        finally:
            # Also when a device failed: the loop reports it, the others go on.
            self._arm()

    def _is_stale(self, entry: tuple[float, int]) -> bool:
        deadline, number = entry
        return self._deadlines.get(number) != deadline
