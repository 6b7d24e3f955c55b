"""Rows of a CSV manifest (RFC 4180; a header line, commas, quoted cells may hold line ends)."""

from __future__ import annotations

import csv

from city_platform.provisioning.lines import LineCutter
from city_platform.provisioning.manifest_reader import RawRow, UnreadableManifest
from contracts.manifest import COLUMNS, REQUIRED_COLUMNS, RowError


class CsvCutter:
    """Cuts CSV. A quote that never closes costs its own line, not the rows behind it."""

    def __init__(self, row_bytes_max: int) -> None:
        self._row_bytes_max = row_bytes_max
        self._lines = LineCutter(row_bytes_max)
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._is_quoted = False
        self._header: list[str] | None = None
        self._number = 0

    def feed(self, data: bytes, rows: list[RawRow]) -> None:
        """See `RowCutter`."""
        for line in self._lines.feed(data):
            self._take(line, rows)

    def finish(self, rows: list[RawRow]) -> None:
        """See `RowCutter`."""
        for line in self._lines.finish():
            self._take(line, rows)
        while self._open:
            self._give_up_quote(rows)
        if self._header is None:
            raise UnreadableManifest("the file has no header line")

    def _take(self, line: bytes | None, rows: list[RawRow]) -> None:
        if line is None:
            while self._open:
                self._give_up_quote(rows)
            self._refuse(rows, f"the line is longer than {self._row_bytes_max} bytes")
            return
        self._open.append(line)
        # An empty line has its end: a million of them are no small row.
        self._open_bytes += len(line) + 1
        # Inside quotes a line end belongs to the cell: a row is whole when its quotes are even.
        self._is_quoted ^= line.count(b'"') % 2 == 1
        if not self._is_quoted:
            self._read(b"\n".join(self._close()), rows)
        elif self._open_bytes > self._row_bytes_max:
            self._give_up_quote(rows)

    def _close(self) -> list[bytes]:
        lines, self._open, self._open_bytes, self._is_quoted = self._open, [], 0, False
        return lines

    def _give_up_quote(self, rows: list[RawRow]) -> None:
        _, *others = self._close()
        self._refuse(rows, "a quote is opened and never closed")
        for line in others:
            self._take(line, rows)

    def _read(self, whole: bytes, rows: list[RawRow]) -> None:
        if not whole.strip():
            return
        try:
            text = whole.decode()
            cells = next(csv.reader([text], strict=True))
        except UnicodeDecodeError:
            self._refuse(rows, "is not UTF-8")
        except csv.Error as error:
            self._refuse(rows, f"is not CSV: {error}")
        else:
            self._assign(cells, rows)

    def _assign(self, cells: list[str], rows: list[RawRow]) -> None:
        if self._header is None:
            self._header = _checked_header(cells)
            return
        self._number += 1
        if len(cells) != len(self._header):
            reason = f"has {len(cells)} cells, the header has {len(self._header)}"
            rows.append(RawRow(self._number, {}, RowError(self._number, "", reason)))
            return
        fields: dict[str, object] = dict(
            zip(self._header, (cell.strip() for cell in cells), strict=True)
        )
        rows.append(RawRow(self._number, fields))

    def _refuse(self, rows: list[RawRow], reason: str) -> None:
        if self._header is None:
            raise UnreadableManifest(
                f"the file is neither JSON nor CSV in UTF-8: its first line {reason}"
            )
        self._number += 1
        rows.append(RawRow(self._number, {}, RowError(self._number, "", reason)))


def _checked_header(cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if not set(names) & set(COLUMNS):
        hint = " (columns are separated by commas)" if len(names) == 1 else ""
        raise UnreadableManifest(
            f"the file is neither JSON nor CSV with a header line{hint}; "
            f"columns are {', '.join(COLUMNS)}"
        )
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        raise UnreadableManifest(f"missing columns: {', '.join(missing)}")
    unknown = [name[:40] for name in names if name not in COLUMNS]
    if unknown:
        raise UnreadableManifest(
            f"unknown columns: {', '.join(unknown[:10])}; known are {', '.join(COLUMNS)}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnreadableManifest(f"columns appear twice: {', '.join(twice)}")
    return names
