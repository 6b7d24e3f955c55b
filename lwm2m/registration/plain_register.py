"""Finds the endpoint name in a Register as nearly all devices send it, without reading the rest.

What follows the name is the same for all devices of a model: the rest of the query, and the object
list. Whoever has read it once knows the next Register by its bytes.
"""

from __future__ import annotations

import re
from typing import Final

from lwm2m.coap import codes
from lwm2m.coap.plain import CON_HEAD, TOKEN_BYTES_MAX
from lwm2m.registration.requests import ENDPOINT_NAME_PATTERN

# The header and token of a confirmable POST: its first byte has the length of the token.
HEAD_OF_POST: Final = b"(?:%b)" % b"|".join(
    re.escape(bytes((CON_HEAD + token_bytes, codes.POST))) + b".{%d}" % (2 + token_bytes)
    for token_bytes in range(TOKEN_BYTES_MAX + 1)
)
# The options up to the end of the name: Uri-Path, Content-Format of 40, and Uri-Query with ep= and
# a name; and what follows. What the head of that option says of its length is held against it
# afterwards.
_match_register = re.compile(
    HEAD_OF_POST
    + rb"\xb2rd\x11\x28([\x34-\x3c]|\x3d.)ep=("
    + ENDPOINT_NAME_PATTERN.encode()
    + rb")(.*)",
    re.DOTALL,
).match
# How long the name is by the head of its option: the length in its nibble, or, where that is 13,
# in one more byte, which has what is beyond 13.
_EP_BYTES: Final = len(b"ep=")
_NAME_BYTES: Final = {bytes((0x30 | length,)): length - _EP_BYTES for length in range(4, 13)} | {
    bytes((0x3D, beyond)): 13 + beyond - _EP_BYTES for beyond in range(256)
}


def split_register(data: bytes) -> tuple[bytes, bytes] | None:
    """The endpoint name, and what follows it, in a confirmable Register.

    None for any datagram that does not begin as this one: with path, content format and the name,
    in the shortest form. What follows the name is as it came.
    """
    found = _match_register(data)
    if found is None:
        return None
    head, name, tail = found.groups()
    if len(name) != _NAME_BYTES[head]:
        # It holds what is in no name, is cut off, or what follows looks like more of it.
        return None
    return name, tail
