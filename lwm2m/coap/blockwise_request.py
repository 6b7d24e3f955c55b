"""The asking side of a block-wise exchange: which request comes next, and when the body is whole.

Pure: RFC 7959 §2.3 to §2.7 over `Request` and `Response` values; message ids, tokens and
retransmission are the requester's.
"""

from __future__ import annotations

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import BLOCK_SIZES, Block, MalformedBlock, decode_block, encode_block, szx_of
from lwm2m.coap.options import Options, encode_uint
from lwm2m.coap.requests import Request, Response, find_option, without_options
from lwm2m.errors import LwM2mError

_BLOCK_OPTIONS = frozenset({opt.BLOCK1, opt.BLOCK2, opt.SIZE2})


class BlockwiseBroken(LwM2mError, ValueError):
    """The peer's blocks do not make a body; the text says why."""


def needs_blocks(request: Request, block_size: int) -> bool:
    """Whether the body has to be sent in several messages, or the answer's size negotiated."""
    if len(request.payload) > block_size:
        return True
    return block_size < BLOCK_SIZES[-1] and request.code in (codes.GET, codes.FETCH)


def mentions_blocks(response: Response) -> bool:
    """Whether a response carries a block-wise option."""
    return any(number in _BLOCK_OPTIONS for number, _ in response.options)


class BlockwiseRequest:
    """One request whose body, or whose response's body, takes several messages."""

    __slots__ = (
        "_etag",
        "_observe",
        "_received",
        "_request",
        "_size_max",
        "_szx",
        "_upload_offset",
    )

    def __init__(self, request: Request, block_size: int, response_bytes_max: int) -> None:
        self._request = request
        self._szx = szx_of(block_size)
        self._size_max = response_bytes_max
        self._upload_offset: int | None = 0 if len(request.payload) > block_size else None
        self._received: bytearray | None = None
        self._etag: bytes | None = None
        self._observe: int | None = None

    def current_request(self) -> Request:
        """The request for the message that goes out next."""
        if self._received is not None:
            return self._download_request(len(self._received))
        if self._upload_offset is not None:
            return self._upload_request(self._upload_offset)
        return self._ask_for_size()

    def take_response(self, response: Response) -> Response | None:
        """Take the response to `current_request`.

        Returns the whole response, or None when `current_request` is now the next one. Raises
        `BlockwiseBroken`.
        """
        try:
            return self._take(response)
        except MalformedBlock as error:
            raise BlockwiseBroken(str(error)) from error

    def _take(self, response: Response) -> Response | None:
        uploaded = self._upload_offset
        if self._received is None and uploaded is not None and not self._upload_done(response):
            return None
        value = find_option(response.options, opt.BLOCK2)
        if value is None:
            if self._received is not None and codes.is_success(response.code):
                raise BlockwiseBroken("a later block came without its Block2 option")
            return _without_blocks(response)
        return self._take_block2(decode_block(value), response)

    def _upload_done(self, response: Response) -> bool:
        """Whether this response is the final one; otherwise the next block is current."""
        offset = self._upload_offset
        assert offset is not None
        value = find_option(response.options, opt.BLOCK1)
        block = decode_block(value) if value is not None else None
        if response.code == codes.REQUEST_ENTITY_TOO_LARGE:
            return not self._shrink(block)
        sent = min(16 << self._szx, len(self._request.payload) - offset)
        last = offset + sent == len(self._request.payload)
        if not codes.is_success(response.code) or block is None:
            if response.code == codes.CONTINUE:
                raise BlockwiseBroken("2.31 without a Block1 option")
            return True
        if block.number != offset >> (self._szx + 4):
            raise BlockwiseBroken(f"block {block.number} was confirmed, not the one sent")
        if last:
            if response.code == codes.CONTINUE:
                raise BlockwiseBroken("2.31 after the last block")
            return True
        # RFC 7959 §2.5: the server may ask for smaller blocks; numbers then count those.
        self._upload_offset = offset + sent
        self._szx = min(self._szx, block.szx)
        return False

    def _shrink(self, block: Block | None) -> bool:
        # RFC 7959 §2.9.3: 4.13 to the first block, with a smaller size, asks for that size.
        if block is None or block.szx >= self._szx or self._upload_offset != 0:
            return False
        self._szx = block.szx
        return True

    def _upload_request(self, offset: int) -> Request:
        request = self._request
        size = 16 << self._szx
        end = offset + size
        block = Block(offset // size, end < len(request.payload), self._szx)
        extra: Options = ((opt.BLOCK1, encode_block(block)),)
        if offset == 0:
            extra = (*extra, (opt.SIZE1, encode_uint(len(request.payload))))
        return _with(request, request.payload[offset:end], request.options + extra, request.observe)

    def _ask_for_size(self) -> Request:
        # RFC 7959 §2.4, early negotiation: who wants blocks below the largest size says so at once.
        request = self._request
        block = encode_block(Block(0, False, self._szx))
        return _with(
            request, request.payload, (*request.options, (opt.BLOCK2, block)), request.observe
        )

    def _take_block2(self, block: Block, response: Response) -> Response | None:
        expected = len(self._received) if self._received is not None else 0
        if not codes.is_success(response.code):
            return _without_blocks(response)
        if block.offset != expected:
            raise BlockwiseBroken(f"block at {block.offset}, expected {expected}")
        if block.more and len(response.payload) != block.size:
            raise BlockwiseBroken(f"{len(response.payload)} bytes in a block of {block.size}")
        if expected + len(response.payload) > self._size_max:
            raise BlockwiseBroken(f"the body is larger than {self._size_max} bytes")
        self._check_etag(response, first=self._received is None)
        self._received = (self._received or bytearray()) + response.payload
        self._szx = min(self._szx, block.szx)
        if block.more:
            return None
        return _without_blocks(
            msgspec.structs.replace(response, payload=bytes(self._received), observe=self._observe)
        )

    def _check_etag(self, response: Response, *, first: bool) -> None:
        # RFC 7959 §2.4: another entity-tag means that the resource changed under the transfer.
        etag = find_option(response.options, opt.ETAG)
        if first:
            self._etag, self._observe = etag, response.observe
        elif etag != self._etag:
            raise BlockwiseBroken("the resource changed between two blocks")

    def _download_request(self, offset: int) -> Request:
        request = self._request
        block = Block(offset >> (self._szx + 4), False, self._szx)
        extra: Options = ((opt.BLOCK2, encode_block(block)),)
        # RFC 7959 §2.6: Observe stays with the first block; §3.3: a body that was sent stays sent.
        return _with(request, b"", request.options + extra, None)


def _with(request: Request, payload: bytes, options: Options, observe: int | None) -> Request:
    content_format = request.content_format if payload else None
    return Request(request.code, request.path, request.query, content_format, request.accept,
                   observe, payload, request.confirmable, options)  # fmt: skip


def _without_blocks(response: Response) -> Response:
    options = without_options(response.options, _BLOCK_OPTIONS)
    return msgspec.structs.replace(response, options=options)
