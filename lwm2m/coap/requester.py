"""The half of an endpoint that asks: requests sent, retransmitted, and matched with responses.

RFC 7252 §4.2 (retransmission), §4.7 (NSTART), §5.3 (matching by peer and token); RFC 7641 for
observations that we began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Literal

import msgspec

from lwm2m.coap import codes
from lwm2m.coap.blockwise_request import (
    BlockwiseBroken,
    BlockwiseRequest,
    mentions_blocks,
    needs_blocks,
)
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.events import ExchangeFailed, FailureReason, ResponseReceived
from lwm2m.coap.message import ACK, CON, NON, RST, Message, decode_message
from lwm2m.coap.observe_order import is_newer
from lwm2m.coap.peers import Peer
from lwm2m.coap.redaction import show, shown_fields
from lwm2m.coap.requests import (
    BadOption,
    Request,
    Response,
    encode_request,
    read_request,
    read_response,
)
from lwm2m.coap.states import SENT_TRANSITIONS, SentEvent, SentState
from lwm2m.errors import LwM2mError

_FAILURES: dict[FailureReason, SentEvent] = {
    "timeout": "timed_out",
    "reset": "reset_received",
    "cancelled": "cancelled",
    "malformed": "malformed_response_received",
}


Reception = Literal["taken", "refused", "unknown"]


class PeerQueueFull(LwM2mError, RuntimeError):
    """Too many requests wait for NSTART towards one peer; send again after one has ended."""


_HIDDEN = frozenset({"datagram", "first_datagram"})


class SentRequest(msgspec.Struct, gc=False, eq=False):
    """A request from `send_request` until its response."""

    handle: int
    peer: Peer
    request: Request
    state: SentState = "queued"
    message_id: int = -1
    token: bytes = b""
    datagram: bytes = b""
    # When it is next due, and the wait that follows.
    tick: int = 0
    timeout_s: float = 0.0
    retransmissions_left: int = 0
    # What `datagram_of` gives: None when the exchange is, or became, block-wise.
    first_datagram: bytes | None = None
    blocks: BlockwiseRequest | None = None
    # Of an earlier incarnation: when to give up, in place of the last doubled wait.
    gives_up_at: float | None = None
    # An observation: number and time of the newest notification (RFC 7641 §3.4).
    newest: tuple[int, float] | None = None
    # The observation whose notification's later blocks this request fetches.
    on_behalf_of: SentRequest | None = None

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


class Requester:
    """Requests of ours to all peers."""

    __slots__ = ("_by_handle", "_chance_bytes", "_core")

    def __init__(self, core: CoreState) -> None:
        self._core = core
        # A message's share of chance: two bytes for its first wait, the others its token.
        self._chance_bytes = 2 + core.parameters.token_bytes
        self._by_handle: dict[int, SentRequest] = {}

    def find(self, handle: int) -> SentRequest | None:
        """The request of this handle, while it is open."""
        return self._by_handle.get(handle)

    def send(self, address: Hashable, request: Request, now: float) -> int:
        """Send a request, or queue it for NSTART. Raises `PeerQueueFull`, `ValueError`."""
        core = self._core
        peer = core.peers.get(address, now)
        sent = SentRequest(core.take_handle(), peer, request)
        block_size = core.parameters.block_size
        if needs_blocks(request, block_size):
            limit = core.parameters.payload_bytes_max
            sent.blocks = BlockwiseRequest(request, block_size, limit)
        self._start(sent, now)
        self._by_handle[sent.handle] = sent
        return sent.handle

    def _start(self, sent: SentRequest, now: float) -> None:
        peer = sent.peer
        # Only a CON is held back: nothing tells when a NON has left the network.
        held_back = sent.request.confirmable and (
            peer.waiting is not None or peer.outstanding >= self._core.parameters.nstart
        )
        if held_back or not self._transmit_first(sent, now):
            self._queue(sent)

    def _queue(self, sent: SentRequest) -> None:
        peer = sent.peer
        # What cannot be encoded is refused now, not when its turn comes.
        encode_request(CON, 0, b"", sent.request)
        if peer.waiting is None:
            peer.waiting = deque()
        if len(peer.waiting) >= self._core.parameters.queue_per_peer_max:
            raise PeerQueueFull(f"{len(peer.waiting)} requests wait for {peer.address}")
        peer.waiting.append(sent)

    def _transmit_first(self, sent: SentRequest, now: float) -> bool:
        """Give it message id and token, and send it. False when no message id is free yet."""
        core = self._core
        peer = sent.peer
        message_id = core.peers.take_message_id(peer, now)
        if message_id < 0:
            free_at = core.peers.message_ids_free_at(peer)
            sent.tick = core.timers.schedule(sent.handle, sent, free_at)
            return False
        request = sent.request if sent.blocks is None else sent.blocks.current_request()
        chance = core.chance.take(self._chance_bytes)
        token = chance[2:]
        if peer.open is not None and token in peer.open:
            token = self._another_token(peer)
        confirmable = request.confirmable
        datagram = encode_request(CON if confirmable else NON, message_id, token, request)
        sent.state = SENT_TRANSITIONS[sent.state]["transmitted"]
        sent.message_id = message_id
        sent.token = token
        sent.datagram = datagram
        if sent.blocks is None:
            sent.first_datagram = datagram
        self._open(sent)
        if confirmable:
            peer.outstanding += 1
            sent.timeout_s = core.timeout_by(chance[0] << 8 | chance[1])
            sent.retransmissions_left = core.parameters.max_retransmit
        else:
            sent.timeout_s = core.parameters.response_timeout_s
            sent.retransmissions_left = 0
        sent.tick = core.timers.schedule(sent.handle, sent, now + sent.timeout_s)
        core.datagrams.append((datagram, peer.address))
        return True

    def _another_token(self, peer: Peer) -> bytes:
        token = b""
        while not token or (peer.open is not None and token in peer.open):
            token = self._core.chance.take(self._core.parameters.token_bytes)
        return token

    @staticmethod
    def _open(sent: SentRequest) -> None:
        peer = sent.peer
        if peer.open is None:
            peer.open = {sent.token: sent}
        else:
            peer.open[sent.token] = sent

    def resume(self, address: Hashable, datagram: bytes, first_sent_at: float, now: float) -> int:
        """See `CoapEndpoint.resume_exchange`."""
        core = self._core
        message = decode_message(datagram)
        if message.type != CON or not codes.is_request(message.code):
            raise ValueError("only a confirmable request can be resumed")
        peer = core.peers.get(address, now)
        core.peers.skip_message_id(peer, message.message_id, now)
        if peer.open is not None and message.token in peer.open:
            raise ValueError("a request with this token is open towards this peer")
        # Its options were checked when it was made; later blocks of the response need them.
        request = _request_of(message)
        sent = SentRequest(core.take_handle(), peer, request, "sent", message.message_id,
                           message.token, datagram, first_datagram=datagram)  # fmt: skip
        sent.gives_up_at = first_sent_at + core.parameters.max_transmit_wait_s
        self._open(sent)
        peer.outstanding += 1
        self._by_handle[sent.handle] = sent
        self._rejoin_schedule(sent, now - first_sent_at, now)
        return sent.handle

    def _rejoin_schedule(self, sent: SentRequest, elapsed_s: float, now: float) -> None:
        """Send at once, in place of the retransmission that would have come next."""
        parameters = self._core.parameters
        timeout_s, left = self._core.first_timeout_s(), parameters.max_retransmit
        spent_s = timeout_s
        while spent_s <= elapsed_s and left > 0:
            left -= 1
            timeout_s *= 2
            spent_s += timeout_s
        sent.timeout_s, sent.retransmissions_left = timeout_s, left
        if elapsed_s > parameters.max_transmit_span_s:
            sent.retransmissions_left = 0
        else:
            self._core.datagrams.append((sent.datagram, sent.peer.address))
            sent.timeout_s, sent.retransmissions_left = timeout_s * 2, max(0, left - 1)
        self._schedule_retransmission(sent, now)

    def _schedule_retransmission(self, sent: SentRequest, now: float) -> None:
        deadline = now + sent.timeout_s
        if sent.gives_up_at is not None and sent.retransmissions_left == 0:
            deadline = max(now, sent.gives_up_at)
        sent.tick = self._core.timers.schedule(sent.handle, sent, deadline)

    def handle_timer(self, sent: SentRequest, now: float) -> None:
        """Retransmit, give up, or try the queue again."""
        if sent.state == "queued":
            self._start_next(sent.peer, now)
        elif sent.state == "sent" and sent.retransmissions_left > 0:
            sent.retransmissions_left -= 1
            sent.timeout_s *= 2
            self._core.datagrams.append((sent.datagram, sent.peer.address))
            self._schedule_retransmission(sent, now)
        elif sent.state in ("sent", "acknowledged"):
            self._fail(sent, "timeout", now)

    def receive_empty(self, peer: Peer, message: Message, now: float) -> bool:
        """Take an empty ACK or a RST. False when no request of ours has this message id."""
        sent = self._of_message_id(peer, message.message_id)
        if sent is None:
            return False
        if message.type == RST:
            self._fail(sent, "reset", now)
        elif sent.request.confirmable:
            self._acknowledge(sent, now)
        return True

    @staticmethod
    def _of_message_id(peer: Peer, message_id: int) -> SentRequest | None:
        # NSTART keeps this short: few requests at a time wait for an acknowledgement.
        for sent in (peer.open or {}).values():
            if sent.message_id == message_id and sent.state == "sent":
                return sent
        return None

    def _acknowledge(self, sent: SentRequest, now: float) -> None:
        sent.state = SENT_TRANSITIONS[sent.state]["acknowledgement_received"]
        self._core.timers.cancel(sent.handle, sent.tick)
        deadline = now + self._core.parameters.response_timeout_s
        sent.tick = self._core.timers.schedule(sent.handle, sent, deadline)
        sent.peer.outstanding -= 1
        self._start_next(sent.peer, now)

    def receive_response(self, peer: Peer | None, message: Message, now: float) -> Reception:
        """Take a response: "unknown" when this peer was asked nothing with that token, "refused"
        when it cannot be understood.

        RFC 7252 §5.3.2: it has to come from where the request went, and with its token; a
        piggybacked one also with its message id.
        """
        if peer is None or peer.open is None:
            return "unknown"
        sent = peer.open.get(message.token)
        if sent is None or (message.type == ACK and message.message_id != sent.message_id):
            return "unknown"
        try:
            response = read_response(
                message.code, message.options, message.payload, self._core.handled_options
            )
        except BadOption as error:
            self._core.reject(peer.address, "bad_option", str(error))
            self._fail(sent, "malformed", now)
            return "refused"
        if response.options or sent.blocks is not None or sent.request.observe is not None:
            self._take_special(sent, response, now)
        else:
            self._finish(sent, response, now)
        return "taken"

    def _finish(self, sent: SentRequest, response: Response, now: float) -> None:
        self._close(sent, "response_received", now)
        told = sent if sent.on_behalf_of is None else sent.on_behalf_of
        self._core.events.append(ResponseReceived(told.peer.address, told.handle, response))

    def _close(self, sent: SentRequest, event: SentEvent, now: float) -> None:
        self._leave_wire(sent, SENT_TRANSITIONS[sent.state][event])
        self._by_handle.pop(sent.handle, None)
        if sent.peer.waiting:
            self._start_next(sent.peer, now)

    def _leave_wire(self, sent: SentRequest, next_state: SentState) -> None:
        """The message that is out is done with: no timer, token or place of NSTART any more."""
        peer = sent.peer
        self._core.timers.cancel(sent.handle, sent.tick)
        if peer.open is not None and peer.open.get(sent.token) is sent:
            del peer.open[sent.token]
            if not peer.open:
                peer.open = None
        if sent.state == "sent" and sent.request.confirmable:
            peer.outstanding -= 1
        sent.state = next_state

    def _start_next(self, peer: Peer, now: float) -> None:
        waiting = peer.waiting
        while waiting and peer.outstanding < self._core.parameters.nstart:
            if not self._transmit_first(waiting[0], now):
                return
            waiting.popleft()
        if not waiting:
            peer.waiting = None

    def _fail(self, sent: SentRequest, reason: FailureReason, now: float) -> None:
        if sent.state == "queued" and sent.peer.waiting:
            sent.peer.waiting.remove(sent)
        self._close(sent, _FAILURES[reason], now)
        if sent.on_behalf_of is None:
            self._core.events.append(ExchangeFailed(sent.peer.address, sent.handle, reason))
        else:
            detail = f"the later blocks of a notification: {reason}"
            self._core.reject(sent.peer.address, "malformed", detail)

    def cancel(self, sent: SentRequest, now: float) -> None:
        """Wait no longer; a late answer is then answered by RST."""
        self._fail(sent, "cancelled", now)

    def forget_peer(self, peer: Peer, now: float) -> None:
        """Fail all requests to this peer as cancelled."""
        waiting, peer.waiting = peer.waiting or (), None
        for sent in (*waiting, *(peer.open or {}).values()):
            if sent.state != "ended":
                self._fail(sent, "cancelled", now)

    def _take_special(self, sent: SentRequest, response: Response, now: float) -> None:
        """A response of a block-wise exchange, of an observation, or with uncommon options."""
        begun_by_us = sent.request.observe == 0 and sent.on_behalf_of is None
        if begun_by_us and response.observe is not None and codes.is_success(response.code):
            self._take_notification(sent, response, now)
            return
        if sent.blocks is None and not mentions_blocks(response):
            self._finish(sent, response, now)
            return
        self._take_block(sent, response, now)

    def _take_block(self, sent: SentRequest, response: Response, now: float) -> None:
        blocks = sent.blocks or self._new_blocks(sent)
        try:
            whole = blocks.take_response(response)
        except BlockwiseBroken as error:
            self._core.reject(sent.peer.address, "malformed", str(error))
            self._fail(sent, "malformed", now)
            return
        if whole is not None:
            self._finish(sent, whole, now)
            return
        sent.blocks = blocks
        sent.first_datagram = None
        self._leave_wire(sent, SENT_TRANSITIONS[sent.state]["block_received"])
        self._continue(sent, now)

    def _new_blocks(self, sent: SentRequest) -> BlockwiseRequest:
        parameters = self._core.parameters
        return BlockwiseRequest(sent.request, parameters.block_size, parameters.payload_bytes_max)

    def _continue(self, sent: SentRequest, now: float) -> None:
        # A transfer under way goes before requests that have not begun.
        peer = sent.peer
        sent.gives_up_at = None
        may_go = not sent.request.confirmable or peer.outstanding < self._core.parameters.nstart
        if may_go and self._transmit_first(sent, now):
            return
        peer.waiting = peer.waiting or deque()
        peer.waiting.appendleft(sent)

    def _take_notification(self, sent: SentRequest, response: Response, now: float) -> None:
        """RFC 7641 §3.4: a notification that was overtaken by a newer one is not told."""
        assert response.observe is not None
        number = response.observe
        if sent.newest is not None and not is_newer(number, now, *sent.newest):
            return
        sent.newest = (number, now)
        if sent.state != "observing":
            self._core.timers.cancel(sent.handle, sent.tick)
            if sent.state == "sent" and sent.request.confirmable:
                sent.peer.outstanding -= 1
        sent.state = SENT_TRANSITIONS[sent.state]["observation_confirmed"]
        if mentions_blocks(response):
            self._fetch_later_blocks(sent, response, now)
        else:
            self._tell_notification(sent, response)
        self._start_next(sent.peer, now)

    def _tell_notification(self, sent: SentRequest, response: Response) -> None:
        self._core.events.append(ResponseReceived(sent.peer.address, sent.handle, response))

    def _fetch_later_blocks(self, sent: SentRequest, response: Response, now: float) -> None:
        blocks = self._new_blocks(sent)
        try:
            whole = blocks.take_response(response)
        except BlockwiseBroken as error:
            self._core.reject(sent.peer.address, "malformed", str(error))
            return
        if whole is not None:
            self._tell_notification(sent, whole)
            return
        child = SentRequest(self._core.take_handle(), sent.peer, sent.request, blocks=blocks)
        child.on_behalf_of = sent
        self._by_handle[child.handle] = child
        self._continue(child, now)


def _request_of(message: Message) -> Request:
    everything = frozenset(number for number, _ in message.options)
    return read_request(message.code, message.options, message.payload, True, everything)
