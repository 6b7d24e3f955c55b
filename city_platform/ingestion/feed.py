"""Serves the feed of what was committed to readers that each keep their own pace.

The newest lines are in memory, older ones in the store; a reader holds no lines of its own, so a
slow one costs nothing. One that falls behind what is kept is told with a gap line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence

import msgspec

from city_platform.stores.telemetry_records import FeedLine
from city_platform.stores.telemetry_store import TelemetryStore
from contracts.api import FeedGap

LINES_AT_ONCE = 200


class Feed:
    """`newest` is the cursor of the last line; lines are published once they are durable."""

    def __init__(self, store: TelemetryStore, newest: int, memory_bytes: int) -> None:
        self._store = store
        self._memory_bytes = memory_bytes
        self._lines: deque[FeedLine] = deque()
        self._bytes = 0
        self._grown = asyncio.Event()
        self._is_closed = False
        self.newest = newest
        self.readers = 0

    def publish(self, lines: Sequence[FeedLine]) -> None:
        """Add lines, in order, and wake the readers."""
        if not lines:
            return
        self._lines += lines
        self._bytes += sum(len(line) for _, line in lines)
        while self._bytes > self._memory_bytes and len(self._lines) > 1:
            self._bytes -= len(self._lines.popleft().line)
        self.newest = lines[-1].cursor
        self._wake()

    def close(self) -> None:
        """End all readers' streams."""
        self._is_closed = True
        self._wake()

    async def follow(self, after: int) -> AsyncGenerator[bytes, None]:
        """Lines with a cursor above `after`, some at a time, then those to come, until closed."""
        self.readers += 1
        try:
            while not self._is_closed:
                grown = self._grown
                lines, missed = await self._after(after)
                if missed:
                    yield _gap(after, missed)
                if lines:
                    after = lines[-1].cursor
                    yield b"".join([line for _, line in lines])
                else:
                    await grown.wait()
        finally:
            self.readers -= 1

    async def _after(self, after: int) -> tuple[Sequence[FeedLine], int]:
        """The next lines, and how many before them are no longer kept."""
        if after >= self.newest:
            return (), 0
        if self._lines and self._lines[0].cursor <= after + 1:
            start = after + 1 - self._lines[0].cursor
            return [
                self._lines[index]
                for index in range(start, min(start + LINES_AT_ONCE, len(self._lines)))
            ], 0
        page = await self._store.feed(after, LINES_AT_ONCE)
        first = page.lines[0].cursor if page.lines else after + 1
        return page.lines, first - after - 1

    def _wake(self) -> None:
        # Each reader waits on the event that was there when it looked: none misses a line.
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


def _gap(after: int, missed: int) -> bytes:
    return msgspec.json.encode(FeedGap(cursor=after + missed, missed=missed)) + b"\n"
