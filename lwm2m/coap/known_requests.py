"""Reads the short way what servers ask of devices, whose options are known from other requests.

A server asks thousands of devices for the same few places, and writes to them. What the options of
such a request say is found out once, by `message` and `requests`, and known again by their bytes;
and so is what confirms the blocks that come with it. Whatever else comes is None here and goes the
general way; a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple

from lwm2m.coap import options as opt
from lwm2m.coap.blocks import Block, MalformedBlock, decode_block
from lwm2m.coap.blockwise_response import Negotiated, confirming
from lwm2m.coap.codes import IPATCH
from lwm2m.coap.message import (
    ACK,
    HEADER_BYTES,
    PAYLOAD_MARKER,
    MalformedMessage,
    decode_message,
)
from lwm2m.coap.plain import CON_HEAD, TOKEN_BYTES_MAX
from lwm2m.coap.requests import (
    BadOption,
    Request,
    Response,
    encode_response,
    find_option,
    read_request,
)
from lwm2m.coap.transfers import announced_bytes, upload_key

_CON_HEAD_MAX = CON_HEAD + TOKEN_BYTES_MAX
# Where the token of a confirmable message ends, less its first byte.
_TOKEN_ENDS_BEFORE = CON_HEAD - HEADER_BYTES
_MARKER = bytes([PAYLOAD_MARKER])
_OPTIONS_KEPT = 1_024
_OPTIONS_BYTES_MAX = 96
_OF_UPLOADS = frozenset({opt.BLOCK1, opt.SIZE1})


class Upload(NamedTuple):
    """What a request says of the block that it carries: which one, of which body, and how many
    bytes all of it has (0: not told)."""

    block: Block
    key: Hashable
    announced_bytes: int


class KnownRequest(NamedTuple):
    """A request, its message id and token, and what it says of blocks, which are none of its
    options here."""

    message_id: int
    token: bytes
    request: Request
    upload: Upload | None


def names_a_device_place(data: bytes) -> bool:
    """Whether the path of a confirmable message seems to begin with a figure, as LwM2M's do on
    devices, whereas a server's begin with a word: these are worth being known again."""
    at = data[0] - _TOKEN_ENDS_BEFORE + 1
    return data[at : at + 1].isdigit()


def read_known_request(data: bytes) -> KnownRequest | None:
    """A confirmable request that observes nothing, with no option beyond path, query, formats and
    Block1. `data` has four bytes."""
    first, code = data[0], data[1]
    if not CON_HEAD <= first <= _CON_HEAD_MAX or not 0 < code <= IPATCH:
        return None
    at = first - _TOKEN_ENDS_BEFORE
    # What options there are end at the marker. A byte like it within an option would cut that off:
    # then they are not whole, and not known.
    marker_at = data.find(_MARKER, at)
    if marker_at < 0:
        options, payload = data[at:], b""
        if len(data) < at:
            return None  # cut off in the token
    else:
        options, payload = data[at:marker_at], data[marker_at + 1 :]
        if not payload:
            return None
    if len(options) > _OPTIONS_BYTES_MAX:
        return None
    known = _known(code, options)
    if known is None:
        return None
    path, query, content_format, accept, upload = known
    request = Request(code, path, query, content_format, accept, None, payload)
    return KnownRequest(data[2] << 8 | data[3], data[4:at], request, upload)


_Known = tuple[tuple[str, ...], tuple[str, ...], int | None, int | None, Upload | None]


@lru_cache(_OPTIONS_KEPT)
def _known(code: int, options: bytes) -> _Known | None:
    """What these options say; None when they are not whole, or not for the short way."""
    try:
        message = decode_message(bytes([CON_HEAD, code, 0, 0]) + options)
        request = read_request(code, message.options, b"", True)
        upload = _upload_of(request)
    except (MalformedMessage, BadOption, MalformedBlock):
        return None
    if request.observe is not None:
        return None
    if request.options and (upload is None or not _OF_UPLOADS.issuperset(dict(request.options))):
        return None
    return request.path, request.query, request.content_format, request.accept, upload


def _upload_of(request: Request) -> Upload | None:
    """Raises `MalformedBlock`."""
    value = find_option(request.options, opt.BLOCK1)
    if value is None:
        return None
    return Upload(decode_block(value), upload_key(request), announced_bytes(request))


@lru_cache(_OPTIONS_KEPT)
def rest_of_answer(response: Response, negotiated: Negotiated | None) -> bytes:
    """What follows the token in an answer without payload; it confirms the block that was
    negotiated, if any."""
    if negotiated is not None and negotiated.block1 is not None:
        response = confirming(response, negotiated.block1)
    return encode_response(ACK, 0, b"", response)[HEADER_BYTES:]
