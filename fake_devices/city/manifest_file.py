"""A manifest as text, CSV or JSON: writes one, and reads the rows that are right.

The platform's own import answers for what is wrong in a file; here it is only left out and named.
"""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from contracts.manifest import (
    REQUIRED_COLUMNS,
    InvalidField,
    ManifestRow,
    RowError,
    read_row,
)

_BEYOND = "(beyond the last column)"
# What `key=value;key=value` cannot hold.
_MARKS = frozenset("=;{")
# Written only when a row needs them: a group that is not the default one, a key of its own, a
# signing request, what a device of another model publishes.
_WHEN_NEEDED = ("group", "psk", "csr", "reports")


class ManifestFile(NamedTuple):
    """The rows of a manifest that can be used, and why the others cannot."""

    rows: list[ManifestRow]
    errors: list[RowError]


class UnusableManifest(ValueError):
    """A manifest has no row that can be used; the text says why the first one cannot."""


def write_manifest(rows: Sequence[ManifestRow]) -> bytes:
    """The rows as CSV with a header line, such that reading gives the same rows.

    Keys are written when rows have them: the bytes are then a secret.
    """
    needed = [name for name in _WHEN_NEEDED if any(_texts(row)[name] for row in rows)]
    columns = [*REQUIRED_COLUMNS, *needed, "attributes"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        texts = _texts(row)
        writer.writerow([texts[column] for column in columns])
    return text.getvalue().encode()


def _texts(row: ManifestRow) -> dict[str, str]:
    texts = {column: str(getattr(row, column)) for column in REQUIRED_COLUMNS}
    is_default = row.group == f"{row.site}/{row.model}"
    texts["group"] = "" if is_default else row.group
    texts["psk"] = "" if row.psk is None else row.psk.hex()
    texts["csr"] = "" if row.csr is None else b64encode(row.csr).decode()
    texts["reports"] = ";".join(row.reports)
    texts["attributes"] = _attributes(row.attributes)
    return texts


def _attributes(attributes: dict[str, str]) -> str:
    plain = ";".join(f"{name}={value}" for name, value in attributes.items())
    pieces = [piece for pair in attributes.items() for piece in pair]
    is_plain = all(p and p.isprintable() and p == p.strip() and not set(p) & _MARKS for p in pieces)
    return plain if is_plain else msgspec.json.encode(attributes).decode()


def read_manifest(data: bytes) -> list[ManifestRow]:
    """The rows of a manifest that are right. Raises `UnusableManifest` when there is none."""
    rows, errors = check_manifest(data)
    if rows:
        return rows
    if not errors:
        raise UnusableManifest("the manifest has no rows")
    first = errors[0]
    where = f"row {first.row}: " if first.row else ""
    raise UnusableManifest(f"the manifest has no usable row; {where}{first.field} {first.reason}")


def check_manifest(data: bytes) -> ManifestFile:
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
