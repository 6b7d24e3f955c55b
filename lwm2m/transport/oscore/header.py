"""The OSCORE option's value: the compressed header of a COSE object (RFC 8613 §6.1)."""

from __future__ import annotations

from typing import NamedTuple

from lwm2m.transport.oscore.faults import MalformedOscore

_PARTIAL_IV_LENGTH = 0x07
_KID = 0x08
_KID_CONTEXT = 0x10
_RESERVED = 0xE0
_PARTIAL_IV_BYTES_MAX = 5


class OscoreHeader(NamedTuple):
    """What an option says; None where it says nothing, which is not the same as an empty id."""

    partial_iv: bytes | None = None
    kid_context: bytes | None = None
    kid: bytes | None = None

    @property
    def sequence(self) -> int | None:
        """The Sender Sequence Number that the partial IV is."""
        return None if self.partial_iv is None else int.from_bytes(self.partial_iv, "big")


def decode_header(value: bytes) -> OscoreHeader:
    """Decode an option value. Raises `MalformedOscore`, and nothing else, for any bytes."""
    if not value:
        return OscoreHeader()
    flags = value[0]
    # §6.1: all flags zero has no bytes at all; the three upper bits are for later versions.
    if flags == 0 or flags & _RESERVED:
        raise MalformedOscore(f"flag bits {flags:#04x}")
    length = flags & _PARTIAL_IV_LENGTH
    if length > _PARTIAL_IV_BYTES_MAX:
        raise MalformedOscore(f"a partial IV of {length} bytes is reserved")
    partial_iv, at = _take(value, 1, length, "partial IV")
    kid_context = kid = None
    if flags & _KID_CONTEXT:
        size, at = _take(value, at, 1, "length of the kid context")
        kid_context, at = _take(value, at, size[0], "kid context")
    if flags & _KID:
        kid, at = value[at:], len(value)
    if at != len(value):
        raise MalformedOscore(f"{len(value) - at} bytes after the end")
    if length > 1 and partial_iv[0] == 0:
        # §5: leading zeros are removed; two spellings of one number would be two AADs.
        raise MalformedOscore("a partial IV with leading zeros")
    return OscoreHeader(partial_iv if length else None, kid_context, kid)


def _take(value: bytes, at: int, size: int, what: str) -> tuple[bytes, int]:
    end = at + size
    if end > len(value):
        raise MalformedOscore(f"the {what} is cut off")
    return value[at:end], end
