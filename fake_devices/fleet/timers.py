"""One wheel of deadlines for a whole fleet, and one timer of the event loop for the earliest.

A device's deadline costs twelve bytes while it is far away: its time, and its number in the spoke
of the wheel that it falls into. Only the spoke whose turn it is is put in order.
"""

from __future__ import annotations

import asyncio
import heapq
from array import array
from collections.abc import Callable
from math import floor, inf
from typing import Final

from runtime.clock import Clock

Wake = Callable[[int], None]

# uvloop's timers have whole milliseconds: a shorter wait would come back at once, and spin.
TICK_S: Final = 0.001
_SPOKE_S: Final = 2.0
# More entries than this per deadline, most of them stale, and the wheel is made anew.
_STALE_RATIO_MAX: Final = 4


class TimerWheel:
    """Calls `wake(number)` when the deadline of device `number` has come.

    A device has at most one deadline; setting another replaces it. Deadlines are monotonic seconds
    of `clock`. Devices are woken in the order of their deadlines, those with the same by number.
    How late the wake-ups came is kept for `take_delays_ns`.
    """

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        self._clock = clock
        self._loop = loop
        self._wake = wake
        # The deadline of each device; infinity: none.
        self._deadlines = array("d")
        self._live = 0
        # What is due before `_near_until`, in order; the rest by spoke, out of order. Entries
        # whose device has another deadline by now are passed over.
        self._near: list[tuple[float, int]] = []
        self._near_until = 0.0
        self._spokes: dict[int, array[int]] = {}
        self._spoke_order: list[int] = []
        self._entries = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._delays_ns: list[int] = []

    def set(self, number: int, deadline: float | None) -> None:
        """Wake device `number` at `deadline`; None: not at all."""
        deadlines = self._deadlines
        if number >= len(deadlines):
            if deadline is None:
                return
            deadlines.extend([inf] * (max(number + 1, 2 * len(deadlines)) - len(deadlines)))
        before = deadlines[number]
        if deadline is None:
            if before != inf:
                deadlines[number] = inf
                self._live -= 1
            return
        if before == deadline:
            return
        if before == inf:
            self._live += 1
        deadlines[number] = deadline
        if self._entries > _STALE_RATIO_MAX * (self._live + 64):
            self._make_anew()
        else:
            self._enter(number, deadline)
        if deadline < self._timer_at:
            self._arm()

    @property
    def entries(self) -> int:
        """Entries in the wheel, stale ones included; for tests and for watching memory."""
        return self._entries

    def take_delays_ns(self) -> list[int]:
        """How late each wake-up since the last call was, nanoseconds."""
        delays, self._delays_ns = self._delays_ns, []
        return delays

    def close(self) -> None:
        """Wake nobody any more."""
        self._deadlines = array("d")
        self._live = 0
        self._clear()
        self._arm()

    def _clear(self) -> None:
        self._near.clear()
        self._spokes.clear()
        self._spoke_order.clear()
        self._entries = 0

    def _enter(self, number: int, deadline: float) -> None:
        self._entries += 1
        if deadline < self._near_until:
            heapq.heappush(self._near, (deadline, number))
            return
        spoke = floor(deadline / _SPOKE_S)
        found = self._spokes.get(spoke)
        if found is None:
            found = self._spokes[spoke] = array("I")
            heapq.heappush(self._spoke_order, spoke)
        found.append(number)

    def _make_anew(self) -> None:
        self._clear()
        for number, deadline in enumerate(self._deadlines):
            if deadline != inf:
                self._enter(number, deadline)

    def _take_spoke(self) -> None:
        """Put the next spoke in order; nothing before it is left in `_near`."""
        spoke = heapq.heappop(self._spoke_order)
        self._near_until = (spoke + 1) * _SPOKE_S
        numbers = self._spokes.pop(spoke)
        deadlines = self._deadlines
        # A set: who went away from a spoke and came back is in it twice.
        self._near = sorted(
            {
                (deadlines[number], number)
                for number in numbers
                if deadlines[number] < self._near_until
            }
        )
        self._entries += len(self._near) - len(numbers)

    def _first(self) -> float:
        """The earliest deadline; at worst the earliest that a stale entry may stand for."""
        while True:
            while self._near and self._is_stale(self._near[0]):
                heapq.heappop(self._near)
                self._entries -= 1
            if self._near:
                return self._near[0][0]
            if not self._spoke_order:
                return inf
            begins = self._spoke_order[0] * _SPOKE_S
            if begins > self._clock.now_ns() / 1e9:
                return begins
            self._take_spoke()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = first = self._first()
        if first != inf:
            delay_s = first - self._clock.now_ns() / 1e9
            self._timer = self._loop.call_later(max(TICK_S, delay_s), self._elapse)

    def _elapse(self) -> None:
        self._timer, self._timer_at = None, -inf
        now_ns = self._clock.now_ns()
        try:
            while self._first() <= now_ns / 1e9 and self._near:
                entry = heapq.heappop(self._near)
                self._entries -= 1
                deadline, number = entry
                self._deadlines[number] = inf
                self._live -= 1
                self._delays_ns.append(max(0, now_ns - round(deadline * 1e9)))
                self._wake(number)
        finally:
            # Also when a device failed: the loop reports it, the others go on.
            self._arm()

    def _is_stale(self, entry: tuple[float, int]) -> bool:
        deadline, number = entry
        return self._deadlines[number] != deadline
