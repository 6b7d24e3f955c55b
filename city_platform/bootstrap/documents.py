"""Reads credentials files in groups: what is asked for during a read goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

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
        # What the next read is for.
        self._next: _Group | None = None
        self._reader: asyncio.Task[None] | None = None

    async def get(self, endpoint: str) -> bytes | None:
        """The file's bytes, None when there is none. See `get_many`."""
        return (await self.get_many([endpoint]))[0]

    async def get_many(self, endpoints: Sequence[str]) -> Sequence[bytes | None]:
        """The files' bytes, None for each that there is none of, in this order.

        Read with what others asked for, but it waits for none of them and shares no failure of
        theirs. Raises what the store raises, most often `OSError`.
        """
        names = [credentials_name(endpoint) for endpoint in endpoints]
        own: asyncio.Future[Sequence[bytes | None]] = asyncio.get_running_loop().create_future()
        self._group_to_read().gets.append((names, own))
        return await own

    def take(self, endpoint: str, taker: Taker) -> asyncio.Future[None]:
        """Have the file read and given to `taker`.

        One future for all that are taken together, which is done when whatever their takers
        returned is done. It raises what the store raised when nothing could be read, or what one
        of them raised: the others have then done their work, and are asked to do it again.
        """
        name = credentials_name(endpoint)
        group = self._group_to_read()
        group.takes.append((name, taker))
        return group.together

    async def close(self) -> None:
        """Wait for the read under way."""
        if self._reader is not None:
            await asyncio.wait([self._reader])

    def _group_to_read(self) -> _Group:
        if self._next is None:
            self._next = _Group()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.ensure_future(self._read_all())
        return self._next

    async def _read_all(self) -> None:
        while (group := self._next) is not None:
            try:
                await self._pace.turn()
                self._next = None
                group.hand_out(await self._store.get_many(group.names))
            except Exception as error:  # a boundary: told to whoever waits
                group.fail(error)
            except BaseException:
                # Nobody reads any more: nobody is left waiting for it.
                for left in (group, self._next):
                    if left is not None:
                        left.cancel()
                self._next = None
                raise


class _Group:
    """What one read is for."""

    def __init__(self) -> None:
        self.takes: list[tuple[str, Taker]] = []
        # Who waits for all of `takes`.
        self.together: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Each has an outcome of its own.
        self.gets: list[tuple[Sequence[str], asyncio.Future[Sequence[bytes | None]]]] = []

    @property
    def names(self) -> list[str]:
        taken = [name for name, _ in self.takes]
        return taken + [name for names, _ in self.gets for name in names]

    def hand_out(self, found: Sequence[bytes | None]) -> None:
        """Give everybody theirs."""
        begin = len(self.takes)
        for names, own in self.gets:
            if not own.done():
                own.set_result(found[begin : begin + len(names)])
            begin += len(names)
        failure, waits = _hand_out(self.takes, found[: len(self.takes)])
        _end_after(self.together, waits, failure)

    def fail(self, error: Exception) -> None:
        """Nothing could be read. Only who waits is told."""
        for _, own in self.gets:
            if not own.done():
                own.set_exception(error)
        if self.takes:
            _end(self.together, error)

    def cancel(self) -> None:
        for _, own in self.gets:
            own.cancel()
        self.together.cancel()


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
