"""BERT, the blocks of reliable transports (RFC 8323 §6): several of 1,024 bytes in a message.

A BERT message is read as the plain blocks that it stands for. None is ever made: what is sent in
blocks goes in blocks of 1,024 bytes, which every peer takes.
"""

from __future__ import annotations

import msgspec

from lwm2m.coap import options as opt
from lwm2m.coap.blocks import BLOCK_NUMBER_MAX, Block, encode_block
from lwm2m.coap.options import Options
from lwm2m.coap.requests import Request, Response, find_option, without_options

_BERT_SZX = 7
_PLAIN_SZX = 6
_UNIT_BYTES = 1024
_BLOCKS_MAX = 65_536
_BLOCK1 = frozenset({opt.BLOCK1})
_BLOCK2 = frozenset({opt.BLOCK2})


def split_request(request: Request) -> list[Request]:
    """The requests with plain blocks that a request stands for; itself when it has no BERT."""
    block2 = _bert_block(request.options, opt.BLOCK2)
    if block2 is not None:
        request = _ask_plainly(request, block2)
    block1 = _bert_block(request.options, opt.BLOCK1)
    if block1 is None:
        return [request]
    return [
        msgspec.structs.replace(request, payload=part, options=options)
        for part, options in _parts(request.payload, request.options, block1, opt.BLOCK1)
    ]


def split_response(response: Response) -> list[Response]:
    """The same for a response with Block2."""
    block2 = _bert_block(response.options, opt.BLOCK2)
    if block2 is None:
        return [response]
    return [
        msgspec.structs.replace(response, payload=part, options=options)
        for part, options in _parts(response.payload, response.options, block2, opt.BLOCK2)
    ]


def bert_block1(request: Request) -> Block | None:
    """The BERT Block1 of a request."""
    return _bert_block(request.options, opt.BLOCK1)


def restore_block1(request: Request, response: Response) -> Response:
    """Confirm a BERT upload by the Block1 that its sender used, not by its last plain block."""
    asked = bert_block1(request)
    if asked is None or find_option(response.options, opt.BLOCK1) is None:
        return response
    others = without_options(response.options, _BLOCK1)
    return msgspec.structs.replace(response, options=(*others, (opt.BLOCK1, encode_block(asked))))


def _bert_block(options: Options, number: int) -> Block | None:
    value = find_option(options, number)
    if value is None or len(value) > 3 or not value or value[-1] & 7 != _BERT_SZX:
        return None
    found = int.from_bytes(value, "big")
    # So near the last number there is no room for several: left as it is, it is refused.
    if found >> 4 > BLOCK_NUMBER_MAX - _BLOCKS_MAX:
        return None
    return Block(found >> 4, found & 8 != 0, _BERT_SZX)


def _ask_plainly(request: Request, block2: Block) -> Request:
    others = without_options(request.options, _BLOCK2)
    if block2.number:
        later = encode_block(Block(block2.number, False, _PLAIN_SZX))
        others = (*others, (opt.BLOCK2, later))
    # Block 0 of the largest size asks for nothing that would not be done anyway.
    return msgspec.structs.replace(request, options=others)


def _parts(
    payload: bytes, options: Options, block: Block, number: int
) -> list[tuple[bytes, Options]]:
    others = without_options(options, frozenset({number}))
    found: list[tuple[bytes, Options]] = []
    for index, start in enumerate(range(0, max(1, len(payload)), _UNIT_BYTES)):
        part = payload[start : start + _UNIT_BYTES]
        more = block.more or start + _UNIT_BYTES < len(payload)
        plain = Block(block.number + index, more, _PLAIN_SZX)
        found.append((part, (*others, (number, encode_block(plain)))))
    return found
