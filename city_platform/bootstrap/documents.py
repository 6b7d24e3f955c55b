"""Reads credentials files in groups: what is asked for during a read goes into the next one."""

from __future__ import annotations

import asyncio

from city_platform.pace import Pace
from city_platform.stores.object_store import ObjectStore, credentials_name

# The least time from one read to the next: a hop to the store's thread costs ten times what a file
# does. What comes alone is read at once.
GATHER_S = 0.02


class Documents:
    """Credentials files by endpoint. One hop to the store's thread serves many devices."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._pace = Pace(GATHER_S)
        self._asked: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._reader: asyncio.Task[None] | None = None

    def get(self, endpoint: str) -> asyncio.Future[bytes | None]:
        """The file's bytes, None when there is none. The future raises `OSError`."""
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._asked.append((credentials_name(endpoint), future))
        if self._reader is None or self._reader.done():
            self._reader = asyncio.ensure_future(self._read_all())
        return future

    async def close(self) -> None:
        """Wait for the read under way."""
        if self._reader is not None:
            await self._reader

    async def _read_all(self) -> None:
        while self._asked:
            await self._pace.turn()
            asked, self._asked = self._asked, []
            try:
                found = await self._store.get_many([name for name, _ in asked])
            except OSError as error:
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), data in zip(asked, found, strict=True):
                if not future.done():
                    future.set_result(data)
