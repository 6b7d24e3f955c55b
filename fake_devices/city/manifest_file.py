"""A manifest as text, CSV or JSON: writes one, and reads the rows that are right.

The platform's own import answers for what is wrong in a file; here it is only left out and named.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from contracts.manifest import (
    REQUIRED_COLUMNS,
    InvalidField,
    ManifestRow,
    RowError,
    read_row,
)

_BEYOND = "(beyond the last column)"


class ManifestFile(NamedTuple):
    """The rows of a manifest that can be used, and why the others cannot."""

    rows: list[ManifestRow]
    errors: list[RowError]


def write_csv(rows: Iterable[ManifestRow]) -> str:
    """The rows as CSV with a header line; groups and given keys only where there are any."""
    known = list(rows)
    optional = [name for name, text in _OPTIONAL.items() if any(map(text, known))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*REQUIRED_COLUMNS, "attributes", *optional])
    writer.writerows(_fields(row, optional) for row in known)
    return text.getvalue()


def _fields(row: ManifestRow, optional: Iterable[str]) -> list[object]:
    attributes = ";".join(f"{name}={value}" for name, value in row.attributes.items())
    fixed = [getattr(row, column) for column in REQUIRED_COLUMNS]
    return [*fixed, attributes, *(_OPTIONAL[name](row) for name in optional)]


def _group(row: ManifestRow) -> str:
    return "" if row.group == f"{row.site}/{row.model}" else row.group


def _key(row: ManifestRow) -> str:
    return row.psk.hex() if row.psk else ""


_OPTIONAL: Final[dict[str, Callable[[ManifestRow], str]]] = {"group": _group, "psk": _key}


def read_manifest(data: bytes) -> ManifestFile:
    """Read CSV, a JSON array or one JSON object a line, in UTF-8 with or without BOM.

    Nothing is raised: what cannot be read is an error with its row, 0 for the file as a whole.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return ManifestFile([], [RowError(0, "", f"is not UTF-8 at byte {error.start}")])
    try:
        return _checked(_json_rows(text) if text.lstrip()[:1] in ("[", "{") else _csv_rows(text))
    except (csv.Error, msgspec.DecodeError, RecursionError) as error:
        return ManifestFile([], [RowError(0, "", f"is neither CSV nor JSON: {error}")])


def _csv_rows(text: str) -> Iterator[object]:
    for fields in csv.DictReader(io.StringIO(text, newline="")):
        # What a line has beyond the header's columns is kept under None.
        yield {_BEYOND if name is None else name: text for name, text in fields.items()}


def _json_rows(text: str) -> Iterator[object]:
    if text.lstrip().startswith("["):
        yield from msgspec.json.decode(text, type=list[object])
        return
    for line in text.splitlines():
        if line.strip():
            yield msgspec.json.decode(line)


def _checked(candidates: Iterable[object]) -> ManifestFile:
    rows: list[ManifestRow] = []
    errors: list[RowError] = []
    seen: set[str] = set()
    for number, fields in enumerate(candidates, start=1):
        try:
            rows.append(_row(fields, seen))
        except InvalidField as error:
            errors.append(RowError(number, error.field, error.reason))
    return ManifestFile(rows, errors)


def _row(fields: object, seen: set[str]) -> ManifestRow:
    if not isinstance(fields, dict):
        raise InvalidField("", "is not an object")
    row = read_row(fields)
    if row.endpoint in seen:
        raise InvalidField("endpoint", f"{row.endpoint!r} is there twice")
    seen.add(row.endpoint)
    return row
