"""Sleeping until something is due, and being woken when something earlier came up."""

from __future__ import annotations

import asyncio

from runtime.clock import Clock


class DueTimer:
    """For one driver task: `sleep_until` is its only wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woken = asyncio.Event()
        self._wakes_at_us: int | None = None

    async def sleep_until(self, due_us: int | None) -> None:
        """Return when `due_us` (Unix microseconds) has come; None waits for `wake_for` only."""
        self._woken.clear()
        self._wakes_at_us = due_us
        delay_s = None if due_us is None else max(0.0, (due_us - self._clock.wall_us()) / 1e6)
        try:
            async with asyncio.timeout(delay_s):
                await self._woken.wait()
        except TimeoutError:
            return

    def wake_for(self, due_us: int | None) -> None:
        """Something is due then: wake the sleeper if it would come too late."""
        if due_us is not None and (self._wakes_at_us is None or due_us < self._wakes_at_us):
            self._woken.set()
