"""What the options of RFC 7252 §5.10 say that only an application can act on.

Entity-tags, preconditions, freshness, and the host that was named: read from the options that a
`Request` or `Response` carries, and written into them.
"""

from __future__ import annotations

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.options import decode_uint, encode_uint
from lwm2m.coap.requests import Request, Response, find_option

MAX_AGE_DEFAULT_S = 60.0


def max_age_s(response: Response) -> float:
    """How long a response may be used, in seconds; of a 5.03, how long not to ask again.

    60 when it does not say (RFC 7252 §5.10.5, §5.9.3.4).
    """
    value = find_option(response.options, opt.MAX_AGE)
    return MAX_AGE_DEFAULT_S if value is None else float(decode_uint(value))


def with_max_age(response: Response, seconds: int) -> Response:
    """The response with this Max-Age, 0 to 2**32 - 1 seconds, in place of its own."""
    return _with_option(response, opt.MAX_AGE, encode_uint(seconds))


def etag_of(response: Response) -> bytes | None:
    """The entity-tag of what a response carries or confirms (RFC 7252 §5.10.6.1)."""
    return find_option(response.options, opt.ETAG)


def with_etag(response: Response, etag: bytes) -> Response:
    """The response with this entity-tag, 1 to 8 bytes, in place of its own."""
    return _with_option(response, opt.ETAG, etag)


def etags_of(request: Request) -> tuple[bytes, ...]:
    """The entity-tags of what the client has stored already (RFC 7252 §5.10.6.2)."""
    return tuple(value for number, value in request.options if number == opt.ETAG)


def validated(request: Request, response: Response) -> Response:
    """2.03 Valid in place of a 2.05 whose entity-tag the client has named; else the response.

    RFC 7252 §5.9.1.3: without payload, with the entity-tag and what else the response said.
    """
    if response.code != codes.CONTENT or etag_of(response) not in etags_of(request):
        return response
    return msgspec.structs.replace(response, code=codes.VALID, payload=b"", content_format=None)


def if_match_of(request: Request) -> tuple[bytes, ...]:
    """The entity-tags of If-Match; an empty one stands for any (RFC 7252 §5.10.8.1).

    It is critical: list it in `TransmissionParameters.critical_options` to get such requests.
    """
    return tuple(value for number, value in request.options if number == opt.IF_MATCH)


def has_if_none_match(request: Request) -> bool:
    """Whether the request asks for a target that does not exist yet (RFC 7252 §5.10.8.2)."""
    return find_option(request.options, opt.IF_NONE_MATCH) is not None


def preconditions_hold(request: Request, *, exists: bool, etag: bytes | None = None) -> bool:
    """Whether to go on with a request whose target exists or not, and has this entity-tag now.

    Otherwise the answer is 4.12 Precondition Failed.
    """
    if exists and has_if_none_match(request):
        return False
    wanted = if_match_of(request)
    return not wanted or (exists and (b"" in wanted or etag in wanted))


def uri_host_of(request: Request) -> str | None:
    """The host that the request names; None is the address it came to (RFC 7252 §5.10.1).

    An endpoint serves every name alike. Bytes that are no UTF-8 become U+FFFD.
    """
    value = find_option(request.options, opt.URI_HOST)
    return None if value is None else value.decode(errors="replace")


def uri_port_of(request: Request) -> int | None:
    """The port that the request names; None is the one it came to."""
    value = find_option(request.options, opt.URI_PORT)
    return None if value is None else decode_uint(value)


def _with_option(response: Response, number: int, value: bytes) -> Response:
    others = tuple(option for option in response.options if option[0] != number)
    return msgspec.structs.replace(response, options=(*others, (number, value)))
