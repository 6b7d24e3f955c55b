"""DTLS records and handshake headers as bytes (RFC 6347 §4.1, §4.2.2): no keys, no state."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO, HELLO_VERIFY_REQUEST, FINISHED = 1, 3, 20
WARNING, FATAL = 1, 2
DTLS_1_0, DTLS_1_2 = 0xFEFF, 0xFEFD

RECORD_HEADER_BYTES = 13
EPOCH_0, EPOCH_1 = b"\0\0", b"\0\1"
SEQUENCE_MAX = (1 << 48) - 1
HANDSHAKE_HEADER_BYTES = 12
PLAINTEXT_BYTES_MAX = 16_384
# RFC 6347 §4.1.2 by way of RFC 5246 §6.2.3: what protection may add at most.
FRAGMENT_BYTES_MAX = PLAINTEXT_BYTES_MAX + 2048
# With its header, and whatever protection adds.
FINISHED_RECORD_BYTES_MAX = 256
# IPv6's least MTU of 1,280 bytes without the headers of IPv6 (40) and UDP (8).
DATAGRAM_BYTES_MAX = 1_232

_HEADER = struct.Struct(">BHHHIH")
_NUMBER_START, _NUMBER_END = 5, 11
_DATA_PREFIX = b"\x17\xfe\xfd\x00\x01"  # application data, DTLS 1.2, epoch 1
_VERSION_MAJOR = 0xFE
# content type, first byte of the version, length of the fragment
_OUTLINE = struct.Struct(">BB9xH")


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record; `fragment` is its content, protected or not."""

    content_type: int
    version: int
    epoch: int
    sequence: int
    fragment: bytes


def split_records(datagram: bytes) -> list[bytes]:
    """The whole records in a datagram, each with its header; ends at the first that is not one.

    What is no DTLS record is dropped without a word (RFC 6347 §4.1.2.7).
    """
    start, size = 0, len(datagram)
    found: list[bytes] = []
    while size - start >= RECORD_HEADER_BYTES:
        content_type, major, length = _OUTLINE.unpack_from(datagram, start)
        end = start + RECORD_HEADER_BYTES + length
        if (
            end > size
            or length > FRAGMENT_BYTES_MAX
            or not CHANGE_CIPHER_SPEC <= content_type <= APPLICATION_DATA
            or major != _VERSION_MAJOR
        ):
            break
        found.append(datagram[start:end])
        start = end
    return found


def parse_record(record: bytes) -> Record:
    """The fields of one whole record, as `split_records` gives it."""
    content_type, version, epoch, high, low, _ = _HEADER.unpack_from(record)
    return Record(content_type, version, epoch, high << 32 | low, record[RECORD_HEADER_BYTES:])


def encode_record(
    content_type: int, version: int, epoch: int, sequence: int, fragment: bytes
) -> bytes:
    """A record with its header; `sequence` has 48 bits."""
    return (
        _HEADER.pack(
            content_type, version, epoch, sequence >> 32, sequence & 0xFFFFFFFF, len(fragment)
        )
        + fragment
    )


def renumber_record(record: bytes, sequence: int) -> bytes:
    """The same record under another number; `sequence` has 48 bits."""
    return record[:_NUMBER_START] + sequence.to_bytes(6, "big") + record[_NUMBER_END:]


def encode_alert(level: int, description: int) -> bytes:
    """The content of an alert record (RFC 5246 §7.2)."""
    return bytes((level, description))


def pack_datagrams(records: Sequence[bytes], bytes_max: int = DATAGRAM_BYTES_MAX) -> list[bytes]:
    """Join records, in order, into as few datagrams as fit `bytes_max`."""
    whole = b"".join(records)
    if len(whole) <= bytes_max:
        return [whole] if whole else []
    packed: list[bytes] = []
    current = b""
    for record in records:
        if current and len(current) + len(record) > bytes_max:
            packed.append(current)
            current = b""
        current += record
    if current:
        packed.append(current)
    return packed


def is_one_data_record(datagram: bytes) -> bool:
    """Whether a datagram is exactly one record of application data of epoch 1: nearly all are."""
    return (
        datagram.startswith(_DATA_PREFIX)
        and len(datagram) >= RECORD_HEADER_BYTES
        and RECORD_HEADER_BYTES + (datagram[11] << 8 | datagram[12]) == len(datagram)
    )


class HandshakeHeader(msgspec.Struct, frozen=True, gc=False):
    """The header of a handshake message's fragment (RFC 6347 §4.2.2)."""

    message_type: int
    length: int
    message_sequence: int
    fragment_offset: int
    fragment_length: int


def parse_handshake_header(fragment: bytes) -> HandshakeHeader | None:
    """The header that a handshake record's content begins with; None when it is too short."""
    if len(fragment) < HANDSHAKE_HEADER_BYTES:
        return None
    return HandshakeHeader(
        fragment[0],
        int.from_bytes(fragment[1:4], "big"),
        int.from_bytes(fragment[4:6], "big"),
        int.from_bytes(fragment[6:9], "big"),
        int.from_bytes(fragment[9:12], "big"),
    )


def encode_handshake_message(message_type: int, message_sequence: int, body: bytes) -> bytes:
    """A handshake message in one fragment."""
    length = len(body).to_bytes(3, "big")
    return b"%c%b%b%b%b%b" % (
        message_type,
        length,
        message_sequence.to_bytes(2, "big"),
        bytes(3),
        length,
        body,
    )
