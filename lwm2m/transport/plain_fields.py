"""Requests and responses as options and payload alone: what OSCORE encrypts and TCP frames.

RFC 8613 §5.3 and RFC 8323 §3.2 both leave the header of RFC 7252 away; options and payload are the
same bytes as there, and the same code reads and writes them.
"""

from __future__ import annotations

from lwm2m.coap.codes import EMPTY
from lwm2m.coap.message import NON, MalformedMessage, Message, decode_message
from lwm2m.coap.requests import Request, Response, encode_request, encode_response

_HEADER_BYTES = 4
# A NON may carry any request or response code; its message id is of no meaning here.
_NON_HEADER = b"\x50%c\0\0"


def encode_request_fields(request: Request) -> bytes:
    """Options and payload of a request. Raises `ValueError` for what cannot be encoded."""
    return encode_request(NON, 0, b"", request)[_HEADER_BYTES:]


def encode_response_fields(response: Response) -> bytes:
    """Options and payload of a response. Raises `ValueError` for what cannot be encoded."""
    return encode_response(NON, 0, b"", response)[_HEADER_BYTES:]


def decode_fields(code: int, data: bytes) -> Message:
    """The message of `code` with these options and payload; its type and id mean nothing.

    Raises `MalformedMessage`, and nothing else, for any bytes and any code of 8 bits.
    """
    if code == EMPTY:
        raise MalformedMessage("empty", "an Empty message where a request or response has to be")
    return decode_message(_NON_HEADER % code + data)
