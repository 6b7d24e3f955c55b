"""The OSCORE security contexts of devices, and which sequence numbers were used: one file on disk.

Material that was in use is remembered for good, by a digest: put in again, it goes on behind the
numbers that it used, because a nonce that is used twice gives plaintexts away (RFC 8613 §7.2.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts.names import is_endpoint_name
from harness.lwm2m_server.row_file import RowFile, read_lines
from harness.lwm2m_server.security_store import InvalidRow, StoreFull

if TYPE_CHECKING:
    from lwm2m.transport.oscore import OscoreMaterial

STORE_NAME = "oscore.jsonl"
MASTER_SECRET_BYTES_MAX = 256
_COMPACT_FACTOR = 2
_COMPACT_LINES_MIN = 10_000
# Digests kept of material that is no longer used, for each row that there may be.
_REMEMBERED_FACTOR = 4

ContextKey = tuple[bytes, bytes | None]


class OscoreRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device's security context as this server sees it; texts of bytes are base64 in JSON.

    `sender_id` is the server's and `recipient_id` the device's. The algorithms are COSE's numbers.
    """

    endpoint: str
    master_secret: bytes
    sender_id: bytes
    recipient_id: bytes
    master_salt: bytes = b""
    id_context: bytes | None = None
    aead_algorithm: int = 10
    hkdf_algorithm: int = -10

    def __repr__(self) -> str:
        return f"OscoreRow(endpoint={self.endpoint!r}, …)"

    @property
    def key(self) -> ContextKey:
        """What requests of the device name the context by."""
        return self.recipient_id, self.id_context

    def material(self) -> OscoreMaterial:
        """What makes the context. Raises `InvalidMaterial`."""
        # Not before there is a row: most servers never have one.
        from lwm2m.transport.oscore import OscoreMaterial

        return OscoreMaterial(
            master_secret=self.master_secret,
            sender_id=self.sender_id,
            recipient_id=self.recipient_id,
            master_salt=self.master_salt,
            id_context=self.id_context,
            aead_algorithm=self.aead_algorithm,
            hkdf_algorithm=self.hkdf_algorithm,
            endpoint_name=self.endpoint,
        )


class _Removed(msgspec.Struct, frozen=True):
    removed: str


class _Reserved(msgspec.Struct, frozen=True):
    reserved: str
    next: int


_encoder = msgspec.json.Encoder()
_row_decoder = msgspec.json.Decoder(OscoreRow)
_removed_decoder = msgspec.json.Decoder(_Removed)
_reserved_decoder = msgspec.json.Decoder(_Reserved)


class OscoreStore:
    """Rows by endpoint. What changed is on disk after `flush`."""

    def __init__(self, directory: Path, *, rows_max: int, sync: bool = False) -> None:
        self._rows_max = rows_max
        self._rows: dict[str, OscoreRow] = {}
        self._by_key: dict[ContextKey, str] = {}
        # The first sequence number that is not reserved, by digest.
        self._next: dict[str, int] = {}
        self._unwritten: list[bytes] = []
        self._load(directory / STORE_NAME)
        self._file = RowFile(directory / STORE_NAME, self._kept(), sync=sync)

    @property
    def rows(self) -> Mapping[str, OscoreRow]:
        """All rows by endpoint."""
        return self._rows

    def put(self, row: OscoreRow) -> bool:
        """Add or replace one row; False when it was there as it is. Raises `InvalidRow`,
        `StoreFull`."""
        before = self._rows.get(row.endpoint)
        if before == row:
            return False
        check_row(row)
        if self._by_key.get(row.key, row.endpoint) != row.endpoint:
            raise InvalidRow(f"recipient_id of {row.endpoint}: another device's context has it")
        if before is None and len(self._rows) >= self._rows_max:
            raise StoreFull(f"there are {self._rows_max} OSCORE contexts")
        digest = _digest(row)
        if digest not in self._next and len(self._next) >= _REMEMBERED_FACTOR * self._rows_max:
            raise StoreFull("too much material is remembered: start anew with another state_dir")
        self._take(row)
        self._next.setdefault(digest, 0)
        self._unwritten.append(_encoder.encode(row))
        self._unwritten.append(_encoder.encode(_Reserved(digest, self._next[digest])))
        return True

    def remove(self, endpoint: str) -> bool:
        """Forget a device's context; False when there was none."""
        row = self._rows.pop(endpoint, None)
        if row is None:
            return False
        del self._by_key[row.key]
        self._unwritten.append(_encoder.encode(_Removed(endpoint)))
        return True

    def next_sequence(self, row: OscoreRow) -> int:
        """The first sequence number that was never used with this material."""
        return self._next.get(_digest(row), 0)

    def reserve(self, key: ContextKey, next_sequence: int) -> None:
        """Note that numbers below are used, or will be. Call `flush` before they leave."""
        row = self._rows.get(self._by_key.get(key, ""))
        if row is None:
            return  # an answer of a context that is just gone; its number was reserved before
        digest = _digest(row)
        self._next[digest] = max(next_sequence, self._next.get(digest, 0))
        self._unwritten.append(_encoder.encode(_Reserved(digest, self._next[digest])))

    def flush(self) -> None:
        """Write what changed, in one append. Raises `OSError`: then nothing may leave."""
        if not self._unwritten:
            return
        self._file.append(self._unwritten)
        self._unwritten.clear()
        kept = len(self._rows) + len(self._next)
        if self._file.lines > _COMPACT_LINES_MIN + _COMPACT_FACTOR * kept:
            self._file.replace(self._kept())

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._file.close()

    def _take(self, row: OscoreRow) -> None:
        before = self._rows.get(row.endpoint)
        if before is not None:
            del self._by_key[before.key]
        self._rows[row.endpoint] = row
        self._by_key[row.key] = row.endpoint

    def _load(self, path: Path) -> None:
        for line in read_lines(path):
            try:
                self._fold(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the last line, cut short by a kill before anything left

    def _fold(self, line: bytes) -> None:
        if line.startswith(b'{"reserved"'):
            found = _reserved_decoder.decode(line)
            self._next[found.reserved] = max(found.next, self._next.get(found.reserved, 0))
        elif line.startswith(b'{"removed"'):
            row = self._rows.pop(_removed_decoder.decode(line).removed, None)
            if row is not None:
                del self._by_key[row.key]
        else:
            self._take(_row_decoder.decode(line))  # it was checked when it came

    def _kept(self) -> Iterator[bytes]:
        yield from map(_encoder.encode, self._rows.values())
        for digest, number in self._next.items():
            yield _encoder.encode(_Reserved(digest, number))


def check_row(row: OscoreRow) -> None:
    """Return when a row can be taken. Raises `InvalidRow`."""
    from lwm2m.transport.oscore import InvalidMaterial

    if not is_endpoint_name(row.endpoint):
        raise InvalidRow(f"endpoint: {row.endpoint[:40]!r} is not an endpoint name")
    if len(row.master_secret) > MASTER_SECRET_BYTES_MAX:
        raise InvalidRow(f"master_secret of {row.endpoint}: 1 to {MASTER_SECRET_BYTES_MAX} bytes")
    try:
        row.material()
    except InvalidMaterial as error:
        raise InvalidRow(f"{row.endpoint}: {error}") from None


def decode_row(line: bytes) -> OscoreRow:
    """One NDJSON line. Raises `InvalidRow`."""
    try:
        return _row_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The text could be a part of a key.
        raise InvalidRow(
            "not a JSON object with endpoint, master_secret, sender_id, recipient_id (base64)"
        ) from None


def _digest(row: OscoreRow) -> str:
    """Of all that the keys and nonces follow from."""
    parts = (
        row.master_secret, row.master_salt, row.sender_id, row.recipient_id,
        b"" if row.id_context is None else b"\x01" + row.id_context,
        b"%d %d" % (row.aead_algorithm, row.hkdf_algorithm),
    )  # fmt: skip
    framed = b"".join([len(part).to_bytes(4, "big") + part for part in parts])
    return hashlib.sha256(framed).hexdigest()[:32]
