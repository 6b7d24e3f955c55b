"""The answering side of block-wise exchanges: puts uploads together, hands downloads out.

RFC 7959 §2.5 (Block1), §2.4 (Block2), §2.9 (response codes).
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import Block, MalformedBlock, decode_block, encode_block, szx_of
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.options import Options, encode_uint
from lwm2m.coap.peers import Peer
from lwm2m.coap.requests import Request, Response, find_option, without_options
from lwm2m.coap.transfers import (
    Transfer,
    TransferStore,
    announced_bytes,
    download_key,
    upload_key,
)

UNLIMITED_BYTES = 1 << 30

_OF_BLOCKS = frozenset({opt.BLOCK1, opt.BLOCK2, opt.SIZE1, opt.SIZE2})
_SAFE = (codes.GET, codes.FETCH)
_CONFIRMATIONS_KEPT = 1_024


class Negotiated(NamedTuple):
    """What a request said of blocks that its response has to heed."""

    block1: Block | None
    block2: Block | None
    wants_size: bool


Admitted = tuple[Request, Negotiated | None]


class BlockwiseResponder:
    """Block-wise bodies of all peers."""

    __slots__ = ("_core", "_szx", "transfers")

    def __init__(self, core: CoreState) -> None:
        self._core = core
        self._szx = szx_of(core.parameters.block_size)
        self.transfers = TransferStore(core)

    def receive(
        self, peer: Peer, request: Request, now: float, room_bytes: int = UNLIMITED_BYTES
    ) -> Response | Admitted:
        """Decide on a request: the answer to give at once, or the whole request to admit.

        A block that is answered at once has at most `room_bytes` of payload, or the least size.
        """
        try:
            block1 = _block(request, opt.BLOCK1)
            block2 = _block(request, opt.BLOCK2)
        except MalformedBlock as error:
            self._core.reject(peer.address, "malformed", str(error))
            return Response(codes.BAD_REQUEST)
        if block1 is not None:
            return self._receive_block1(peer, request, block1, block2, now)
        if len(request.payload) > self._core.parameters.payload_bytes_max:
            return self._too_large(peer, None)
        if block2 is not None and block2.number > 0:
            return self._receive_block2(peer, request, block2, now, room_bytes)
        return _admit(request, None, block2)

    def _receive_block1(
        self, peer: Peer, request: Request, block: Block, block2: Block | None, now: float
    ) -> Response | Admitted:
        key, announced = upload_key(request), announced_bytes(request)
        taken = self.take_block(peer, key, block, announced, request.payload, now)
        if isinstance(taken, Response):
            return taken
        return _admit(msgspec.structs.replace(request, payload=taken), block, block2)

    def take_block(
        self,
        peer: Peer,
        key: Hashable,
        block: Block,
        announced: int,
        payload: bytes,
        now: float,
    ) -> Response | bytes:
        """Take one block of a body: the answer to give at once, or with the last the whole body.

        `key` is of the body; `announced` how many bytes it says to have (0: it does not).
        """
        size = len(payload)
        if size > block.size or (block.more and size != block.size):
            self._core.reject(peer.address, "malformed", "a block is not as long as it says")
            return Response(codes.BAD_REQUEST)
        transfers, offset = self.transfers, block.offset
        transfer = transfers.find(peer, key)
        if transfer is not None and (block.number == 0 or len(transfer.body) != offset):
            # A first block starts anew; any other out of its order ends the transfer.
            transfers.drop(transfer)
            transfer = None
        if transfer is None and block.number > 0:
            # RFC 7959 §2.9.2: blocks before this one are missing.
            return Response(codes.REQUEST_ENTITY_INCOMPLETE)
        if max(announced, offset + size) > self._core.parameters.payload_bytes_max:
            return self._too_large(peer, transfer)
        if transfer is None and not block.more:
            return payload
        transfer = transfer or transfers.begin(peer, key, now)
        if transfer is None or not transfers.append(transfer, payload, now):
            self._core.reject(peer.address, "too_large", "no memory for one more body")
            return Response(codes.REQUEST_ENTITY_TOO_LARGE)
        if block.more:
            # RFC 7959 §2.5: the same number, and the size that we prefer for what follows.
            return _confirmed(block.number, min(block.szx, self._szx))
        body = bytes(transfer.body)
        transfers.drop(transfer)
        return body

    def _too_large(self, peer: Peer, transfer: Transfer | None) -> Response:
        if transfer is not None:
            self.transfers.drop(transfer)
        limit = self._core.parameters.payload_bytes_max
        self._core.reject(peer.address, "too_large", f"a body of more than {limit} bytes")
        return Response(codes.REQUEST_ENTITY_TOO_LARGE, options=((opt.SIZE1, encode_uint(limit)),))

    def _receive_block2(
        self, peer: Peer, request: Request, block: Block, now: float, room_bytes: int
    ) -> Response | Admitted:
        transfer = self.transfers.find_download(peer, request)
        if transfer is None or transfer.response is None:
            # What is safe is asked again and cut at the block; nothing else may be done twice.
            if request.code in _SAFE:
                return _admit(request, None, block)
            return Response(codes.REQUEST_ENTITY_INCOMPLETE)
        self.transfers.touch(transfer, now)
        szx = min(block.szx, _szx_within(room_bytes))
        block = Block(block.offset >> (szx + 4), False, szx)
        answer = _cut(transfer.response, block, wants_size=_wants_size(request))
        if not _has_more(answer):
            self.transfers.drop(transfer)
        return answer

    def first_block(
        self,
        peer: Peer,
        request: Request,
        response: Response,
        negotiated: Negotiated | None,
        now: float,
        room_bytes: int = UNLIMITED_BYTES,
    ) -> Response:
        """The message of a response that has block-wise options or a large body.

        Its payload has at most `room_bytes`, or the least size of a block.
        """
        asked = negotiated.block2 if negotiated is not None else None
        wants_size = negotiated is not None and negotiated.wants_size
        szx = min(asked.szx if asked is not None else 6, self._szx, _szx_within(room_bytes))
        # The number counts blocks of the size that the peer asked for.
        number = (asked.offset >> (szx + 4)) if asked is not None else 0
        if number or (codes.is_success(response.code) and len(response.payload) > 16 << szx):
            response = _with_etag(response)
            if number == 0:
                self.transfers.begin(peer, download_key(request), now, response)
            response = _cut(response, Block(number, False, szx), wants_size=wants_size)
        elif wants_size:
            size = encode_uint(len(response.payload))
            response = _with_options(response, ((opt.SIZE2, size),))
        if negotiated is not None and negotiated.block1 is not None:
            response = confirming(response, negotiated.block1)
        return response


@lru_cache(_CONFIRMATIONS_KEPT)
def _confirmed(number: int, szx: int) -> Response:
    """What is answered to a block that others follow."""
    return Response(codes.CONTINUE, options=((opt.BLOCK1, encode_block(Block(number, True, szx))),))


def _szx_within(room_bytes: int) -> int:
    """The exponent of the largest block of so many bytes at most."""
    return max(16, min(room_bytes, 1024)).bit_length() - 5


def _block(request: Request, number: int) -> Block | None:
    value = find_option(request.options, number)
    return decode_block(value) if value is not None else None


def _wants_size(request: Request) -> bool:
    return find_option(request.options, opt.SIZE2) is not None


def _admit(request: Request, block1: Block | None, block2: Block | None) -> Admitted:
    wants_size = _wants_size(request)
    plain = msgspec.structs.replace(request, options=without_options(request.options, _OF_BLOCKS))
    if block1 is None and block2 is None and not wants_size:
        return plain, None
    return plain, Negotiated(block1, block2, wants_size)


def _has_more(response: Response) -> bool:
    value = find_option(response.options, opt.BLOCK2)
    return value is not None and decode_block(value).more


def _with_options(response: Response, options: Options) -> Response:
    return msgspec.structs.replace(response, options=response.options + options)


def confirming(response: Response, block1: Block) -> Response:
    """The response to a whole body, whose last block it confirms."""
    confirmed = encode_block(block1._replace(more=False))
    return _with_options(response, ((opt.BLOCK1, confirmed),))


def _with_etag(response: Response) -> Response:
    """RFC 7959 §2.4: lets the receiver see that all blocks are of one body."""
    if find_option(response.options, opt.ETAG) is not None:
        return response
    etag = zlib.crc32(response.payload).to_bytes(4, "big")
    return _with_options(response, ((opt.ETAG, etag),))


def _cut(response: Response, block: Block, *, wants_size: bool) -> Response:
    """One block of a whole response, or 4.00 for a block beyond its end."""
    payload = response.payload[block.offset : block.offset + block.size]
    if not payload:
        return Response(codes.BAD_REQUEST)
    more = block.offset + block.size < len(response.payload)
    options: Options = ((opt.BLOCK2, encode_block(Block(block.number, more, block.szx))),)
    if wants_size:
        options = (*options, (opt.SIZE2, encode_uint(len(response.payload))))
    # RFC 7641 §3.2 via RFC 7959 §2.6: only the first block is a notification.
    observe = response.observe if block.number == 0 else None
    return msgspec.structs.replace(
        response, payload=payload, observe=observe, options=response.options + options
    )
