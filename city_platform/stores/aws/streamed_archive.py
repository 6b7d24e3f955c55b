"""An account's objects, with the archive's lines going through a delivery stream.

Ingestion's archive puts an object of compressed lines when it is large or old enough. With a stream
the lines go into that instead, which gathers those of all writers to objects of its own: fewer and
larger ones, under the names that the stream gives them. After a kill the same lines come again.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from city_platform.stores.aws.delivery_stream import DeliveryStream
from city_platform.stores.aws.stream_batches import line_records
from city_platform.stores.object_store import NewObject, ObjectStore

ARCHIVED: Final = "archive/"
_GZIP: Final = 31


class StreamedArchive:
    """See `ObjectStore`. Names that begin with `archive/` are the stream's, all others `objects`'.

    What was put into the stream is among the objects when the stream delivers it, 60 s later or
    more, under another name.
    """

    def __init__(self, objects: ObjectStore, stream: DeliveryStream) -> None:
        self._objects = objects
        self._stream = stream

    async def get(self, name: str) -> bytes:
        """See `ObjectStore`."""
        return await self._objects.get(name)

    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `ObjectStore`."""
        return await self._objects.get_many(names)

    async def put(self, objects: Iterable[NewObject], *, sync: bool = False) -> None:
        """See `ObjectStore`. A put that failed may be repeated: the archive then has lines twice,
        as it has what a device sent twice."""
        others: list[NewObject] = []
        for one in objects:
            if one.name.startswith(ARCHIVED):
                await self._stream.put(await _records_of(one.data))
            else:
                others.append(one)
        if others:
            await self._objects.put(others, sync=sync)

    async def delete(self, name: str) -> None:
        """See `ObjectStore`."""
        await self._objects.delete(name)

    async def names(self, prefix: str = "") -> list[str]:
        """See `ObjectStore`."""
        return await self._objects.names(prefix)

    async def present(self, names: Iterable[str]) -> set[str]:
        """See `ObjectStore`."""
        return await self._objects.present(names)

    def close(self) -> None:
        """See `ObjectStore`."""
        self._objects.close()


async def _records_of(data: bytes) -> list[bytes]:
    """The records of an archive object. Some megabytes: in a worker thread."""
    return await asyncio.get_running_loop().run_in_executor(
        None, lambda: line_records(zlib.decompress(data, _GZIP))
    )
