"""Rows of a JSON manifest: an array of objects, or one object a line."""

from __future__ import annotations

import re

import msgspec

from city_platform.provisioning.lines import LineCutter
from city_platform.provisioning.manifest_reader import RawRow, UnreadableManifest
from contracts.manifest import RowError

# What matters for finding an element's end: whole strings (whose brackets do not count), and
# brackets. A string that is cut by the end of what has arrived matches its quote alone.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["\[\]{}]', re.DOTALL)
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s,\[\]{}"]+', re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\r\n]*")


class JsonLinesCutter:
    """Cuts NDJSON: a line that is no object is refused alone."""

    def __init__(self, row_bytes_max: int) -> None:
        self._row_bytes_max = row_bytes_max
        self._lines = LineCutter(row_bytes_max)
        self._number = 0

    def feed(self, data: bytes, rows: list[RawRow]) -> None:
        """See `RowCutter`."""
        self._read(self._lines.feed(data), rows)

    def finish(self, rows: list[RawRow]) -> None:
        """See `RowCutter`."""
        self._read(self._lines.finish(), rows)

    def _read(self, lines: list[bytes | None], rows: list[RawRow]) -> None:
        for line in lines:
            if line is not None and not line.strip():
                continue
            self._number += 1
            if line is None:
                reason = f"the line is longer than {self._row_bytes_max} bytes"
                rows.append(RawRow(self._number, {}, RowError(self._number, "", reason)))
            else:
                rows.append(read_object(self._number, line))


class JsonArrayCutter:
    """Cuts an array of objects. What is wrong between elements ends the file, since nothing says
    where the next row would begin."""

    def __init__(self, row_bytes_max: int) -> None:
        self._row_bytes_max = row_bytes_max
        self._buffer = b""
        self._scanned = 0
        self._depth = 0
        self._number = 0
        # What may come next: `start` [, `first` element or ], `comma` or ], `element`, `end`.
        self._expects = "start"

    def feed(self, data: bytes, rows: list[RawRow]) -> None:
        """See `RowCutter`."""
        self._buffer += data
        while self._step(rows):
            pass
        if len(self._buffer) > self._row_bytes_max:
            raise UnreadableManifest(
                f"row {self._number + 1} is longer than {self._row_bytes_max} bytes"
            )

    def finish(self, rows: list[RawRow]) -> None:
        """See `RowCutter`."""
        if self._expects != "end":
            raise UnreadableManifest(
                f"the JSON array ends after row {self._number} without its closing ]"
            )

    def _step(self, rows: list[RawRow]) -> bool:
        if self._depth == 0:
            self._buffer = self._buffer[_skip(self._buffer) :]
            if not self._buffer:
                return False
            first = self._buffer[:1]
            if self._expects not in ("first", "element") or first == b"]":
                self._punctuate(first)
                return True
            if first not in (b"{", b"["):
                return self._scan_scalar(rows)
        return self._scan(rows)

    def _punctuate(self, found: bytes) -> None:
        following = {
            ("start", b"["): "first",
            ("first", b"]"): "end",
            ("comma", b","): "element",
            ("comma", b"]"): "end",
        }.get((self._expects, found))
        if following is None:
            raise UnreadableManifest(
                f"not JSON after row {self._number}: unexpected {found.decode('latin-1')!r}"
            )
        self._expects = following
        self._buffer = self._buffer[1:]

    def _scan_scalar(self, rows: list[RawRow]) -> bool:
        found = _SCALAR.match(self._buffer)
        if found is None and self._buffer[:1] != b'"':
            self._punctuate(self._buffer[:1])
        if found is None or found.end() == len(self._buffer):
            return False
        self._scanned = found.end()
        self._cut(rows)
        return True

    def _scan(self, rows: list[RawRow]) -> bool:
        for token in _TOKEN.finditer(self._buffer, self._scanned):
            found = token.group()
            if found == b'"':
                self._scanned = token.start()
                return False
            self._scanned = token.end()
            if found in (b"{", b"["):
                self._depth += 1
            elif found in (b"}", b"]"):
                self._depth -= 1
                if self._depth == 0:
                    self._cut(rows)
                    return True
        return False

    def _cut(self, rows: list[RawRow]) -> None:
        element, self._buffer = self._buffer[: self._scanned], self._buffer[self._scanned :]
        self._scanned, self._expects = 0, "comma"
        self._number += 1
        rows.append(read_object(self._number, element))


def read_object(number: int, data: bytes) -> RawRow:
    """A row from one JSON object, or the reason why it is none."""
    try:
        return RawRow(number, msgspec.json.decode(data, type=dict[str, object]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = f"is not a JSON object: {error}"
        return RawRow(number, {}, RowError(number, "", reason))


def _skip(buffer: bytes) -> int:
    found = _BETWEEN.match(buffer)
    return found.end() if found else 0
