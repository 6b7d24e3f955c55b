"""Takes messages from rules and tells when they are durable: one sync for all that wait, and for
those that come within a few milliseconds of the last one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from city_platform.ingestion.spool import Message, Spool, SpoolFull
from city_platform.pace import Pace
from city_platform.stores.worker import Worker

# Own choice: what is durable and not yet stored is read from memory while it is so little.
FRESH_BYTES_MAX: Final = 8 * 1024 * 1024


class _Written(NamedTuple):
    """Messages (time received, topic, payload) that are durable, from position `first` on."""

    first: int
    messages: list[tuple[int, str, bytes]]
    size_bytes: int


class IntakeFull(Exception):
    """More waits for the disk than may: the message was not taken and must come again."""


class Intake:
    """The target of ingestion's rules. `run` writes; `end` is the first position not durable.

    `trouble` says why nothing is taken just now; it is empty while all is well.
    """

    def __init__(
        self,
        spool: Spool,
        worker: Worker,
        wall_us: Callable[[], int],
        waiting_bytes_max: int,
        gather_s: float = 0.0,
    ) -> None:
        self._spool = spool
        self._worker = worker
        self._wall_us = wall_us
        self._waiting_bytes_max = waiting_bytes_max
        self._pace = Pace(gather_s)
        self._waiting: list[tuple[int, str, bytes]] = []
        # Done when all that waits is durable.
        self._durable: asyncio.Future[None] | None = None
        self._waiting_bytes = 0
        # Places of what was put back, in `_waiting`, and who waits to hear their positions.
        self._put_back: list[tuple[int, asyncio.Future[int]]] = []
        self._fresh: deque[_Written] = deque()
        self._fresh_bytes = 0
        self.trouble = ""
        self._arrived = asyncio.Event()
        self._grown = asyncio.Event()
        self.end = spool.end

    def accept(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        """Done when the message survives a power cut: the same future for all that do so together.
        Raises `IntakeFull`, also through the future (`SpoolFull`): then it is not taken."""
        size = len(topic) + len(payload)
        if self._waiting and self._waiting_bytes + size > self._waiting_bytes_max:
            raise IntakeFull(f"{self._waiting_bytes} bytes wait for the disk")
        if self._durable is None:
            self._durable = asyncio.get_running_loop().create_future()
            self._arrived.set()
        self._waiting.append((self._wall_us(), topic, payload))
        self._waiting_bytes += size
        return self._durable

    async def put_back(self, received_us: int, topic: str, payload: bytes) -> int:
        """Take a message again that was received before; its new position, once it is durable.
        Raises `IntakeFull` and `SpoolFull`."""
        durable = self.accept(topic, payload)
        _, topic, payload = self._waiting[-1]
        self._waiting[-1] = (received_us, topic, payload)
        position: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._put_back.append((len(self._waiting) - 1, position))
        # Others wait for it, too.
        await asyncio.shield(durable)
        return await position

    async def wait_beyond(self, position: int, within_s: float | None) -> bool:
        """Whether messages from `position` on are durable, waiting at most so long for one."""
        while self.end <= position:
            self._grown.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._grown.wait()
            except TimeoutError:
                return self.end > position
        return True

    def fresh(self, position: int, messages_max: int, bytes_max: int) -> list[Message]:
        """Durable messages from `position` on that are still in memory, none when the first is not:
        at most so many, and, after the first, at most so many bytes. Those before it are forgotten.
        """
        while self._fresh and self._fresh[0].first + len(self._fresh[0].messages) <= position:
            self._fresh_bytes -= self._fresh.popleft().size_bytes
        found: list[Message] = []
        size = 0
        for first, messages, _ in self._fresh:
            start = position + len(found) - first
            if start < 0 or size >= bytes_max or len(found) >= messages_max:
                break
            for at in range(start, min(len(messages), start + messages_max - len(found))):
                received_us, topic, payload = messages[at]
                found.append(Message(first + at, received_us, topic, payload))
                size += len(topic) + len(payload)
                if size >= bytes_max:
                    break
        return found

    async def run(self) -> None:
        """Write until cancelled; what waits then was not acknowledged and comes again."""
        try:
            while True:
                await self._arrived.wait()
                await self._pace.turn()
                self._arrived.clear()
                await self._write()
        finally:
            if self._durable is not None:
                self._durable.cancel()

    async def _write(self) -> None:
        messages, self._waiting = self._waiting, []
        put_back, self._put_back = self._put_back, []
        durable, self._durable = self._durable, None
        assert durable is not None
        size, self._waiting_bytes = self._waiting_bytes, 0
        try:
            self.end = await self._worker.do(self._spool.append, messages)
        except SpoolFull as error:
            self.trouble = f"the spool takes nothing: {error.strerror}"
            if not durable.done():
                durable.set_exception(SpoolFull(error.errno, error.strerror))
            return
        except BaseException:
            # Nobody knows whether it is written: it stays unacknowledged and comes again.
            durable.cancel()
            raise
        self.trouble = ""
        self._fresh.append(_Written(self.end - len(messages), messages, size))
        self._fresh_bytes += size
        while self._fresh_bytes > FRESH_BYTES_MAX:
            self._fresh_bytes -= self._fresh.popleft().size_bytes
        self._grown.set()
        for place, position in put_back:
            position.set_result(self.end - len(messages) + place)
        if not durable.done():
            durable.set_result(None)
