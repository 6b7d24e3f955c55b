"""Which device proves itself by which pre-shared key: a file that its owner alone can read.

Keys go in and are looked up by the DTLS layer; nothing ever gives them out again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from contracts.names import is_endpoint_name
from harness.lwm2m_server.row_file import RowFile, read_lines

STORE_NAME = "security.jsonl"
IDENTITY_BYTES_MAX = 128
KEY_BYTES_MIN, KEY_BYTES_MAX = 16, 64
_HEXADECIMAL = re.compile(rb"[0-9a-fA-F]+")
_COMPACT_FACTOR = 2
_COMPACT_ROWS_MIN = 10_000


class SecurityRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device's pre-shared key; `key` is base64 in JSON."""

    endpoint: str
    identity: str
    key: bytes

    def __repr__(self) -> str:
        return f"SecurityRow(endpoint={self.endpoint!r}, identity={self.identity!r}, …)"


class _Removed(msgspec.Struct, frozen=True):
    removed: str


_encoder = msgspec.json.Encoder()
_row_decoder = msgspec.json.Decoder(SecurityRow)
_removed_decoder = msgspec.json.Decoder(_Removed)


class InvalidRow(ValueError):
    """A row that cannot be taken; the text names the field and never a key."""


class StoreFull(Exception):
    """The store holds as many rows as it may."""


class SecurityStore:
    """Rows by endpoint. Changes are appended by `flush`; the file is compacted now and then."""

    def __init__(self, directory: Path, *, rows_max: int) -> None:
        self._rows_max = rows_max
        self._rows: dict[str, SecurityRow] = {}
        self._by_identity: dict[str, str] = {}
        self._unwritten: list[bytes] = []
        self._load(directory / STORE_NAME)
        self._file = RowFile(directory / STORE_NAME, self._kept())

    def __len__(self) -> int:
        return len(self._rows)

    def key_of(self, identity: str) -> tuple[str, bytes] | None:
        """Endpoint and key behind a PSK identity, for the DTLS layer."""
        endpoint = self._by_identity.get(identity)
        return None if endpoint is None else (endpoint, self._rows[endpoint].key)

    def has(self, endpoint: str) -> bool:
        """Whether there is a key for this endpoint."""
        return endpoint in self._rows

    def put(self, row: SecurityRow) -> bool:
        """Add or replace one row; False when it was there as it is.

        Raises `InvalidRow` or `StoreFull`. It is on disk after `flush`.
        """
        before = self._rows.get(row.endpoint)
        if before == row:
            return False
        check_row(row)
        if self._by_identity.get(row.identity, row.endpoint) != row.endpoint:
            raise InvalidRow(f"identity of {row.endpoint}: another device has it")
        if before is None and len(self._rows) >= self._rows_max:
            raise StoreFull(f"the security store holds {self._rows_max} rows")
        self._take(row)
        self._unwritten.append(_encoder.encode(row))
        return True

    def remove(self, endpoint: str) -> bool:
        """Forget a device's key; False when there was none."""
        row = self._rows.pop(endpoint, None)
        if row is None:
            return False
        del self._by_identity[row.identity]
        self._unwritten.append(_encoder.encode(_Removed(endpoint)))
        return True

    def flush(self) -> None:
        """Write what was changed, in one append; then it survives the kill of the process."""
        if not self._unwritten:
            return
        self._file.append(self._unwritten)
        self._unwritten.clear()
        if self._file.lines > _COMPACT_ROWS_MIN + _COMPACT_FACTOR * len(self._rows):
            self._file.replace(self._kept())

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()

    def _take(self, row: SecurityRow) -> None:
        before = self._rows.get(row.endpoint)
        if before is not None:
            del self._by_identity[before.identity]
        self._rows[row.endpoint] = row
        self._by_identity[row.identity] = row.endpoint

    def _load(self, path: Path) -> None:
        for line in read_lines(path):
            try:
                found = _decode_either(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the last line, cut short by a kill before it was answered
            if isinstance(found, SecurityRow):
                self._take(found)  # it was checked when it came
            elif (row := self._rows.pop(found.removed, None)) is not None:
                del self._by_identity[row.identity]

    def _kept(self) -> Iterator[bytes]:
        return map(_encoder.encode, self._rows.values())


def check_row(row: SecurityRow) -> None:
    """Return when a row can be taken. Raises `InvalidRow`."""
    if not is_endpoint_name(row.endpoint):
        raise InvalidRow(f"endpoint: {row.endpoint[:40]!r} is not an endpoint name")
    if not 0 < len(row.identity.encode(errors="replace")) <= IDENTITY_BYTES_MAX:
        raise InvalidRow(f"identity of {row.endpoint}: 1 to {IDENTITY_BYTES_MAX} bytes")
    if not KEY_BYTES_MIN <= len(row.key) <= KEY_BYTES_MAX:
        raise InvalidRow(f"key of {row.endpoint}: {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes")
    # Hexadecimal text is valid base64 of another key, with which no device would ever come in; a
    # random key looks so once in 10^15.
    if _HEXADECIMAL.fullmatch(base64.b64encode(row.key)):
        raise InvalidRow(f"key of {row.endpoint}: it is in hexadecimal; write it in base64")


def decode_row(line: bytes) -> SecurityRow:
    """One NDJSON line. Raises `InvalidRow`."""
    try:
        return _row_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # msgspec's text names the field; a key's wrong content is not part of it.
        raise InvalidRow("not a JSON object with endpoint, identity and key (base64)") from None


def _decode_either(line: bytes) -> SecurityRow | _Removed:
    if line.startswith(b'{"removed"'):
        return _removed_decoder.decode(line)
    return _row_decoder.decode(line)
