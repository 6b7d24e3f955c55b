"""CoAP options: their numbers, which of them are critical, how long and how often they may be.

RFC 7252 §5.10 and table 4; Observe RFC 7641, Block RFC 7959, Echo and Request-Tag RFC 9175.
"""

from __future__ import annotations

from typing import NamedTuple

IF_MATCH = 1
URI_HOST = 3
ETAG = 4
IF_NONE_MATCH = 5
OBSERVE = 6
URI_PORT = 7
LOCATION_PATH = 8
URI_PATH = 11
CONTENT_FORMAT = 12
MAX_AGE = 14
URI_QUERY = 15
ACCEPT = 17
LOCATION_QUERY = 20
BLOCK2 = 23
BLOCK1 = 27
SIZE2 = 28
PROXY_URI = 35
PROXY_SCHEME = 39
SIZE1 = 60
ECHO = 252
REQUEST_TAG = 292

Options = tuple[tuple[int, bytes], ...]


class OptionForm(NamedTuple):
    """How long an option's value may be, in bytes, and whether it may come more than once."""

    length_min: int
    length_max: int
    repeatable: bool


FORMS: dict[int, OptionForm] = {
    IF_MATCH: OptionForm(0, 8, True),
    URI_HOST: OptionForm(1, 255, False),
    ETAG: OptionForm(1, 8, True),
    IF_NONE_MATCH: OptionForm(0, 0, False),
    OBSERVE: OptionForm(0, 3, False),
    URI_PORT: OptionForm(0, 2, False),
    LOCATION_PATH: OptionForm(0, 255, True),
    URI_PATH: OptionForm(0, 255, True),
    CONTENT_FORMAT: OptionForm(0, 2, False),
    MAX_AGE: OptionForm(0, 4, False),
    URI_QUERY: OptionForm(0, 255, True),
    ACCEPT: OptionForm(0, 2, False),
    LOCATION_QUERY: OptionForm(0, 255, True),
    BLOCK2: OptionForm(0, 3, False),
    BLOCK1: OptionForm(0, 3, False),
    SIZE2: OptionForm(0, 4, False),
    PROXY_URI: OptionForm(1, 1034, False),
    PROXY_SCHEME: OptionForm(1, 255, False),
    SIZE1: OptionForm(0, 4, False),
    ECHO: OptionForm(1, 40, False),
    REQUEST_TAG: OptionForm(0, 8, True),
}


def is_critical(number: int) -> bool:
    """Whether a receiver that does not know the option must reject (RFC 7252 §5.4.6: odd)."""
    return number & 1 == 1


# The shortest form of each number below 256.
ONE_BYTE = (b"", *(bytes([value]) for value in range(1, 256)))


def encode_uint(value: int) -> bytes:
    """The shortest big-endian form; zero is no bytes (RFC 7252 §3.2)."""
    if 0 <= value < 256:
        return ONE_BYTE[value]
    return value.to_bytes((value.bit_length() + 7) >> 3, "big")


def decode_uint(data: bytes) -> int:
    """The number in any big-endian form: leading zeros are accepted (RFC 7252 §3.2)."""
    return int.from_bytes(data, "big")
