"""Takes messages from rules and tells when they are durable: one sync for all that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from city_platform.ingestion.spool import Spool, SpoolFull
from city_platform.stores.worker import Worker


class IntakeFull(Exception):
    """More waits for the disk than may: the message was not taken and must come again."""


class Intake:
    """The target of ingestion's rules. `run` writes; `end` is the first position not durable."""

    def __init__(
        self, spool: Spool, worker: Worker, wall_us: Callable[[], int], waiting_bytes_max: int
    ) -> None:
        self._spool = spool
        self._worker = worker
        self._wall_us = wall_us
        self._waiting_bytes_max = waiting_bytes_max
        self._waiting: list[tuple[int, str, bytes]] = []
        self._futures: list[asyncio.Future[None]] = []
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._grown = asyncio.Event()
        self.end = spool.end

    def accept(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        """Done when the message survives a power cut. Raises `IntakeFull`, also through the future
        (`SpoolFull`): then the message is not taken."""
        size = len(topic) + len(payload)
        if self._waiting and self._waiting_bytes + size > self._waiting_bytes_max:
            raise IntakeFull(f"{self._waiting_bytes} bytes wait for the disk")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._wall_us(), topic, payload))
        self._futures.append(future)
        self._waiting_bytes += size
        self._arrived.set()
        return future

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

    async def run(self) -> None:
        """Write until cancelled; what waits then was not acknowledged and comes again."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                await self._write()
        finally:
            for future in self._futures:
                future.cancel()

    async def _write(self) -> None:
        messages, self._waiting = self._waiting, []
        futures, self._futures = self._futures, []
        self._waiting_bytes = 0
        try:
            self.end = await self._worker.do(self._spool.append, messages)
        except SpoolFull as error:
            # Each gets an error of its own: a shared one would collect every waiter's traceback.
            for future in futures:
                if not future.done():
                    future.set_exception(SpoolFull(error.errno, error.strerror))
            return
        self._grown.set()
        for future in futures:
            if not future.done():
                future.set_result(None)
