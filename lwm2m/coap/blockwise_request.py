"""The asking side of a block-wise exchange: which request comes next, and when the body is whole.

Pure: RFC 7959 §2.3 to §2.7 over `Request` and `Response` values; message ids, tokens and
retransmission are the requester's.
"""

from __future__ import annotations

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import BLOCK_SIZES, Block, MalformedBlock, decode_block, encode_block, szx_of
from lwm2m.coap.options import Options, decode_uint, encode_uint
from lwm2m.coap.plain_upload import encode_upload, read_confirmation
from lwm2m.coap.requests import Request, Response, find_option, without_options
from lwm2m.errors import LwM2mError

# A server that lost what it had, or a resource that changed: one more try, then it is told.
_RESTARTS_MAX = 1
_SAFE = (codes.GET, codes.FETCH)
# To a later block: the body is there no more, or is shorter now.
_LOST = (codes.REQUEST_ENTITY_INCOMPLETE, codes.BAD_REQUEST)
_BLOCK_OPTIONS = frozenset({opt.BLOCK1, opt.BLOCK2, opt.SIZE2})


class BlockwiseBroken(LwM2mError, ValueError):
    """The peer's blocks do not make a body; the text says why."""


def needs_blocks(request: Request, block_size: int) -> bool:
    """Whether the body has to be sent in several messages, or the answer's size negotiated."""
    if len(request.payload) > block_size:
        return True
    return block_size < BLOCK_SIZES[-1] and request.code in _SAFE and not asks_for_block(request)


def asks_for_block(request: Request) -> bool:
    """Whether the caller names a block itself, as one who resumes a download: it gets that one."""
    return find_option(request.options, opt.BLOCK2) is not None


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
        "_restarts_left",
        "_size_max",
        "_szx",
        "_upload_offset",
    )

    def __init__(
        self,
        request: Request,
        block_size: int,
        response_bytes_max: int,
        *,
        is_uploaded: bool = False,
    ) -> None:
        """`is_uploaded`: the request's body is with the server already."""
        self._request = request
        self._szx = szx_of(block_size)
        self._size_max = response_bytes_max
        self._upload_offset: int | None = None
        if not is_uploaded:
            self._begin_upload()
        self._restarts_left = _RESTARTS_MAX
        self._received: bytearray | None = None
        self._etag: bytes | None = None
        # RFC 7959 §2.6: a notification's number is in its first block.
        self._observe: int | None = None

    def _begin_upload(self) -> None:
        self._upload_offset = 0 if len(self._request.payload) > 16 << self._szx else None

    def current_request(self) -> Request:
        """The request for the message that goes out next."""
        if self._received is not None:
            return self._download_request(len(self._received))
        if self._upload_offset is not None:
            return self._upload_request(self._upload_offset)
        return self._ask_for_size()

    # ---- the short way, of a plain request whose blocks are confirmed as they are ----

    def plain_message(self, message_id: int, token: bytes) -> bytes:
        """The datagram of `current_request`, while the body of a plain request goes up."""
        offset = self._upload_offset
        assert offset is not None
        return encode_upload(self._request, offset, self._szx, message_id, token)

    def read_confirmation(self, code: int, rest: bytes) -> Response | None:
        """A response that says of the block that is out that it came, as it was sent, and after the
        last one that all was taken; `rest` is what follows its token. None for any other."""
        offset, szx = self._upload_offset, self._szx
        found = read_confirmation(code, rest)
        if found is None or offset is None or self._received is not None:
            return None
        is_last = offset + (16 << szx) >= len(self._request.payload)
        if is_last is (code == codes.CONTINUE):
            return None
        as_sent = Block(offset >> (szx + 4), not is_last, szx)
        return found.response if found.block == as_sent else None

    def go_on(self) -> None:
        """Take a confirmation of a block that is not the last."""
        assert self._upload_offset is not None
        self._upload_offset += 16 << self._szx

    # ---- the general way ----

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
        if self._received is None and self._is_upload_unfinished(response):
            return None
        if self._received is not None and response.code in _LOST and self._may_restart():
            return None
        value = find_option(response.options, opt.BLOCK2)
        if value is None:
            if self._received is not None and codes.is_success(response.code):
                raise BlockwiseBroken("a later block came without its Block2 option")
            return _without_blocks(response)
        return self._take_block2(decode_block(value), response)

    def _is_upload_unfinished(self, response: Response) -> bool:
        """Whether more of the body has to go out, whose next block is then the current one."""
        value = find_option(response.options, opt.BLOCK1)
        block = decode_block(value) if value is not None else None
        if response.code == codes.REQUEST_ENTITY_TOO_LARGE:
            return self._shrink(block)
        offset = self._upload_offset
        if response.code == codes.REQUEST_ENTITY_INCOMPLETE:
            return bool(offset) and self._restart()
        if not codes.is_success(response.code):
            return False
        if offset is None:
            if response.code == codes.CONTINUE:
                raise BlockwiseBroken("2.31 to what was sent whole")
            return False
        return self._confirm(offset, block, response.code)

    def _confirm(self, offset: int, block: Block | None, code: int) -> bool:
        """Take a success after the block at `offset`. Whether there is a next block."""
        sent = min(16 << self._szx, len(self._request.payload) - offset)
        last = offset + sent == len(self._request.payload)
        if block is None:
            if code == codes.CONTINUE or not last:
                raise BlockwiseBroken(f"{codes.code_text(code)} without Block1 amid a body")
            return False
        if block.number != offset >> (self._szx + 4):
            raise BlockwiseBroken(f"block {block.number} was confirmed, not the one sent")
        if last:
            if code == codes.CONTINUE:
                raise BlockwiseBroken("2.31 after the last block")
            return False
        # RFC 7959 §2.3: to a block that is not the last, the only success is 2.31; or, of a server
        # that acts on each block by itself, any with the M bit unset (§3.2, figure 8).
        if code != codes.CONTINUE and block.more:
            raise BlockwiseBroken(f"{codes.code_text(code)} to a block that is not the last")
        # RFC 7959 §2.5: the server may ask for smaller blocks; numbers then count those.
        self._upload_offset = offset + sent
        self._szx = min(self._szx, block.szx)
        return True

    def _shrink(self, block: Block | None) -> bool:
        # RFC 7959 §2.9.3: 4.13 to a first block, or to a body that was sent whole, with a smaller
        # size asks for blocks of that size.
        if block is None or block.szx >= self._szx or self._upload_offset:
            return False
        self._szx = block.szx
        self._begin_upload()
        return self._upload_offset is not None

    def _may_restart(self) -> bool:
        return self._request.code in _SAFE and self._restart()

    def _restart(self) -> bool:
        """Begin anew with the first block, unless that was tried before."""
        if self._restarts_left == 0:
            return False
        self._restarts_left -= 1
        self._received = None
        self._begin_upload()
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
        size = len(response.payload)
        if size > block.size or (block.more and size != block.size):
            raise BlockwiseBroken(f"{size} bytes in a block of {block.size}")
        if max(expected + size, _announced(response)) > self._size_max:
            raise BlockwiseBroken(f"the body is larger than {self._size_max} bytes")
        if self._has_changed(response):
            # RFC 7959 §2.4: blocks of two states make no body. What is safe is asked for anew.
            if self._may_restart():
                return None
            raise BlockwiseBroken("the resource changed between two blocks")
        self._received = (self._received or bytearray()) + response.payload
        self._szx = min(self._szx, block.szx)
        if block.more:
            return None
        return _without_blocks(
            msgspec.structs.replace(response, payload=bytes(self._received), observe=self._observe)
        )

    def _has_changed(self, response: Response) -> bool:
        """Whether this block is of another body than those before."""
        etag = find_option(response.options, opt.ETAG)
        if self._received is not None:
            return etag != self._etag
        self._etag = etag
        self._observe = response.observe
        return False

    def _download_request(self, offset: int) -> Request:
        request = self._request
        block = Block(offset >> (self._szx + 4), False, self._szx)
        extra: Options = ((opt.BLOCK2, encode_block(block)),)
        # RFC 7959 §2.6: Observe stays with the first block; §3.3: a body that was sent stays sent.
        return _with(request, b"", request.options + extra, None)


def _announced(response: Response) -> int:
    """The size of the whole body, when the server tells it (RFC 7959 §4)."""
    value = find_option(response.options, opt.SIZE2)
    return decode_uint(value) if value is not None else 0


def _with(request: Request, payload: bytes, options: Options, observe: int | None) -> Request:
    content_format = request.content_format if payload else None
    return Request(request.code, request.path, request.query, content_format, request.accept,
                   observe, payload, request.confirmable, options)  # fmt: skip


def _without_blocks(response: Response) -> Response:
    options = without_options(response.options, _BLOCK_OPTIONS)
    return msgspec.structs.replace(response, options=options)
