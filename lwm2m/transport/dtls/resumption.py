"""What a resumed handshake does not say again, read from OpenSSL's form of a session."""

from __future__ import annotations

_SEQUENCE, _OCTET_STRING = 0x30, 0x04
_CONTEXT_8, _CONTEXT_10 = 0xA8, 0xAA
_LONG_LENGTH = 0x80


def psk_identity_of(session: bytes) -> bytes | None:
    """The PSK identity in a DER session; None when it has none, or is no session."""
    return _field(session, _CONTEXT_8)


def ticket_bytes(session: bytes) -> int:
    """The length of the ticket in a DER session; 0: none, it cannot be resumed."""
    return len(_field(session, _CONTEXT_10) or b"")


def _field(session: bytes, tag: int) -> bytes | None:
    """The octet string under an explicit context tag of the outermost sequence."""
    if session[:1] != bytes([_SEQUENCE]):
        return None
    _, position, end = _content(session, 0)
    # A length is what the bytes say: beyond the last of them there is nothing to walk.
    end = min(end, len(session))
    while position < end:
        found, start, stop = _content(session, position)
        if found == tag:
            inner, start, stop = _content(session, start)
            return session[start:stop] if inner == _OCTET_STRING else None
        position = stop
    return None


def _content(data: bytes, position: int) -> tuple[int, int, int]:
    """Tag, start and end of the content of the DER element at `position`; what is beyond the end
    of the data is told as being there and empty.
    """
    header = data[position : position + 2]
    if len(header) < 2:
        return 0, len(data), len(data)
    tag, length = header
    start = position + 2
    if length >= _LONG_LENGTH:
        start += length - _LONG_LENGTH
        length = int.from_bytes(data[position + 2 : start], "big")
    return tag, start, start + length
