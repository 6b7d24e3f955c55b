"""What of a message is inner and what outer, and the plaintext of the inner (RFC 8613 §4, §5)."""

from __future__ import annotations

from typing import Final

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.message import MalformedMessage, Message
from lwm2m.coap.options import Options
from lwm2m.coap.requests import Request, Response, find_option, without_options
from lwm2m.transport.oscore.contexts import OSCORE
from lwm2m.transport.oscore.faults import MalformedOscore
from lwm2m.transport.plain_fields import (
    decode_fields,
    encode_request_fields,
    encode_response_fields,
)

# Class U and nothing else (§4.1, figure 5): where the message goes is for everybody to read.
_OUTER: Final = frozenset({opt.URI_HOST, opt.URI_PORT})
_NOT_PROTECTED: Final = frozenset({OSCORE, opt.PROXY_URI, opt.PROXY_SCHEME})


def protected_part(request: Request) -> bytes:
    """The plaintext of a request. Raises `ValueError` for what cannot be protected."""
    if any(number in _NOT_PROTECTED for number, _ in request.options):
        raise ValueError("neither an OSCORE nor a proxy option can be protected")
    inner = msgspec.structs.replace(request, options=without_options(request.options, _OUTER))
    return bytes([request.code]) + encode_request_fields(inner)


def outer_request(request: Request, option: bytes, ciphertext: bytes) -> Request:
    """The message that carries a protected request (§4.2, §4.1.3.5)."""
    outer = tuple(found for found in request.options if found[0] in _OUTER)
    return Request(
        outer_request_code(request),
        observe=request.observe,
        payload=ciphertext,
        confirmable=request.confirmable,
        options=(*outer, (OSCORE, option)),
    )


def outer_request_code(request: Request) -> int:
    """§4.1.3.5: POST has no Observe, so FETCH carries it."""
    return codes.POST if request.observe is None else codes.FETCH


def protected_part_of_response(response: Response) -> bytes:
    """The plaintext of a response: §4.1.3.5.2, an inner Observe is empty."""
    observe = None if response.observe is None else 0
    inner = msgspec.structs.replace(response, observe=observe)
    return bytes([response.code]) + encode_response_fields(inner)


def outer_response(
    response: Response, option: bytes, ciphertext: bytes, request_code: int
) -> Response:
    """The message that carries a protected response, to a request of this outer code."""
    code = codes.CONTENT if request_code == codes.FETCH else codes.CHANGED
    return Response(code, ciphertext, observe=response.observe, options=((OSCORE, option),))


def outer_options(request: Request) -> Options:
    """The options of a received message that count although they are not protected."""
    return tuple(found for found in request.options if found[0] in _OUTER)


def oscore_option(options: Options) -> bytes | None:
    """The value of the OSCORE option; None when there is none."""
    return find_option(options, OSCORE)


def read_plaintext(plaintext: bytes) -> Message:
    """The message in a plaintext. Raises `MalformedOscore`."""
    if not plaintext:
        raise MalformedOscore("inside: no code")
    try:
        return decode_fields(plaintext[0], plaintext[1:])
    except MalformedMessage as error:
        raise MalformedOscore(f"inside: {error.detail}") from None
