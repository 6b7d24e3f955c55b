"""Issues work when it is intended, whatever became of the work before: the open loop itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from fake_devices.fleet.arrivals import Intended
from fake_devices.fleet.timers import TICK_S
from runtime.clock import Clock


class Pacer:
    """Calls `issue(intended, at_ns)` for each of `work`, in order, at `began_ns` + its time.

    What is late is issued as soon as can be, up to `per_turn_max` pieces in a turn of the event
    loop, and with the time that was intended: nothing is ever left out or moved.
    """

    def __init__(
        self,
        work: Iterator[Intended],
        began_ns: int,
        clock: Clock,
        issue: Callable[[Intended, int], None],
        per_turn_max: int,
    ) -> None:
        self._work = work
        self._began_ns = began_ns
        self._clock = clock
        self._issue = issue
        self._per_turn_max = per_turn_max
        self._loop = asyncio.get_running_loop()
        self._next: Intended | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_over = False

    def start(self) -> None:
        """Begin; what is due is issued in this call."""
        self._next = next(self._work, None)
        self._issue_due()

    def stop(self) -> None:
        """Issue nothing more."""
        self._next = None
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _issue_due(self) -> None:
        self._timer = None
        now_ns = self._clock.now_ns()
        for _ in range(self._per_turn_max):
            intended = self._next
            if intended is None:
                self.is_over = True
                return
            at_ns = self._began_ns + intended.at_ns
            if at_ns > now_ns:
                self._wait((at_ns - now_ns) / 1e9)
                return
            # First: `issue` may stop everything.
            self._next = next(self._work, None)
            self._issue(intended, at_ns)
        self._wait(0.0)

    def _wait(self, delay_s: float) -> None:
        if not self.is_over:
            delay_s = max(TICK_S, delay_s) if delay_s else 0.0
            self._timer = self._loop.call_later(delay_s, self._issue_due)
