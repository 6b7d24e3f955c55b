"""Reads credentials files in groups: what is asked for during a read goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from city_platform.pace import Pace
from city_platform.stores.object_store import ObjectStore, credentials_name

# The least time from one read to the next: a hop to the store's thread costs ten times what a file
# does. What comes alone is read at once.
GATHER_S = 0.02

# Takes a file's bytes, None when there is none; what it returns is done when that is durable.
Taker = Callable[[bytes | None], asyncio.Future[None] | None]


class Documents:
    """Credentials files by endpoint. One hop to the store's thread serves many devices."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._pace = Pace(GATHER_S)
        self._asked: list[tuple[str, Taker]] = []
        # Who waits for all of `_asked`.
        self._together: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[None] | None = None

    async def get(self, endpoint: str) -> bytes | None:
        """The file's bytes, None when there is none. Raises `OSError`."""
        found: list[bytes | None] = []
        await asyncio.shield(self.take(endpoint, found.append))
        return found[0]

    def take(self, endpoint: str, taker: Taker) -> asyncio.Future[None]:
        """Have the file read and given to `taker`.

        One future for all that are read together, which is done when whatever their takers returned
        is done. It raises `OSError` when nothing could be read, or what one of them raised: the
        others have then done their work, and are asked to do it again.
        """
        if self._together is None:
            self._together = asyncio.get_running_loop().create_future()
        self._asked.append((credentials_name(endpoint), taker))
        if self._reader is None or self._reader.done():
            self._reader = asyncio.ensure_future(self._read_all())
        return self._together

    async def close(self) -> None:
        """Wait for the read under way."""
        if self._reader is not None:
            await self._reader

    async def _read_all(self) -> None:
        while self._together is not None:
            await self._pace.turn()
            asked, self._asked = self._asked, []
            together, self._together = self._together, None
            try:
                found = await self._store.get_many([name for name, _ in asked])
            except OSError as error:
                _end(together, error)
                continue
            failure, waits = _hand_out(asked, found)
            _end_after(together, waits, failure)


def _hand_out(
    asked: Collection[tuple[str, Taker]], found: Collection[bytes | None]
) -> tuple[BaseException | None, Collection[asyncio.Future[None]]]:
    """The first error, and what is to be waited for."""
    failure: BaseException | None = None
    waits: dict[asyncio.Future[None], None] = {}
    for (_, taker), data in zip(asked, found, strict=True):
        try:
            kept = taker(data)
        except Exception as error:  # a boundary: told to whoever waits
            failure = failure or error
        else:
            if kept is not None:
                waits[kept] = None
    return failure, waits


def _end_after(
    together: asyncio.Future[None],
    waits: Collection[asyncio.Future[None]],
    failure: BaseException | None,
) -> None:
    """End it when all of `waits` have ended: most often that is one commit."""
    left = len(waits)
    if not left:
        _end(together, failure)

    def ended(one: asyncio.Future[None]) -> None:
        nonlocal left, failure
        left -= 1
        if one.cancelled():
            together.cancel()
        else:
            failure = failure or one.exception()
        if not left:
            _end(together, failure)

    for one in waits:
        one.add_done_callback(ended)


def _end(together: asyncio.Future[None], failure: BaseException | None) -> None:
    if together.done():
        return
    if failure is None:
        together.set_result(None)
    else:
        together.set_exception(failure)
