"""Cuts a manifest's bytes into rows as they arrive: CSV, a JSON array, or one JSON object a line.

It knows the forms, not the fields: what a row must hold is `contracts.manifest`. Memory is bounded
by one row. A row that cannot be read is reported and the rows behind it are not affected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from contracts.manifest import RowError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SPACE = b" \t\r\n"


class UnreadableManifest(ValueError):
    """The file as a whole cannot be read; the text says why and what to do."""


class RawRow(NamedTuple):
    """One row before its fields are checked: `fields`, or the `error` that kept it from being cut.

    `number` counts from 1 without a header.
    """

    number: int
    fields: dict[str, object]
    error: RowError | None = None


class RowCutter(Protocol):
    """One form of manifest."""

    def feed(self, data: bytes, rows: list[RawRow]) -> None:
        """Append the rows that are now whole to `rows`. Raises `UnreadableManifest`."""

    def finish(self, rows: list[RawRow]) -> None:
        """Append what is left at the end of the file. Raises `UnreadableManifest`."""


class ManifestReader:
    """Finds out the form by the first character that is no space and cuts rows of it.

    `row_bytes_max` bounds a row, and with it what is held back between two calls. Rows before an
    unreadable place are still handed out: the call after them raises.
    """

    def __init__(self, row_bytes_max: int = 65_536) -> None:
        self._row_bytes_max = row_bytes_max
        self._head = b""
        self._cutter: RowCutter | None = None
        self._problem: UnreadableManifest | None = None

    def feed(self, data: bytes) -> list[RawRow]:
        """The rows that `data` completes. Raises `UnreadableManifest`."""
        return self._collect(lambda rows: self._feed(data, rows))

    def finish(self) -> list[RawRow]:
        """The rows that the end of the file completes. Raises `UnreadableManifest`."""
        return self._collect(self._finish)

    def _collect(self, step: Callable[[list[RawRow]], None]) -> list[RawRow]:
        if self._problem is not None:
            raise self._problem
        rows: list[RawRow] = []
        try:
            step(rows)
        except UnreadableManifest as error:
            if not rows:
                raise
            self._problem = error
        return rows

    def _feed(self, data: bytes, rows: list[RawRow]) -> None:
        if self._cutter is not None:
            self._cutter.feed(data, rows)
            return
        self._head += data
        if len(self._head) >= len(_BYTE_ORDER_MARK):
            self._begin(rows)

    def _finish(self, rows: list[RawRow]) -> None:
        if self._cutter is None:
            self._begin(rows)
        if self._cutter is None:
            raise UnreadableManifest("the file is empty: a manifest has at least one row")
        self._cutter.finish(rows)

    def _begin(self, rows: list[RawRow]) -> None:
        if self._head.startswith(_UTF16_MARKS):
            raise UnreadableManifest("the file is UTF-16: save it as UTF-8")
        head = self._head.removeprefix(_BYTE_ORDER_MARK).lstrip(_SPACE)
        if not head:
            # Only spaces so far: they carry nothing, so they are not kept.
            has_mark = self._head.startswith(_BYTE_ORDER_MARK)
            self._head = _BYTE_ORDER_MARK if has_mark else self._head[:1] * 3
            return
        self._head = b""
        self._cutter = self._cutter_for(head[:1])
        self._cutter.feed(head, rows)

    def _cutter_for(self, first: bytes) -> RowCutter:
        # Imported here because the forms build on this module's row and error.
        from city_platform.provisioning.csv_rows import CsvCutter
        from city_platform.provisioning.json_rows import JsonArrayCutter, JsonLinesCutter

        if first == b"[":
            return JsonArrayCutter(self._row_bytes_max)
        return (JsonLinesCutter if first == b"{" else CsvCutter)(self._row_bytes_max)
