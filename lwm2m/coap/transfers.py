"""Unfinished block-wise bodies at the side that serves: uploads (Block1) and downloads (Block2).

Bounded per peer (the oldest makes room) and in bytes for all peers together (a new one is refused).
A body is known by its peer and by what the request names: code, path, query and further options
(RFC 7959 §2.3, RFC 9175 §3.3: with the Request-Tag).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import msgspec

from lwm2m.coap import options as opt
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.peers import Peer
from lwm2m.coap.redaction import show, shown_fields
from lwm2m.coap.requests import Request, Response, find_option, without_options

# Options that may differ between the messages of one body. Echo: RFC 9175 §2.1, no cache key.
_PER_MESSAGE = frozenset({opt.BLOCK1, opt.BLOCK2, opt.SIZE1, opt.SIZE2, opt.ECHO})

_HIDDEN = frozenset({"body"})


class Transfer(msgspec.Struct, gc=False, eq=False):
    """An upload has `body`; a download has `response`, whose payload is the body."""

    handle: int
    peer: Peer
    key: Hashable
    body: bytearray = msgspec.field(default_factory=bytearray)
    response: Response | None = None
    reserved_bytes: int = 0
    tick: int = 0

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


def upload_key(request: Request) -> Hashable:
    """What later blocks of the same upload have in common with this one."""
    return ("upload", request.code, request.path, request.query, request.content_format,
            request.accept, without_options(request.options, _PER_MESSAGE))  # fmt: skip


def announced_bytes(request: Request) -> int:
    """How long the whole body is, as this block of it says; 0 when it does not."""
    announced = find_option(request.options, opt.SIZE1)
    return 0 if announced is None else opt.decode_uint(announced)


def download_key(request: Request) -> tuple[Hashable, ...]:
    """What the requests for later blocks have in common with the one that began a download.

    Those carry neither Observe nor, after a Block1 upload, body and content format. Last are the
    Request-Tags.
    """
    others = without_options(request.options, _PER_MESSAGE | {opt.REQUEST_TAG})
    tags = tuple(value for number, value in request.options if number == opt.REQUEST_TAG)
    return ("download", request.code, request.path, request.query, request.accept, others, tags)


class TransferStore:
    """All unfinished bodies."""

    __slots__ = ("_bytes", "_core", "_count")

    def __init__(self, core: CoreState) -> None:
        self._core = core
        self._bytes = 0
        self._count = 0

    def find(self, peer: Peer, key: Hashable) -> Transfer | None:
        """The body of this key."""
        return peer.transfers.get(key) if peer.transfers else None

    def find_download(self, peer: Peer, request: Request) -> Transfer | None:
        """The body whose later block a request asks for."""
        key = download_key(request)
        found = self.find(peer, key)
        if found is None and not key[-1]:
            # RFC 9175 §3.3 has the tag in all requests; a client may yet have left it with the
            # upload. Then the newest body is meant.
            for other in reversed((peer.transfers or {}).values()):
                if isinstance(other.key, tuple) and other.key[:-1] == key[:-1]:
                    return other
        return found

    def begin(
        self, peer: Peer, key: Hashable, now: float, response: Response | None = None
    ) -> Transfer | None:
        """Start a body, in place of one of the same key. None when there is no memory for it."""
        old = self.find(peer, key)
        if old is not None:
            self.drop(old)
        limits = self._core.parameters
        if peer.transfers and len(peer.transfers) >= limits.transfers_per_peer_max:
            self.drop(next(iter(peer.transfers.values())))
        size = len(response.payload) if response is not None else 0
        if self._bytes + size > limits.transfer_bytes_max or self._count >= limits.transfers_max:
            return None
        peer.transfers = peer.transfers or {}
        transfer = Transfer(self._core.take_handle(), peer, key, response=response)
        peer.transfers[key] = transfer
        self._count += 1
        self._reserve(transfer, size)
        self.touch(transfer, now)
        return transfer

    def append(self, transfer: Transfer, data: bytes, now: float) -> bool:
        """Add a block to an upload. False, and the upload dropped, when there is no memory."""
        if self._bytes + len(data) > self._core.parameters.transfer_bytes_max:
            self.drop(transfer)
            return False
        if transfer.body:
            # What was begun just now has its whole lifetime.
            self.touch(transfer, now)
        transfer.body += data
        self._reserve(transfer, len(data))
        return True

    def touch(self, transfer: Transfer, now: float) -> None:
        """Give it its whole lifetime again."""
        timers = self._core.timers
        timers.cancel(transfer.handle, transfer.tick)
        deadline = now + self._core.parameters.transfer_lifetime_s
        transfer.tick = timers.schedule(transfer.handle, transfer, deadline)

    def drop(self, transfer: Transfer) -> None:
        """Forget a body; nothing happens when it is forgotten already."""
        transfers = transfer.peer.transfers
        if transfers is None or transfers.get(transfer.key) is not transfer:
            return
        del transfers[transfer.key]
        if not transfers:
            transfer.peer.transfers = None
        self._core.timers.cancel(transfer.handle, transfer.tick)
        self._bytes -= transfer.reserved_bytes
        self._count -= 1
        self._core.peers.release(transfer.peer)

    def forget_peer(self, peer: Peer) -> None:
        """Forget all bodies of one peer."""
        for transfer in list((peer.transfers or {}).values()):
            self.drop(transfer)

    def _reserve(self, transfer: Transfer, size: int) -> None:
        transfer.reserved_bytes += size
        self._bytes += size
