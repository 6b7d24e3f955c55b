"""HdrHistogram's V2 compressed encoding, as text: what its tools in every language read and write.

Layout: https://github.com/HdrHistogram/HdrHistogram, `AbstractHistogram.encodeIntoByteBuffer`. All
numbers are big-endian; counts are zig-zag LEB128, a negative one says how many buckets are empty.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from harness.errors import HarnessError
from harness.latency.histogram import COUNTS, HIGHEST_US, SIGNIFICANT_DIGITS, Histogram

# Version 2, with words of variable length.
_COOKIE: Final = 0x1C849313
_COMPRESSED_COOKIE: Final = 0x1C849314
# Cookie, bytes of the payload, normalizing offset, digits, lowest, highest, ratio to doubles.
_HEADER: Final = struct.Struct(">iiiiqqd")
_OUTER: Final = struct.Struct(">ii")
_LOWEST: Final = 1
# A LEB128 number of 64 bits has at most nine bytes here: the ninth carries eight bits.
_BYTES_MAX: Final = 9
# No histogram of ours is as large, however full.
_PAYLOAD_MAX: Final = _HEADER.size + COUNTS * _BYTES_MAX


class MalformedHistogram(HarnessError):
    """A text is no histogram, or not one with our bounds."""


def encode(histogram: Histogram) -> str:
    """The histogram as text that HdrHistogram reads; its unit is the microsecond."""
    payload = b"".join(_counts_bytes(histogram.counts()))
    header = _HEADER.pack(_COOKIE, len(payload), 0, SIGNIFICANT_DIGITS, _LOWEST, HIGHEST_US, 1.0)
    packed = zlib.compress(header + payload)
    return base64.b64encode(_OUTER.pack(_COMPRESSED_COOKIE, len(packed)) + packed).decode()


def decode(text: str) -> Histogram:
    """The histogram of a text with our bounds. Raises `MalformedHistogram`."""
    try:
        data = base64.b64decode(text, validate=True)
        cookie, length = _OUTER.unpack_from(data)
        if cookie != _COMPRESSED_COOKIE or length != len(data) - _OUTER.size:
            raise MalformedHistogram("not a compressed histogram of version 2, or cut short")
        inflater = zlib.decompressobj()
        plain = inflater.decompress(data[_OUTER.size :], _PAYLOAD_MAX)
        return _of_payload(plain)
    except (binascii.Error, ValueError, zlib.error, struct.error) as error:
        raise MalformedHistogram(f"not a histogram: {error}") from None


def _of_payload(plain: bytes) -> Histogram:
    cookie, length, offset, digits, lowest, highest, _ = _HEADER.unpack_from(plain)
    if cookie != _COOKIE or offset != 0 or length != len(plain) - _HEADER.size:
        raise MalformedHistogram("its header is none that we know, or its counts are cut short")
    if (digits, lowest, highest) != (SIGNIFICANT_DIGITS, _LOWEST, HIGHEST_US):
        raise MalformedHistogram(
            f"{digits} digits from {lowest} to {highest}: ours have {SIGNIFICANT_DIGITS} from "
            f"{_LOWEST} to {HIGHEST_US} µs"
        )
    try:
        return Histogram.of_counts(_counts(plain[_HEADER.size :]))
    except IndexError:
        raise MalformedHistogram(f"more than {COUNTS} buckets") from None


def _counts_bytes(counts: list[int]) -> Iterator[bytes]:
    empty = 0
    for count in counts:
        if not count:
            empty += 1
            continue
        if empty:
            # One empty bucket is a count of 0; -n stands for n of them.
            yield _leb128(0 if empty == 1 else -empty)
            empty = 0
        yield _leb128(count)


def _leb128(value: int) -> bytes:
    left = (value << 1) ^ (value >> 63)
    found = bytearray()
    while left > 0x7F and len(found) < _BYTES_MAX - 1:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)


def _counts(payload: bytes) -> Iterator[tuple[int, int]]:
    """(bucket, count) of each bucket that holds something."""
    index = at = 0
    while at < len(payload):
        left = shift = 0
        for position in range(_BYTES_MAX):
            if at == len(payload):
                raise MalformedHistogram("its counts are cut short")
            byte = payload[at]
            at += 1
            if position == _BYTES_MAX - 1:
                left |= byte << shift
                break
            left |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        value = (left >> 1) ^ -(left & 1)
        if value < 0:
            index -= value
        else:
            if value:
                yield index, value
            index += 1
