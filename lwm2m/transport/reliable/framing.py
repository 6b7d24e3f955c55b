"""The message format of CoAP over TCP (RFC 8323 §3.2): lengths, code, token, fields."""

from __future__ import annotations

from typing import Final, NamedTuple

from lwm2m.errors import LwM2mError

TOKEN_BYTES_MAX: Final = 8
# The length nibbles that mean 1, 2 and 4 more bytes, and what those bytes are added to.
_BASES: Final = {13: 13, 14: 269, 15: 65_805}
_EXTRA_BYTES: Final = {13: 1, 14: 2, 15: 4}


class MalformedFrame(LwM2mError, ValueError):
    """Bytes that are no message of RFC 8323, or one that is larger than was allowed."""


class Frame(NamedTuple):
    """One message; `fields` are its options and payload, still encoded."""

    code: int
    token: bytes
    fields: bytes


def encode_frame(code: int, token: bytes, fields: bytes) -> bytes:
    """The bytes of one message. Raises `ValueError` for a token that is too long."""
    if len(token) > TOKEN_BYTES_MAX:
        raise ValueError(f"a token has at most {TOKEN_BYTES_MAX} bytes, not {len(token)}")
    nibble, extra = _encode_length(len(fields))
    return b"".join((bytes([nibble << 4 | len(token)]), extra, bytes([code]), token, fields))


def _encode_length(length: int) -> tuple[int, bytes]:
    if length < 13:
        return length, b""
    for nibble in (13, 14):
        size = _EXTRA_BYTES[nibble]
        if length - _BASES[nibble] < 1 << (8 * size):
            return nibble, (length - _BASES[nibble]).to_bytes(size, "big")
    return 15, (length - _BASES[15]).to_bytes(4, "big")


class FrameReader:
    """Puts messages together from a stream of bytes."""

    __slots__ = ("_buffer", "_message_bytes_max")

    def __init__(self, message_bytes_max: int) -> None:
        """A message that says it is longer than `message_bytes_max` is malformed."""
        self._buffer = bytearray()
        self._message_bytes_max = message_bytes_max

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole message; None while bytes of it are missing.

        Raises `MalformedFrame`; nothing after that can be trusted.
        """
        buffer = self._buffer
        if not buffer:
            return None
        token_bytes = buffer[0] & 15
        if token_bytes > TOKEN_BYTES_MAX:
            raise MalformedFrame(f"token length {token_bytes} is reserved")
        found = self._fields_bytes()
        if found is None:
            return None
        fields_bytes, code_at = found
        token_at = code_at + 1
        fields_at = token_at + token_bytes
        end = fields_at + fields_bytes
        if end > self._message_bytes_max:
            # Said before its bytes are waited for: nobody may fill our memory.
            raise MalformedFrame(f"{end} bytes, at most {self._message_bytes_max} were allowed")
        if end > len(buffer):
            return None
        frame = Frame(
            buffer[code_at], bytes(buffer[token_at:fields_at]), bytes(buffer[fields_at:end])
        )
        del buffer[:end]
        return frame

    @property
    def buffered_bytes(self) -> int:
        """How many bytes wait for the rest of their message, or to be asked for."""
        return len(self._buffer)

    def _fields_bytes(self) -> tuple[int, int] | None:
        """How long options and payload are, and where the code is."""
        nibble = self._buffer[0] >> 4
        if nibble < 13:
            return nibble, 1
        code_at = 1 + _EXTRA_BYTES[nibble]
        if len(self._buffer) < code_at:
            return None
        return int.from_bytes(self._buffer[1:code_at], "big") + _BASES[nibble], code_at
