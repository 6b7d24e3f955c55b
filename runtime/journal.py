"""Writes one process's journal file: typed records, flushed once per turn of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Protocol

import msgspec


class JournalSink(Protocol):
    """Where a part of the bench records what it observed."""

    def record(self, record: msgspec.Struct) -> None:
        """Append one record; lists in it must not change any more."""


class NoJournal:
    """Drops every record: for parts that run without a bench, and for `--no-taps`."""

    def record(self, record: msgspec.Struct) -> None:
        """See `JournalSink`."""


class JournalFile:
    """Appends records to `path`. What a turn of the loop recorded is encoded and written at once.

    A kill of the process loses at most the current turn's records.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._encoder = msgspec.json.Encoder()
        self._records: list[msgspec.Struct] = []
        self._flush_scheduled = False

    def record(self, record: msgspec.Struct) -> None:
        """Append one record; it is written at the end of the loop's turn, after `close` never."""
        if self._descriptor < 0:
            return
        self._records.append(record)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what is buffered."""
        self._flush_scheduled = False
        if self._descriptor < 0:
            return
        records, self._records = self._records, []
        try:
            self._write(self._encoder.encode_lines(records))
        except (TypeError, ValueError):  # what JSON cannot say: UnicodeEncodeError is one
            self._write_each(records)
            raise

    def close(self) -> None:
        """Flush and close; safe to call twice."""
        if self._descriptor >= 0:
            self.flush()
            os.close(self._descriptor)
            self._descriptor = -1

    def _write_each(self, records: list[msgspec.Struct]) -> None:
        """Those that can be encoded: one that cannot takes none with it."""
        for record in records:
            with contextlib.suppress(TypeError, ValueError):
                self._write(self._encoder.encode_lines([record]))

    def _write(self, lines: bytes) -> None:
        view = memoryview(lines)
        while view:
            view = view[os.write(self._descriptor, view) :]
