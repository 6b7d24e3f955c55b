"""Reads the short way what nearly all datagrams are: plain requests, and plain responses to ours.

Plain is a message whose options are among path, query, content format and location, each as long
and as often there as it may be. It is read straight from its bytes into a `Request` or a
`Response`. Whatever else comes is None here and goes the general way, by `message` and `requests`,
which alone decide what is wrong with it; a test holds both ways against each other for any bytes.
"""

from __future__ import annotations

from functools import lru_cache

from lwm2m.coap.codes import CONTINUE, CREATED, IPATCH
from lwm2m.coap.message import PAYLOAD_MARKER, SHORT_LENGTHS
from lwm2m.coap.options import CONTENT_FORMAT, LOCATION_PATH, URI_PATH, URI_QUERY
from lwm2m.coap.requests import Request, Response

# The first byte of a message of version 1 is this and the length of its token.
CON_HEAD = 0x40
ACK_HEAD = 0x60
TOKEN_BYTES_MAX = 8
_CON_HEAD_MAX = CON_HEAD + TOKEN_BYTES_MAX
# From here on an option's delta does not fit its nibble, or it is the payload marker.
_LONG_DELTA = 0xD0
# The length of 13 and more bytes stands in one more byte, or in two, which is not plain.
_LONG = 13
# The value of that byte for the 255 bytes that any option here has at most.
_LONG_MAX = 255 - _LONG
# Location-Path of what nearly all Registers are answered with, before the registration id.
_OF_REGISTER = b"\x82rd"
_OF_REGISTER_BYTES = len(_OF_REGISTER) + 1
_TAILS_KEPT = 1_024
_TAIL_BYTES_MAX = 1_024


class _NotPlain(Exception):
    """The general way has to be gone."""


def read_plain_request(data: bytes) -> tuple[int, bytes, Request] | None:
    """Message id, token and request of a plain confirmable request. `data` has four bytes."""
    first, code = data[0], data[1]
    if not CON_HEAD <= first <= _CON_HEAD_MAX or not 0 < code <= IPATCH:
        return None
    at = options_at = first - (CON_HEAD - 4)
    size = len(data)
    number = 0
    content_format: int | None = None
    path: list[str] = []
    query: tuple[str, ...] = ()
    payload = b""
    try:
        while at < size:
            head = data[at]
            at += 1
            length = SHORT_LENGTHS[head]
            if length < 0:
                if head == PAYLOAD_MARKER and at < size:
                    payload = data[at:]
                    break
                if head >= _LONG_DELTA or head & 15 != _LONG or data[at] > _LONG_MAX:
                    return None
                length = _LONG + data[at]
                at += 1
            number += head >> 4
            end = at + length
            if number == URI_PATH:
                path.append(data[at:end].decode())
            elif number == CONTENT_FORMAT and content_format is None and length < 3:
                content_format = int.from_bytes(data[at:end], "big")
            elif number == URI_QUERY and end <= size:
                read_tail = _known_tail if size - end <= _TAIL_BYTES_MAX else _parse_tail
                later, payload = read_tail(data[end:])
                query = (data[at:end].decode(),) + later  # noqa: RUF005  # a third of the time
                break
            else:
                return None
            at = end
    except (IndexError, UnicodeDecodeError, _NotPlain):
        return None
    # Cut off, in the token or in the last option.
    if at > size or "." in path or ".." in path:
        return None
    request = Request(code, tuple(path), query, content_format, None, None, payload)
    return data[2] << 8 | data[3], data[4:options_at], request


def _parse_tail(tail: bytes) -> tuple[tuple[str, ...], bytes]:
    """What follows the first part of a query: its other parts, and the payload."""
    query: list[str] = []
    at, size = 0, len(tail)
    while at < size:
        head = tail[at]
        at += 1
        if head == PAYLOAD_MARKER and at < size:
            return tuple(query), tail[at:]
        length = head
        if head == _LONG:
            length += tail[at]
            at += 1
        # Above is any delta, and a length in two more bytes.
        if head > _LONG or length > _LONG + _LONG_MAX or at + length > size:
            raise _NotPlain
        query.append(tail[at : at + length].decode())
        at += length
    return tuple(query), b""


# In a Register, what follows the endpoint name is the same for all devices of a model.
_known_tail = lru_cache(_TAILS_KEPT)(_parse_tail)


def read_plain_response(data: bytes, at: int) -> Response | None:
    """The plain response of a message whose options begin at `at`, which is not behind its end."""
    code = data[1]
    size = len(data)
    if code == CREATED and data.startswith(_OF_REGISTER, at):
        id_at = at + _OF_REGISTER_BYTES
        # The option with the id is the last, its length in its first byte.
        if 0 <= size - id_at < _LONG and data[id_at - 1] == size - id_at:
            return Response(code, b"", None, ("rd", data[id_at:].decode("utf-8", "replace")))
    if not 0x40 <= code < 0xC0 or code == CONTINUE:
        return None
    if at == size:
        return Response(code)
    number = 0
    content_format: int | None = None
    location: list[str] = []
    payload = b""
    while at < size:
        head = data[at]
        at += 1
        length = SHORT_LENGTHS[head]
        if length < 0:
            if head == PAYLOAD_MARKER and at < size:
                payload = data[at:]
                break
            if head >= _LONG_DELTA or head & 15 != _LONG or at == size or data[at] > _LONG_MAX:
                return None
            length = _LONG + data[at]
            at += 1
        number += head >> 4
        end = at + length
        if number == LOCATION_PATH:
            location.append(data[at:end].decode(errors="replace"))
        elif number == CONTENT_FORMAT and content_format is None and length < 3:
            content_format = int.from_bytes(data[at:end], "big")
        else:
            return None
        at = end
    if at > size:
        return None
    return Response(code, payload, content_format, tuple(location))
