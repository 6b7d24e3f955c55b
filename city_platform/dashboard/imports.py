"""The imports that went through this dashboard: who brought which file, and what became of it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec

from city_platform.stores.worker import Worker
from contracts.api import ImportJob
from runtime.files import write_atomically

NAME_LENGTH_MAX: Final = 200


class KeptImport(msgspec.Struct, frozen=True, kw_only=True):
    """One import. `job` is how it ended; None while it runs."""

    id: str
    name: str
    started_at_us: int
    started_by: str
    job: ImportJob | None = None


class ImportList:
    """The newest `kept_max` imports, in one file."""

    def __init__(self, path: Path, kept_max: int) -> None:
        self._path = path
        self._kept_max = kept_max
        self._imports: OrderedDict[str, KeptImport] = OrderedDict()
        self._worker = Worker("dashboard-imports")

    async def open(self) -> None:
        """Read what an earlier run kept. A file that is none is begun anew."""
        for one in await self._worker.do(self._read):
            self._imports[one.id] = one

    async def add(self, started: KeptImport) -> None:
        """Keep an import that has begun."""
        self._imports[started.id] = started
        while len(self._imports) > self._kept_max:
            self._imports.popitem(last=False)
        await self._write()

    async def end(self, job: ImportJob) -> None:
        """Keep how an import ended."""
        known = self._imports.get(job.id)
        if known is not None and known.job is None:
            self._imports[job.id] = msgspec.structs.replace(known, job=job)
            await self._write()

    def newest_first(self) -> list[KeptImport]:
        """All of them."""
        return list(reversed(self._imports.values()))

    def close(self) -> None:
        """End the thread that writes."""
        self._worker.close()

    def _read(self) -> list[KeptImport]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[KeptImport])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return []

    async def _write(self) -> None:
        document = msgspec.json.encode(list(self._imports.values()))
        await self._worker.do(write_atomically, self._path, document)


def file_name(header: str) -> str:
    """The name of an uploaded file, as its header says it: without folders, printable, short."""
    name = unquote(header).replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())[:NAME_LENGTH_MAX]
