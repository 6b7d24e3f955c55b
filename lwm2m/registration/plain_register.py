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
_HEAD_BYTES = len(_HEAD)
_QUERY_HEAD = 0x30
_LONG = 13
_LONG_QUERY_HEAD = _QUERY_HEAD + _LONG
_EP = b"ep="
_EP_BYTES = len(_EP)


def split_register(data: bytes) -> tuple[bytes, bytes] | None:
    """The endpoint name, whatever its bytes, and what follows it in a confirmable Register.

    None for any datagram that does not begin as this one: with path, content format and the name,
    in the shortest form. What follows the name is as it came.
    """
    try:
        at = data[0] + OPTIONS_AT
        if data[1] != codes.POST or not 4 <= at <= OPTIONS_AT_MAX or not data.startswith(_HEAD, at):
            return None
        at += _HEAD_BYTES
        header = data[at]
        at += 1
        if header == _LONG_QUERY_HEAD:
            end = at + _LONG + 1 + data[at]
            at += 1
        elif _QUERY_HEAD <= header < _LONG_QUERY_HEAD:
            end = at + header - _QUERY_HEAD
        else:
            return None
    except IndexError:
        return None
    if end > len(data) or not data.startswith(_EP, at, end):
        return None
    return data[at + _EP_BYTES : end], data[end:]
