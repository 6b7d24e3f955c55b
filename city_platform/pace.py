"""How often something may be done: at once when it was long ago, else when its time has come."""

from __future__ import annotations

import asyncio


class Pace:
    """Turns that are at least `least_s` apart. What is alone is never kept waiting."""

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._next_at = float("-inf")

    async def turn(self) -> None:
        """Return when the next turn may begin, which is when this one does."""
        loop = asyncio.get_running_loop()
        pause_s = self._next_at - loop.time()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        self._next_at = loop.time() + self._least_s

    def rest(self, pause_s: float) -> None:
        """Let the next turn begin so long from now at the earliest."""
        self._next_at = max(self._next_at, asyncio.get_running_loop().time() + pause_s)
