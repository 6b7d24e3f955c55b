"""How late the event loop's timers run, for the journal: whether this process was the bottleneck.

A sample is taken about every half second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from contracts.journal import LoopSample
from runtime.clock import Clock
from runtime.journal import JournalSink

_TICK_S = 0.02
_TICKS_PER_SAMPLE = 25


async def sample_loop(
    process: str, clock: Clock, journal: JournalSink, socket_drops: Callable[[], int]
) -> None:
    """Record a `LoopSample` about every half second until cancelled.

    The loop's own clock moves in steps of a millisecond: a delay of 1 ms may be none.
    """
    while True:
        delays = sorted([await _delay_ns(clock) for _ in range(_TICKS_PER_SAMPLE)])
        journal.record(
            LoopSample(
                at_ns=clock.now_ns(),
                process=process,
                delay_p99_ns=delays[-1 - len(delays) // 100],
                delay_max_ns=delays[-1],
                socket_drops=socket_drops(),
            )
        )


async def _delay_ns(clock: Clock) -> int:
    began = clock.now_ns()
    await asyncio.sleep(_TICK_S)
    return max(0, clock.now_ns() - began - round(_TICK_S * 1e9))
