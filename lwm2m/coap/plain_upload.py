"""The messages of a body that goes out in blocks, where its request says nothing uncommon: written,
and their confirmations known again, without a `Request` and a `Response` for each.

What a block is, and which is next, is `BlockwiseRequest`'s. A test holds this way against the
general one, message by message.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import Block, MalformedBlock, decode_block, encode_block
from lwm2m.coap.message import (
    ACK,
    CON,
    VERSION_1,
    MalformedMessage,
    decode_message,
    pack_header,
)
from lwm2m.coap.options import Options, encode_uint
from lwm2m.coap.requests import BadOption, Request, Response, encode_request, read_response

# A fleet is written a few objects, in a few blocks, of bodies that differ by a few bytes in length.
_OPTIONS_KEPT = 1_024
_HEADER_BYTES = 4
# A block, and a place.
_CONFIRMATION_BYTES_MAX = 64


def is_plain(request: Request) -> bool:
    """Whether a request has a path and a content format at most, beside its body."""
    return not (
        request.options
        or request.query
        or request.accept is not None
        or request.observe is not None
    )


def encode_upload(request: Request, offset: int, szx: int, message_id: int, token: bytes) -> bytes:
    """The datagram of the block at `offset` of a plain request's body; the token has 8 bytes at
    most. Raises `ValueError` as `encode_request` does."""
    payload = request.payload
    size = len(payload)
    end = offset + (16 << szx)
    block = Block(offset >> (szx + 4), end < size, szx)
    options = _options(request.path, request.content_format, block, -1 if offset else size)
    header = pack_header(VERSION_1 | CON << 4 | len(token), request.code, message_id)
    return b"".join((header, token, options, payload[offset:end]))


@lru_cache(_OPTIONS_KEPT)
def _options(path: tuple[str, ...], content_format: int | None, block: Block, size: int) -> bytes:
    """What stands between the token and the payload: `size` is told when it is not negative."""
    blocks: Options = ((opt.BLOCK1, encode_block(block)),)
    if size >= 0:
        blocks = (*blocks, (opt.SIZE1, encode_uint(size)))
    request = Request(1, path, content_format=content_format, payload=b"-", options=blocks)
    return encode_request(CON, 0, b"", request)[_HEADER_BYTES:-1]


class Confirmation(NamedTuple):
    """Which block a response confirms, and the response without that."""

    block: Block
    response: Response


def read_confirmation(code: int, rest: bytes) -> Confirmation | None:
    """What a successful response says, of which `rest` is what follows the token; None when it
    confirms no block, or says more of blocks, or has a payload."""
    return _read_confirmation(code, rest) if len(rest) <= _CONFIRMATION_BYTES_MAX else None


# What a fleet answers is the same of all devices of a model.
@lru_cache(_OPTIONS_KEPT)
def _read_confirmation(code: int, rest: bytes) -> Confirmation | None:
    if not codes.is_success(code):
        return None
    try:
        message = decode_message(pack_header(VERSION_1 | ACK << 4, code, 0) + rest)
        response = read_response(message.code, message.options, message.payload)
        [(number, value)] = response.options
        block = decode_block(value)
    except (MalformedMessage, BadOption, MalformedBlock, ValueError):
        return None
    if number != opt.BLOCK1 or response.payload or response.observe is not None:
        return None
    return Confirmation(block, msgspec.structs.replace(response, options=()))
