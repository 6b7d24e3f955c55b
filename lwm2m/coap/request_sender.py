"""Gets our requests out: message ids, tokens, NSTART, PROBING_RATE, retransmission, giving up.

RFC 7252 §4.2 (retransmission), §4.7 (congestion control), §5.3.1 (tokens); RFC 8974 (long tokens).
What the responses mean is the requester's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.blockwise_request import BlockwiseRequest, needs_blocks
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.events import ExchangeFailed, FailureReason
from lwm2m.coap.just_sent import JustSent, general_methods
from lwm2m.coap.message import CON, NON, RST, Message, decode_message
from lwm2m.coap.peers import Asking, Peer
from lwm2m.coap.plain_upload import is_plain
from lwm2m.coap.request_tags import note_upload_end, tag_if_confusable
from lwm2m.coap.requests import Request, encode_request, read_request, with_option
from lwm2m.coap.sent_request import SentRequest
from lwm2m.coap.states import SENT_TRANSITIONS, SentEvent, SentState
from lwm2m.coap.timers import NEVER, TICKS_PER_S
from lwm2m.errors import LwM2mError

_SHORT_TOKEN_BYTES = 8
_SAFE = (codes.GET, codes.FETCH)
# Of tokens.
_AHEAD_BYTES = 512
_IS_OUT = SENT_TRANSITIONS["queued"]["transmitted"]
_IS_OUT_AGAIN = SENT_TRANSITIONS[SENT_TRANSITIONS[_IS_OUT]["block_received"]]["transmitted"]

_FAILURES: dict[FailureReason, SentEvent] = {
    "timeout": "timed_out",
    "reset": "reset_received",
    "cancelled": "cancelled",
    "malformed": "malformed_response_received",
}


class PeerQueueFull(LwM2mError, RuntimeError):
    """Too many requests wait for NSTART towards one peer; send again after one has ended."""


class RequestSender:
    """Requests of ours to all peers, until something is said to them."""

    __slots__ = (
        "_ack_timeout_s", "_block_size", "_by_handle", "_core", "_general_methods", "_just_sent",
        "_max_retransmit", "_response_bytes_max", "_token_bytes", "_tokens",
    )  # fmt: skip

    def __init__(self, core: CoreState) -> None:
        self._core = core
        self._token_bytes = core.parameters.token_bytes
        # Drawn ahead.
        self._tokens: list[bytes] = []
        self._block_size = core.parameters.block_size
        self._response_bytes_max = core.parameters.payload_bytes_max
        self._just_sent = JustSent()
        self._ack_timeout_s = core.parameters.ack_timeout_s
        self._max_retransmit = core.parameters.max_retransmit
        self._general_methods = general_methods(core.parameters)
        self._by_handle: dict[int, SentRequest] = {}

    def find(self, handle: int) -> SentRequest | None:
        """The request of this handle, while it is open."""
        return self._by_handle.get(handle)

    def send(self, address: Hashable, request: Request, now: float) -> int:
        """See `CoapEndpoint.send_request`. It may have to wait for NSTART."""
        core = self._core
        core.now = now
        peers = core.peers
        peer = peers.by_address.get(address) or peers.get(address, now)
        handle = core.next_handle
        core.next_handle = handle + 1
        if (
            request.confirmable
            and request.code not in self._general_methods
            and peer.open is None
            and peer.waiting is None
            and peer.asking is None
            and (len(request.payload) <= self._block_size or is_plain(request))
            and (message_id := peers.take_message_id(peer, now)) >= 0
        ):
            # The short way, to a peer with nothing else open: in one message, or a block of it.
            tokens = self._tokens
            token = tokens.pop() if tokens else self._draw_token()
            if len(request.payload) <= self._block_size:
                blocks, datagram = None, encode_request(CON, message_id, token, request)
            else:
                blocks = BlockwiseRequest(request, self._block_size, self._response_bytes_max)
                datagram = blocks.plain_message(message_id, token)
                tag_if_confusable(peer, request, handle, self._block_size, now)
            sent = SentRequest(handle, peer, request, _IS_OUT, message_id, token, datagram, 0,
                               0.0, self._max_retransmit, None if blocks else datagram, now,
                               blocks)  # fmt: skip
            self._just_sent.messages.append((now, message_id, sent))
            peer.open = {token: sent}
            peer.outstanding += 1
            self._by_handle[handle] = sent
            core.datagrams.append((datagram, peer.address))
        else:
            self._launch(SentRequest(handle, peer, request), now)
        return handle

    def _go_on_plainly(self, sent: SentRequest, blocks: BlockwiseRequest, now: float) -> bool:
        """Send the next block of a body that went the short way, when the one that is out is
        confirmed. False, and nothing is changed, when no message id is free yet."""
        core, peer = self._core, sent.peer
        message_id = core.peers.take_message_id(peer, now)
        if message_id < 0:
            return False
        blocks.go_on()
        token = self._draw_token()
        sent.state, sent.message_id, sent.token = _IS_OUT_AGAIN, message_id, token
        sent.datagram = datagram = blocks.plain_message(message_id, token)
        sent.plainly_sent_at = now
        self._just_sent.messages.append((now, message_id, sent))
        peer.open = {token: sent}
        core.datagrams.append((datagram, peer.address))
        return True

    def next_overdue(self) -> float | None:
        """When the oldest request that went the short way, and is out, has waited ACK_TIMEOUT."""
        oldest = self._just_sent.oldest(len(self._by_handle))
        return None if oldest is None else oldest[0] + self._ack_timeout_s

    def time_overdue(self, now: float) -> None:
        """Put what has waited ACK_TIMEOUT, the least wait, on the wheel for the rest of its own,
        which is drawn only now: nearly all are answered before."""
        while (due := self.next_overdue()) is not None and due <= now:
            sent_at, _, sent = self._just_sent.messages.popleft()
            sent.timeout_s = self._core.first_timeout_s()
            deadline = sent_at + sent.timeout_s
            sent.tick = self._core.timers.schedule(sent.handle, sent, deadline)

    def _launch(self, sent: SentRequest, now: float) -> None:
        request = sent.request
        if len(request.payload) > self._block_size or request.code in _SAFE:
            self._prepare(sent, now)
        try:
            self._start(sent, now)
        except (PeerQueueFull, ValueError):
            note_upload_end(sent, answered=True, free_at=now)
            raise
        self._by_handle[sent.handle] = sent

    def _prepare(self, sent: SentRequest, now: float) -> None:
        """See to blocks and tag of a request that is sent, or may be answered, in blocks."""
        peer, request = sent.peer, sent.request
        in_blocks = needs_blocks(request, self._block_size)
        if in_blocks or (request.code == codes.FETCH and peer.open is not None):
            request = sent.request = tag_if_confusable(
                peer, request, sent.handle, self._block_size, now
            )
        if in_blocks:
            sent.blocks = BlockwiseRequest(request, self._block_size, self._response_bytes_max)

    # ---- when it goes out ----

    def _start(self, sent: SentRequest, now: float) -> None:
        peer = sent.peer
        if not sent.request.confirmable:
            self._start_non(sent, now)
            return
        held_back = peer.waiting is not None or peer.outstanding >= self._core.parameters.nstart
        if held_back or not self._transmit_first(sent, now):
            self._check_queue(sent, peer.waiting or ())
            peer.waiting = peer.waiting or deque()
            peer.waiting.append(sent)

    def _start_non(self, sent: SentRequest, now: float) -> None:
        # RFC 7252 §4.7: NSTART holds only a CON back, since nothing tells when a NON has left the
        # network; towards a peer that is silent PROBING_RATE does.
        asking = sent.peer.asked()
        if asking.waiting or asking.silent_until > now or not self._transmit_first(sent, now):
            self._check_queue(sent, asking.waiting)
            asking.waiting.append(sent)
            if asking.waiting[0] is sent and asking.silent_until > now:
                self._wait_for_silence(sent, asking)

    def _wait_for_silence(self, sent: SentRequest, asking: Asking) -> None:
        timers = self._core.timers
        sent.tick = timers.schedule(sent.handle, sent, asking.silent_until)

    def _check_queue(self, sent: SentRequest, waiting: Collection[SentRequest]) -> None:
        # What cannot be encoded is refused now, not when its turn comes.
        encode_request(CON, 0, b"", sent.request)
        if len(waiting) >= self._core.parameters.queue_per_peer_max:
            raise PeerQueueFull(f"{len(waiting)} requests wait for {sent.peer.address}")

    def _start_next(self, peer: Peer, now: float) -> None:
        waiting = peer.waiting
        while waiting and peer.outstanding < self._core.parameters.nstart:
            if not self._transmit_first(waiting[0], now):
                return
            waiting.popleft()
        if not waiting:
            peer.waiting = None

    def _start_next_non(self, peer: Peer, asking: Asking, now: float) -> None:
        while asking.waiting:
            sent = asking.waiting[0]
            if asking.silent_until > now:
                self._wait_for_silence(sent, asking)
                return
            self._core.timers.cancel(sent.handle, sent.tick)
            if not self._transmit_first(sent, now):
                return
            asking.waiting.popleft()

    def _continue(self, sent: SentRequest, now: float) -> None:
        """Send the next message of an exchange that has begun."""
        # It goes before requests that have not begun.
        peer = sent.peer
        sent.gives_up_at = None
        if not sent.request.confirmable:
            # Its peer answers: PROBING_RATE does not hold it back.
            if not self._transmit_first(sent, now):
                peer.asked().waiting.appendleft(sent)
            return
        if peer.outstanding < self._core.parameters.nstart and self._transmit_first(sent, now):
            return
        peer.waiting = peer.waiting or deque()
        peer.waiting.appendleft(sent)

    def _leave_queue(self, sent: SentRequest) -> None:
        peer = sent.peer
        for waiting in (peer.waiting, peer.asking.waiting if peer.asking is not None else None):
            if waiting and sent in waiting:
                waiting.remove(sent)
        if not peer.waiting:
            # Whoever finds a queue there takes its place behind it.
            peer.waiting = None

    # ---- the message ----

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
        if sent.echo is not None:
            request = with_option(request, opt.ECHO, sent.echo)
        token = self._draw_token()
        if sent.token or peer.open is not None or peer.asking is not None:
            token = self._token_for(sent, request, token)
        confirmable = request.confirmable
        datagram = encode_request(CON if confirmable else NON, message_id, token, request)
        sent.state = SENT_TRANSITIONS[sent.state]["transmitted"]
        sent.message_id = message_id
        sent.token = token
        sent.datagram = datagram
        if sent.blocks is None:
            sent.first_datagram = datagram
        if peer.open is None:
            peer.open = {token: sent}
        else:
            peer.open[token] = sent
        if confirmable:
            peer.outstanding += 1
            sent.timeout_s = core.first_timeout_s()
            sent.retransmissions_left = core.parameters.max_retransmit
        else:
            self._note_probe(peer, len(datagram), now)
            sent.timeout_s = core.parameters.response_timeout_s
            sent.retransmissions_left = 0
        sent.tick = core.timers.schedule(sent.handle, sent, now + sent.timeout_s)
        core.datagrams.append((datagram, peer.address))
        return True

    def _draw_token(self) -> bytes:
        size, tokens = self._token_bytes, self._tokens
        if not tokens:
            count = max(1, _AHEAD_BYTES // max(1, size))
            drawn = self._core.chance.take(count * size)
            tokens += [drawn[at * size : (at + 1) * size] for at in range(count)]
        return tokens.pop()

    def _token_for(self, sent: SentRequest, request: Request, drawn: bytes) -> bytes:
        peer = sent.peer
        if request.observe == 1 and sent.token:
            # RFC 7641 §3.6: a cancellation has the token of what it cancels, block by block.
            return sent.token
        size = len(drawn)
        if size > _SHORT_TOKEN_BYTES and peer.asking is not None and peer.asking.has_short_tokens:
            size = _SHORT_TOKEN_BYTES
        token = drawn[:size]
        while peer.open is not None and token in peer.open:
            token = self._core.chance.take(size)
        return token

    def _note_probe(self, peer: Peer, datagram_bytes: int, now: float) -> None:
        pause_s = datagram_bytes / self._core.parameters.probing_rate_bytes_per_s
        peer.asked().silent_until = now + pause_s

    # ---- going on after a restart ----

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
        peer.open = peer.open or {}
        peer.open[sent.token] = sent
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

    # ---- time and acknowledgements ----

    def _schedule_retransmission(self, sent: SentRequest, now: float) -> None:
        deadline = now + sent.timeout_s
        if sent.gives_up_at is not None and sent.retransmissions_left == 0:
            deadline = max(now, sent.gives_up_at)
        sent.tick = self._core.timers.schedule(sent.handle, sent, deadline)

    def handle_timer(self, sent: SentRequest, now: float) -> None:
        """Retransmit, give up, or try the queue again."""
        peer = sent.peer
        if sent.state == "queued":
            if not sent.request.confirmable and peer.asking is not None:
                self._start_next_non(peer, peer.asking, now)
            self._start_next(peer, now)
        elif sent.state == "sent" and sent.retransmissions_left > 0:
            sent.retransmissions_left -= 1
            sent.timeout_s *= 2
            self._core.datagrams.append((sent.datagram, peer.address))
            self._schedule_retransmission(sent, now)
        else:
            self._fail(sent, "timeout", now)

    def receive_empty(self, peer: Peer, message: Message, now: float) -> bool:
        """Take an empty ACK or a RST. False when no request of ours has this message id."""
        sent = self._of_message_id(peer, message.message_id)
        if sent is None:
            return False
        if message.type == RST:
            self._take_reset(sent, now)
        elif sent.request.confirmable:
            self._acknowledge(sent, now)
        return True

    def _take_reset(self, sent: SentRequest, now: float) -> None:
        if self._may_shorten_token(sent):
            self._repeat(sent, now)
        else:
            self._fail(sent, "reset", now)

    def _may_shorten_token(self, sent: SentRequest) -> bool:
        """RFC 8974 §2.2: who does not know extended tokens rejects the message."""
        if not self._core.parameters.falls_back_to_short_tokens:
            return False
        if len(sent.token) <= _SHORT_TOKEN_BYTES or sent.gives_up_at is not None:
            return False
        peer = sent.peer
        peer.asked().has_short_tokens = True
        return True

    def _repeat(self, sent: SentRequest, now: float) -> None:
        """Send the same once more, with a new message id."""
        self._leave_wire(sent, SENT_TRANSITIONS[sent.state]["repetition_asked"])
        self._continue(sent, now)

    @staticmethod
    def _of_message_id(peer: Peer, message_id: int) -> SentRequest | None:
        # NSTART keeps this short: few requests at a time wait for an acknowledgement.
        for sent in (peer.open or {}).values():
            if sent.message_id == message_id and sent.state == "sent":
                return sent
        return None

    def _acknowledge(self, sent: SentRequest, now: float) -> None:
        sent.state = SENT_TRANSITIONS[sent.state]["acknowledgement_received"]
        self._note_round_trip(sent, now)
        self._core.timers.cancel(sent.handle, sent.tick)
        deadline = now + self._core.parameters.response_timeout_s
        sent.tick = self._core.timers.schedule(sent.handle, sent, deadline)
        sent.peer.outstanding -= 1
        self._start_next(sent.peer, now)

    def _note_round_trip(self, sent: SentRequest, now: float) -> None:
        """Measure, for a peer that observes; not when it is unclear which copy was answered."""
        notifying = sent.peer.notifying
        first_copy = sent.retransmissions_left == self._core.parameters.max_retransmit
        if notifying is not None and sent.request.confirmable and first_copy:
            sent_at = sent.tick / TICKS_PER_S - sent.timeout_s
            if sent.tick == 0:
                sent_at = sent.plainly_sent_at
            notifying.round_trip_s = max(1 / TICKS_PER_S, now - sent_at)

    # ---- its end ----

    def _close(self, sent: SentRequest, event: SentEvent, now: float) -> None:
        if sent.state == "queued":
            self._leave_queue(sent)
        if sent.fetch is not None:
            self._drop_fetch(sent, now)
        if sent.blocks is not None:
            answered = event == "response_received"
            note_upload_end(sent, answered=answered, free_at=now + self._core.lifetime_s)
        self._leave_wire(sent, SENT_TRANSITIONS[sent.state][event])
        self._by_handle.pop(sent.handle, None)
        peer = sent.peer
        if peer.waiting:
            self._start_next(peer, now)
        if peer.asking is not None and peer.asking.waiting:
            self._start_next_non(peer, peer.asking, now)

    def _drop_fetch(self, sent: SentRequest, now: float) -> None:
        """Give the later blocks of an earlier notification up, untold."""
        assert sent.fetch is not None
        fetch = self._by_handle[sent.fetch]
        sent.fetch = None
        self._close(fetch, "cancelled", now)

    def _leave_wire(self, sent: SentRequest, next_state: SentState) -> None:
        """The message that is out is done with: no timer, token or place of NSTART any more."""
        peer = sent.peer
        self._core.timers.cancel(sent.handle, sent.tick)
        sent.tick = NEVER
        if peer.open is not None and peer.open.get(sent.token) is sent:
            del peer.open[sent.token]
            if not peer.open:
                peer.open = None
        if sent.state == "sent" and sent.request.confirmable:
            peer.outstanding -= 1
        sent.state = next_state

    def _fail(self, sent: SentRequest, reason: FailureReason, now: float) -> None:
        self._close(sent, _FAILURES[reason], now)
        if sent.on_behalf_of is None:
            self._core.events.append(ExchangeFailed(sent.peer.address, sent.handle, reason))
        else:
            sent.on_behalf_of.fetch = None
            detail = f"the later blocks of a notification: {reason}"
            self._core.reject(sent.peer.address, "malformed", detail)

    def cancel(self, sent: SentRequest, now: float) -> None:
        """Wait no longer; a late answer is then answered by RST."""
        self._fail(sent, "cancelled", now)

    def forget_peer(self, peer: Peer, now: float) -> None:
        """Fail all requests to this peer as cancelled."""
        waiting: list[SentRequest] = [*(peer.waiting or ())]
        if peer.asking is not None:
            waiting += peer.asking.waiting
            peer.asking.waiting.clear()
        peer.waiting = None
        for sent in (*waiting, *(peer.open or {}).values()):
            if sent.state != "ended":
                self._fail(sent, "cancelled", now)


def _request_of(message: Message) -> Request:
    everything = frozenset(number for number, _ in message.options)
    return read_request(message.code, message.options, message.payload, True, everything)
