"""What a request and a response say, apart from how a message carries them.

Options that every user of CoAP needs become fields; the others stay as (number, value) pairs.
Block-wise options never show here in what an endpoint hands out: it takes whole bodies apart and
puts them together by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from lwm2m.coap import options as opt
from lwm2m.coap.message import (
    HEADERS_OF_SHORT_OPTIONS,
    SHORT_TOKEN_BYTES_MAX,
    VERSION_1,
    append_options,
    encode_header,
    pack_header,
)
from lwm2m.coap.options import FORMS, ONE_BYTE, Options, decode_uint, encode_uint, is_critical
from lwm2m.coap.redaction import show, shown_fields
from lwm2m.errors import LwM2mError

# The critical options that this core acts on; others must be named in
# `TransmissionParameters.critical_options` by a user who does, or they are answered 4.02.
HANDLED_CRITICAL = frozenset(
    {
        opt.URI_HOST,
        opt.URI_PORT,
        opt.URI_PATH,
        opt.URI_QUERY,
        opt.ACCEPT,
        opt.BLOCK1,
        opt.BLOCK2,
        opt.PROXY_URI,
        opt.PROXY_SCHEME,
    }
)

_HIDDEN = frozenset({"payload"})
_TEXTS_KEPT = 1_024
_TAIL_PAYLOAD_BYTES_MAX = 1_024


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request with its whole body.

    `path` and `query` are decoded segments. `observe` is 0 to register, 1 to cancel (RFC 7641 §2).
    `options` are further options as (number, value). `confirmable` says whether it goes as CON.
    """

    code: int
    path: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    content_format: int | None = None
    accept: int | None = None
    observe: int | None = None
    payload: bytes = b""
    confirmable: bool = True
    options: Options = ()

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


class Response(msgspec.Struct, frozen=True, gc=False):
    """A response with its whole body. `observe` is the sequence number of a notification."""

    code: int
    payload: bytes = b""
    content_format: int | None = None
    location_path: tuple[str, ...] = ()
    observe: int | None = None
    options: Options = ()

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


class BadOption(LwM2mError, ValueError):
    """A critical option that is unknown, malformed or too often there (RFC 7252 §5.4)."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"option {number}: {why}")
        self.number = number


def read_request(
    code: int,
    options: Options,
    payload: bytes,
    confirmable: bool,
    handled: frozenset[int] = HANDLED_CRITICAL,
) -> Request:
    """Sort a message's options into a request. Raises `BadOption` (the answer is 4.02)."""
    path: list[str] = []
    query: list[str] = []
    content_format: int | None = None
    others: Options = ()
    try:
        for number, value in options:
            if number == 15 and len(value) < 256:
                query.append(value.decode())
            elif number == 11 and len(value) < 256:
                path.append(value.decode())
            elif number == 12 and content_format is None and len(value) < 3:
                content_format = int.from_bytes(value, "big")
            elif _is_acceptable(number, value, others, handled):
                others = (*others, (number, value))
    except UnicodeDecodeError as error:
        raise BadOption(number, "not UTF-8") from error
    if "." in path or ".." in path:
        # RFC 7252 §5.10.1: what stands for a step in a relative reference is no segment.
        raise BadOption(opt.URI_PATH, "a segment of dots")
    if not others:
        return Request(
            code, tuple(path), tuple(query), content_format, None, None, payload, confirmable
        )
    accept, others = _take_uint(others, opt.ACCEPT)
    observe, others = _take_uint(others, opt.OBSERVE)
    return Request(
        code,
        tuple(path),
        tuple(query),
        content_format,
        accept,
        observe,
        payload,
        confirmable,
        others,
    )


def read_response(
    code: int,
    options: Options,
    payload: bytes,
    handled: frozenset[int] = HANDLED_CRITICAL,
) -> Response:
    """Sort a message's options into a response. Raises `BadOption` (it is to be rejected)."""
    if not options:
        return Response(code, payload)
    location: list[str] = []
    content_format: int | None = None
    others: Options = ()
    for number, value in options:
        if number == 8 and len(value) < 256:
            # §5.4.3: an elective option with a value that makes no sense is ignored.
            location.append(value.decode(errors="replace"))
        elif number == 12 and content_format is None and len(value) < 3:
            content_format = int.from_bytes(value, "big")
        elif _is_acceptable(number, value, others, handled):
            others = (*others, (number, value))
    observe: int | None = None
    if others:
        observe, others = _take_uint(others, opt.OBSERVE)
    return Response(code, payload, content_format, tuple(location), observe, others)


def _is_acceptable(number: int, value: bytes, before: Options, handled: frozenset[int]) -> bool:
    """Keep it, or ignore it, or raise: RFC 7252 §5.4.1, §5.4.3 and §5.4.5."""
    form = FORMS.get(number)
    critical = is_critical(number)
    if critical and number not in handled:
        raise BadOption(number, "critical and not understood")
    if form is None:
        return True
    if not form.length_min <= len(value) <= form.length_max:
        why = f"{len(value)} bytes, allowed {form.length_min} to {form.length_max}"
    elif not form.repeatable and any(found == number for found, _ in before):
        why = "repeated"
    else:
        # A content format gets here only when it is repeated or too long.
        return number != opt.CONTENT_FORMAT
    if critical:
        raise BadOption(number, why)
    return False


def _take_uint(options: Options, number: int) -> tuple[int | None, Options]:
    for found, value in options:
        if found == number:
            return decode_uint(value), tuple(o for o in options if o[0] != number)
    return None, options


def find_option(options: Options, number: int) -> bytes | None:
    """The value of the first option of this number."""
    for found, value in options:
        if found == number:
            return value
    return None


def without_options(options: Options, numbers: frozenset[int]) -> Options:
    """The options but those of these numbers."""
    if not options:
        return options
    return tuple(option for option in options if option[0] not in numbers)


def with_option(request: Request, number: int, value: bytes) -> Request:
    """The request with this option in place of all others of its number."""
    others = tuple(option for option in request.options if option[0] != number)
    return msgspec.structs.replace(request, options=(*others, (number, value)))


def encode_request(type_: int, message_id: int, token: bytes, request: Request) -> bytes:
    """The datagram of a request that needs no blocks. Raises `ValueError` on an oversized field."""
    code, path, query, payload = request.code, request.path, request.query, request.payload
    if not 0 < code < 0x20:
        raise ValueError(f"{code:#04x} is not a request code")
    token_bytes = len(token)
    if token_bytes > SHORT_TOKEN_BYTES_MAX:
        header = encode_header(type_, code, message_id, token)
    else:
        header = pack_header(VERSION_1 | type_ << 4 | token_bytes, code, message_id) + token
    if request.options or request.observe is not None or request.accept is not None:
        _check_path(path)
        parts = [header]
        append_options(parts, _request_options(request))
        return b"".join(parts) + _after_marker(payload)
    before_query, delta_index = _options_before_query(path, request.content_format)
    if not query:
        return header + before_query + _after_marker(payload)
    # The first part by itself: that is where devices differ.
    text = query[0].encode()
    length = len(text)
    if length > 255:
        raise _too_long(opt.URI_QUERY, length)
    if len(payload) <= _TAIL_PAYLOAD_BYTES_MAX:
        tail = _known_tail(query[1:], payload)
    else:
        tail = _encode_tail(query[1:], payload)
    text_header = HEADERS_OF_SHORT_OPTIONS[delta_index | length]
    return b"".join((header, before_query, text_header, text, tail))


def _after_marker(payload: bytes) -> bytes:
    return b"\xff" + payload if payload else b""


def _check_path(path: tuple[str, ...]) -> None:
    if "." in path or ".." in path:
        raise ValueError("a path segment is neither '.' nor '..' (RFC 7252 §5.10.1)")


@lru_cache(_TEXTS_KEPT)
def _options_before_query(path: tuple[str, ...], content_format: int | None) -> tuple[bytes, int]:
    """Path and content format encoded, and where the headers of a query that follows them are in
    the table: few make nearly all requests."""
    _check_path(path)
    parts: list[bytes] = []
    number = 0
    if path:
        number = _append_texts(parts, 0, opt.URI_PATH, path)
    if content_format is not None:
        number = _append_uint(parts, number, opt.CONTENT_FORMAT, content_format)
    return b"".join(parts), (opt.URI_QUERY - number) << 8


def _encode_tail(query: tuple[str, ...], payload: bytes) -> bytes:
    """All of a query but its first part, and the payload."""
    parts: list[bytes] = []
    _append_texts(parts, opt.URI_QUERY, opt.URI_QUERY, query)
    return b"".join(parts) + _after_marker(payload)


# In a Register, what follows the endpoint name is the same for all devices of a model. What is kept
# here is no secret: a request with a query is a registration, or asks.
_known_tail = lru_cache(_TEXTS_KEPT)(_encode_tail)


def _append_texts(parts: list[bytes], previous: int, number: int, texts: tuple[str, ...]) -> int:
    """Path or query: the hot loop of encoding. Deltas here are in the table."""
    delta_index = (number - previous) << 8
    append = parts.append
    for text in texts:
        value = text.encode()
        length = len(value)
        if length > 255:
            raise _too_long(number, length)
        append(HEADERS_OF_SHORT_OPTIONS[delta_index | length])
        append(value)
        delta_index = 0
    return number


def _append_uint(parts: list[bytes], previous: int, number: int, value: int) -> int:
    # Each of these options may have a byte at least, and comes less than 32 after the one before.
    encoded = ONE_BYTE[value] if 0 <= value < 256 else _checked_uint(number, value)
    parts.append(HEADERS_OF_SHORT_OPTIONS[(number - previous) << 8 | len(encoded)])
    parts.append(encoded)
    return number


def _checked(number: int, value: bytes) -> bytes:
    if len(value) > 255:
        raise _too_long(number, len(value))
    return value


def _too_long(number: int, length: int) -> ValueError:
    return ValueError(f"option {number} has at most 255 bytes, not {length}")


def _checked_uint(number: int, value: int) -> bytes:
    if value < 0 or value >> (8 * FORMS[number].length_max):
        raise ValueError(f"option {number} cannot hold {value}")
    return encode_uint(value)


def _request_options(request: Request) -> Options:
    found = list(request.options)
    found += [(opt.URI_PATH, _checked(opt.URI_PATH, part.encode())) for part in request.path]
    found += [(opt.URI_QUERY, _checked(opt.URI_QUERY, part.encode())) for part in request.query]
    for number, value in (
        (opt.OBSERVE, request.observe),
        (opt.CONTENT_FORMAT, request.content_format),
        (opt.ACCEPT, request.accept),
    ):
        if value is not None:
            found.append((number, _checked_uint(number, value)))
    return tuple(sorted(found, key=_option_number))


def encode_response(type_: int, message_id: int, token: bytes, response: Response) -> bytes:
    """The datagram of a response that needs no blocks. Raises `ValueError` likewise."""
    code = response.code
    if not 0x40 <= code < 0xC0:
        raise ValueError(f"{code:#04x} is not a response code")
    parts = [encode_header(type_, code, message_id, token)]
    if response.options or response.observe is not None:
        append_options(parts, _response_options(response))
    else:
        location, previous = response.location_path, 0
        if location:
            previous = _append_texts(parts, 0, opt.LOCATION_PATH, location)
        if response.content_format is not None:
            _append_uint(parts, previous, opt.CONTENT_FORMAT, response.content_format)
    if response.payload:
        parts.append(b"\xff")
        parts.append(response.payload)
    return b"".join(parts)


def _response_options(response: Response) -> Options:
    found = list(response.options)
    for segment in response.location_path:
        found.append((opt.LOCATION_PATH, _checked(opt.LOCATION_PATH, segment.encode())))
    for number, value in (
        (opt.OBSERVE, response.observe),
        (opt.CONTENT_FORMAT, response.content_format),
    ):
        if value is not None:
            found.append((number, _checked_uint(number, value)))
    return tuple(sorted(found, key=_option_number))


def _option_number(option: tuple[int, bytes]) -> int:
    return option[0]
