"""Whole bodies over exchanges of single messages: block-wise transfer above OSCORE and above TCP.

RFC 7959 as the CoAP core does it over datagrams, once more for the two places where the core cannot
see the messages: inside OSCORE (RFC 8613 §4.1.3.4.1) and on reliable transports (RFC 8323 §6).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import BLOCK_SIZES, Block, szx_of
from lwm2m.coap.blockwise_request import BlockwiseBroken, BlockwiseRequest, mentions_blocks
from lwm2m.coap.blockwise_response import BlockwiseResponder, Negotiated
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.events import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    RequestReceived,
    ResponseReceived,
)
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.requests import Request, Response, without_options
from lwm2m.transport.bert import bert_block1, restore_block1, split_request, split_response

_BLOCK1 = frozenset({opt.BLOCK1})


class MessageExchanges(Protocol):
    """What lies below: one message is one request or one response. Handles are never reused."""

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """Send a request; a handle comes back."""

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """Answer a request."""

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """Send a notification."""

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """Give up; told as `ExchangeFailed` "cancelled"."""

    def end_observation(self, exchange: int, now: float) -> int:
        """Cancel an observation that we began, actively."""


class _Sent(msgspec.Struct, gc=False, eq=False):
    """A request of ours; `handle` is the first message's, `current` the one that is out."""

    handle: int
    current: int
    peer: Hashable
    request: Request
    blocks: BlockwiseRequest | None = None
    # The observation whose notification's later blocks this fetches.
    on_behalf_of: _Sent | None = None


class _Received(msgspec.Struct, gc=False, eq=False):
    peer: Hashable
    request: Request
    negotiated: Negotiated | None


class WholeBodies:
    """Takes bodies apart towards `below`, and puts together what its events bring."""

    __slots__ = ("_below", "_bert", "_by_current", "_by_handle", "_core", "_quiet", "_received",
                 "_responder", "_room_bytes")  # fmt: skip

    def __init__(
        self,
        below: MessageExchanges,
        parameters: TransmissionParameters,
        draw: Callable[[int], bytes],
        room_bytes: Callable[[Hashable], int],
        *,
        bert: bool = False,
    ) -> None:
        """`room_bytes(peer)` is the largest payload of one message to that peer; `bert` says
        whether blocks of several times 1,024 bytes are understood (RFC 8323 §6)."""
        self._below = below
        self._core = CoreState(parameters, draw)
        self._responder = BlockwiseResponder(self._core)
        self._room_bytes = room_bytes
        self._bert = bert
        self._by_current: dict[int, _Sent] = {}
        self._by_handle: dict[int, _Sent] = {}
        self._received: dict[int, _Received] = {}
        # Given up here: that they end below is not told.
        self._quiet: set[int] = set()

    # ---- what the endpoint's user asks for ----

    def send_request(self, peer: Hashable, request: Request, now: float) -> int:
        """See `CoapEndpoint.send_request`."""
        blocks = None
        if len(request.payload) > self._room_bytes(peer):
            blocks = self._new_blocks(peer, request)
        first = request if blocks is None else blocks.current_request()
        handle = self._below.send_request(peer, first, now)
        self._keep(_Sent(handle, handle, peer, request, blocks))
        return handle

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        received = self._received.get(exchange)
        if received is not None:
            response = self._first_block(received, response, received.negotiated, now)
        self._below.respond(exchange, response, now)
        if received is not None and not _observes(received.request, response):
            del self._received[exchange]

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """See `CoapEndpoint.notify`."""
        received = self._received.get(exchange)
        if received is not None:
            response = self._first_block(received, response, None, now)
        self._below.notify(exchange, response, now, confirmable=confirmable)

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """See `CoapEndpoint.cancel`."""
        self._below.cancel(self.current(exchange), now)

    def end_observation(self, exchange: int, now: float) -> int:
        """See `CoapEndpoint.end_observation`."""
        old = self._by_handle.get(exchange)
        if old is not None and len(old.request.payload) > self._room_bytes(old.peer):
            return self._end_large_observation(old, now)
        handle = self._below.end_observation(self.current(exchange), now)
        if old is not None:
            self._forget(old)
            request = msgspec.structs.replace(old.request, observe=1)
            self._keep(_Sent(handle, handle, old.peer, request))
        return handle

    def _end_large_observation(self, old: _Sent, now: float) -> int:
        """Its request takes several messages, so its cancellation does: they match by content."""
        request = msgspec.structs.replace(old.request, observe=1)
        handle = self.send_request(old.peer, request, now)
        self._forget(old)
        self._quiet.add(old.current)
        self._below.cancel(old.current, now)
        return handle

    # ---- what comes from below ----

    def take_event(self, event: Event, now: float) -> list[Event]:
        """What an event from below means for whole bodies; may send through `below`."""
        self._core.now = now
        if isinstance(event, RequestReceived):
            told = self._take_request(event, now)
        elif isinstance(event, ResponseReceived):
            told = self._take_response(event, now)
        elif isinstance(event, ExchangeFailed):
            told = self._take_failure(event)
        else:
            told = [event]
        rejected, self._core.events = self._core.events, []
        return rejected + told

    def next_timer(self) -> float | None:
        """When `handle_timer` has to be called."""
        return self._core.timers.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Forget unfinished bodies whose next block did not come."""
        for transfer in self._core.timers.take_due(now):
            self._responder.transfers.drop(transfer)  # type: ignore[arg-type] # the only timers

    def forget_peer(self, peer: Hashable) -> None:
        """Forget the unfinished bodies of a peer that is gone."""
        known = self._core.peers.by_address.get(peer)
        if known is not None:
            self._responder.transfers.forget_peer(known)

    def owns(self, exchange: int) -> bool:
        """Whether this handle is of an exchange that goes through here."""
        return exchange in self._by_handle or exchange in self._received

    def current(self, exchange: int) -> int:
        """The handle below of the message that is out for this request."""
        sent = self._by_handle.get(exchange)
        return exchange if sent is None else sent.current

    # ---- requests of the peer ----

    def _take_request(self, event: RequestReceived, now: float) -> list[Event]:
        peer, request = event.peer, event.request
        if not request.options and len(request.payload) <= self._core.parameters.payload_bytes_max:
            self._received[event.exchange] = _Received(peer, request, None)
            return [event]
        known = self._core.peers.get(peer, now)
        parts = split_request(request) if self._bert else [request]
        for part in parts:
            decided = self._responder.receive(known, part, now)
            if not isinstance(decided, Response) or decided.code != codes.CONTINUE:
                break
        self._core.peers.release(known)
        if isinstance(decided, Response):
            self._below.respond(event.exchange, restore_block1(request, decided), now)
            return []
        whole, negotiated = decided
        in_bert = bert_block1(request) if self._bert else None
        if negotiated is not None and in_bert is not None:
            negotiated = negotiated._replace(block1=in_bert)
        self._received[event.exchange] = _Received(peer, whole, negotiated)
        return [msgspec.structs.replace(event, request=whole)]

    def _first_block(
        self, received: _Received, response: Response, negotiated: Negotiated | None, now: float
    ) -> Response:
        room = self._room_bytes(received.peer)
        if negotiated is None and len(response.payload) <= room:
            return response
        if negotiated is None:
            negotiated = Negotiated(None, Block(0, False, szx_of(_block_size(room))), False)
        known = self._core.peers.get(received.peer, now)
        first = self._responder.first_block(known, received.request, response, negotiated, now)
        self._core.peers.release(known)
        return first

    # ---- responses to ours ----

    def _take_response(self, event: ResponseReceived, now: float) -> list[Event]:
        sent = self._by_current.get(event.exchange)
        response = event.response
        if sent is None:
            return [event]
        if sent.on_behalf_of is None and _observes(sent.request, response):
            return self._take_notification(sent, response, now)
        if sent.blocks is None and not mentions_blocks(response):
            return self._finish(sent, response)
        blocks = sent.blocks = sent.blocks or self._new_blocks(sent.peer, sent.request)
        try:
            whole = self._take_blocks(blocks, response)
        except BlockwiseBroken as error:
            self._core.reject(sent.peer, "malformed", str(error))
            return self._fail(sent)
        if whole is not None:
            return self._finish(sent, whole)
        return self._continue(sent, now)

    def _take_blocks(self, blocks: BlockwiseRequest, response: Response) -> Response | None:
        whole: Response | None = None
        for part in split_response(response) if self._bert else [response]:
            whole = blocks.take_response(part)
        return whole

    def _continue(self, sent: _Sent, now: float) -> list[Event]:
        assert sent.blocks is not None
        self._by_current.pop(sent.current, None)
        try:
            sent.current = self._below.send_request(sent.peer, sent.blocks.current_request(), now)
        except (LookupError, RuntimeError) as error:
            # Its connection closes or its queue is full: the rest of the body cannot come.
            self._core.reject(sent.peer, "busy", str(error))
            return self._fail(sent)
        self._by_current[sent.current] = sent
        return []

    def _take_notification(self, sent: _Sent, response: Response, now: float) -> list[Event]:
        # The upload, if there was one, is done: of a notification only the download is left.
        sent.blocks = None
        others = without_options(response.options, _BLOCK1)
        response = msgspec.structs.replace(response, options=others)
        if not mentions_blocks(response):
            return [ResponseReceived(sent.peer, sent.handle, response)]
        # Later blocks are asked for without Observe: that would observe a second time.
        asked = msgspec.structs.replace(sent.request, observe=None)
        blocks = self._new_blocks(sent.peer, asked, is_uploaded=True)
        try:
            whole = self._take_blocks(blocks, response)
        except BlockwiseBroken as error:
            self._core.reject(sent.peer, "malformed", str(error))
            return []
        if whole is not None:
            return [ResponseReceived(sent.peer, sent.handle, whole)]
        child = _Sent(sent.handle, -1, sent.peer, sent.request, blocks, on_behalf_of=sent)
        return self._continue(child, now)

    def _take_failure(self, event: ExchangeFailed) -> list[Event]:
        self._received.pop(event.exchange, None)
        if event.exchange in self._quiet:
            self._quiet.remove(event.exchange)
            return []
        sent = self._by_current.get(event.exchange)
        if sent is None:
            return [event]
        self._forget(sent)
        if sent.on_behalf_of is not None:
            detail = f"the later blocks of a notification: {event.reason}"
            return [DatagramRejected(sent.peer, "malformed", detail)]
        return [ExchangeFailed(sent.peer, sent.handle, event.reason)]

    def _finish(self, sent: _Sent, response: Response) -> list[Event]:
        self._forget(sent)
        return [ResponseReceived(sent.peer, sent.handle, response)]

    def _fail(self, sent: _Sent) -> list[Event]:
        self._forget(sent)
        if sent.on_behalf_of is not None:
            return []
        return [ExchangeFailed(sent.peer, sent.handle, "malformed")]

    # ---- inside ----

    def _new_blocks(
        self, peer: Hashable, request: Request, *, is_uploaded: bool = False
    ) -> BlockwiseRequest:
        size = _block_size(self._room_bytes(peer))
        limit = self._core.parameters.payload_bytes_max
        return BlockwiseRequest(request, size, limit, is_uploaded=is_uploaded)

    def _keep(self, sent: _Sent) -> None:
        self._by_handle[sent.handle] = self._by_current[sent.current] = sent

    def _forget(self, sent: _Sent) -> None:
        self._by_current.pop(sent.current, None)
        if sent.on_behalf_of is None:
            self._by_handle.pop(sent.handle, None)


def _block_size(room_bytes: int) -> int:
    return max((size for size in BLOCK_SIZES if size <= room_bytes), default=BLOCK_SIZES[0])


def _observes(request: Request, response: Response) -> bool:
    return request.observe == 0 and response.observe is not None and codes.is_success(response.code)
