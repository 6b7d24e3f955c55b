"""How late a process's event loop is: the delay of one timer, as Prometheus is told it.

A timer is due ten times a second, which is what a loop's lateness can be seen by at all. It runs
in a component's own process alone, never where time is virtual. Its cost is some 10 µs each time:
a ten-thousandth of a core.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

PERIOD_NS: Final = 100_000_000
WINDOW: Final = 600
"""Due times that are kept: those of the last minute."""

_current: Final[contextvars.ContextVar[LoopDelay | None]] = contextvars.ContextVar(
    "loop_delay", default=None
)


class Delay(NamedTuple):
    """How late the loop was in the last minute, in seconds."""

    p99_s: float
    max_s: float


class LoopDelay:
    """The delays of the last minute. Times are monotonic nanoseconds; `begin_ns` is now.

    A loop that stands still misses due times, and each of these counts with how long it had to
    wait: one second without a turn is ten delays, from a second down to nothing. Who was told of
    one alone would find p99 fine.
    """

    def __init__(self, begin_ns: int) -> None:
        self._due_ns = begin_ns + PERIOD_NS
        self._late_ns: deque[int] = deque(maxlen=WINDOW)

    def turn(self, now_ns: int) -> float:
        """The loop has come to the timer; how long until it is due again, in seconds."""
        # Of a loop that stood still for longer than a minute, the last minute.
        missed = (now_ns - self._due_ns) // PERIOD_NS
        self._due_ns += max(0, missed - WINDOW) * PERIOD_NS
        while self._due_ns <= now_ns:
            self._late_ns.append(now_ns - self._due_ns)
            self._due_ns += PERIOD_NS
        return (self._due_ns - now_ns) / 1e9

    def told(self) -> Delay | None:
        """What there is to tell; None before the timer was due for the first time."""
        if not self._late_ns:
            return None
        by_size = sorted(self._late_ns)
        # The nearest rank: at least 99 of 100 were no later.
        rank = -(-len(by_size) * 99 // 100)
        return Delay(by_size[rank - 1] / 1e9, by_size[-1] / 1e9)


def loop_delay() -> Delay | None:
    """That of this process; None where nothing measures it."""
    found = _current.get()
    return None if found is None else found.told()


@contextlib.contextmanager
def measuring(now_ns: Callable[[], int]) -> Iterator[LoopDelay]:
    """Measure the running loop while the block runs: for it, and for all that it starts."""
    loop = asyncio.get_running_loop()
    found = LoopDelay(now_ns())
    timer: asyncio.TimerHandle

    def turn() -> None:
        nonlocal timer
        timer = loop.call_later(found.turn(now_ns()), turn)

    timer = loop.call_later(PERIOD_NS / 1e9, turn)
    before = _current.set(found)
    try:
        yield found
    finally:
        timer.cancel()
        _current.reset(before)
