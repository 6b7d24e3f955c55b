"""Follows a journal file that another process appends to: only whole lines, each once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from contracts.journal import Record
from harness.journal.reader import MalformedJournal

CHUNK_BYTES: Final = 256 * 1024

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class JournalTail:
    """Reads on from where it was; a file that is not there yet is empty.

    With `prefix`, lines that begin otherwise are skipped without being decoded.
    """

    def __init__(self, path: Path, prefix: bytes = b"") -> None:
        self._path = path
        self._prefix = prefix
        self._descriptor = -1
        self._rest = b""
        self._lines = 0

    def open(self) -> bool:
        """Open the file, so that its name does not matter any more; whether it is there."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY)
            except FileNotFoundError:
                return False
        return True

    def read(self) -> list[Record] | None:
        """The records of the next piece of the file, None when there is nothing new.

        Raises `MalformedJournal` with the line's number.
        """
        if not self.open():
            return None
        data = os.read(self._descriptor, CHUNK_BYTES)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return list(self._decoded(lines))

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _decoded(self, lines: list[bytes]) -> Iterator[Record]:
        for line in lines:
            self._lines += 1
            if line and line.startswith(self._prefix):
                try:
                    yield _decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise MalformedJournal(self._path.name, self._lines, str(error)) from None
