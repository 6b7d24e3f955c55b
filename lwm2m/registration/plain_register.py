"""Finds the endpoint name in a Register as nearly all devices send it, without reading the rest.

What follows the name is the same for all devices of a model: the rest of the query, and the object
list. Whoever has read it once knows the next Register by its bytes.
"""

from __future__ import annotations

from lwm2m.coap import codes
from lwm2m.coap.plain import CON_HEAD, TOKEN_BYTES_MAX

# Where the options of a confirmable message begin, less its first byte.
OPTIONS_AT = 4 - CON_HEAD
OPTIONS_AT_MAX = 4 + TOKEN_BYTES_MAX
# Options up to the query: Uri-Path and Content-Format of 40; and how Uri-Query begins behind them,
# less its length. 13 announces a byte with the length beyond 13.
_HEAD = b"\xb2rd\x11\x28"
_QUERY_HEAD = 0x30
_LONG = 13
_EP = b"ep="


def split_register(data: bytes) -> tuple[bytes, bytes] | None:
    """The endpoint name, whatever its bytes, and what follows it in a confirmable Register.

    None for any datagram that does not begin as this one: with path, content format and the name,
    in the shortest form. What follows the name is as it came.
    """
    size = len(data)
    if size < OPTIONS_AT_MAX + len(_HEAD) or data[1] != codes.POST:
        return None
    at = data[0] + OPTIONS_AT
    if not 4 <= at <= OPTIONS_AT_MAX or not data.startswith(_HEAD, at):
        return None
    at += len(_HEAD) + 1
    if at >= size:
        return None
    length = data[at - 1] - _QUERY_HEAD
    if length == _LONG:
        length += data[at]
        at += 1
    elif not 0 <= length < _LONG:
        return None
    end = at + length
    if end > size or not data.startswith(_EP, at):
        return None
    return data[at + len(_EP) : end], data[end:]
