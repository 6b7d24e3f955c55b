"""One CoAP endpoint towards any number of peers, as a pure state machine.

Datagrams and times go in, datagrams and events come out. It knows no sockets and no clock: `now` is
seconds of any monotonic clock, always the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from lwm2m.coap.blockwise_response import BlockwiseResponder
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.events import Event, RejectionReason
from lwm2m.coap.message import (
    ACK,
    CON,
    HEADER_BYTES,
    NON,
    RST,
    MalformedMessage,
    Message,
    decode_message,
)
from lwm2m.coap.options import OBSERVE
from lwm2m.coap.parameters import TransmissionParameters
from lwm2m.coap.peers import Peer
from lwm2m.coap.plain import ACK_HEAD, CON_HEAD
from lwm2m.coap.rate_limit import Refusals
from lwm2m.coap.received_request import ReceivedRequest
from lwm2m.coap.requester import Requester
from lwm2m.coap.requests import Request, Response, find_option
from lwm2m.coap.responder import Responder, UnknownExchange
from lwm2m.coap.sent_request import SentRequest
from lwm2m.coap.timers import TICKS_PER_S

_SWEEP_INTERVAL_S = 1.0
_SWEEP_AT_MOST = 2_000


class CoapEndpoint:
    """Exchanges with many peers; a peer is any hashable address.

    Each peer has its own message ids, tokens, memory of duplicates and NSTART queue, made when it
    first matters and dropped when nothing of it is left for EXCHANGE_LIFETIME.
    """

    __slots__ = ("_blocks", "_core", "_requester", "_responder", "_sweep_at")

    def __init__(self, parameters: TransmissionParameters, draw: Callable[[int], bytes]) -> None:
        """`draw(n)` gives n random bytes: for tokens, first message ids and back-off."""
        self._core = CoreState(parameters, draw)
        self._blocks = BlockwiseResponder(self._core)
        self._requester = Requester(self._core)
        self._responder = Responder(self._core, self._blocks)
        self._sweep_at = 0.0

    def receive_datagram(self, data: bytes, peer: Hashable, now: float) -> None:
        """Take one datagram that came from `peer`. Never raises, whatever the bytes."""
        self.receive_datagrams(((data, peer),), now)

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]], now: float) -> None:
        """Take datagrams that came, each with its peer, in order. Never raises."""
        self._core.now = now
        take_request, take_response = self._responder.receive_plain, self._requester.receive_plain
        for data, peer in datagrams:
            if len(data) >= HEADER_BYTES:
                # What nearly all datagrams are goes a shorter way to the same end.
                head = data[0] & 0xF0
                if head == ACK_HEAD:
                    if take_response(data, peer, now):
                        continue
                elif head == CON_HEAD and take_request(data, peer, now):
                    continue
            self._receive_message(data, peer, now)

    def _receive_message(self, data: bytes, peer: Hashable, now: float) -> None:
        try:
            message = decode_message(data)
        except MalformedMessage as error:
            self._reject_malformed(peer, error)
            return
        code = message.code
        if 0 < code < 0x20:
            known = self._core.peers.get(peer, now)
            self._responder.receive_request(known, message, now, len(data))
        elif code:
            self._receive_response(peer, message, now)
        else:
            self._receive_empty(peer, message, now)

    @property
    def admits_all(self) -> bool:
        """Whether no limit of rates is set for requests: `take_request` knows of none."""
        return self._core.limiter is None

    @property
    def take_request(self) -> Callable[[bytes, Hashable, float], Peer | None]:
        """`take_request(data, peer, now)`: who sends a confirmable request that its user has read
        himself, and answers by `answer_request` before anything else: for what comes by the
        thousand and always looks the same.

        `data` has a whole header and token of at most 8 bytes, and no option that this core acts
        on. None: it is a copy, which was answered again from memory, or there is no room for it;
        nothing more is to be done then. What its user does not answer is to be received after all.
        """
        return self._responder.take_request

    @property
    def answer_request(self) -> Callable[[Peer, bytes, int, bytes], None]:
        """`answer_request(taken, data, code, rest)`: answer request `data`, of which `take_request`
        gave `taken`, in the acknowledgement; `rest` is what follows the token: encoded options and
        payload."""
        return self._responder.answer_request

    def knows(self, peer: Hashable) -> bool:
        """Whether anything is kept of a peer."""
        return peer in self._core.peers.by_address

    def has_room_for(self, count: int, now: float) -> bool:
        """Whether `answer_first_requests` may follow at once for so many."""
        return self._responder.has_room_for(count, now)

    def answer_first_requests(
        self,
        peers: Sequence[Hashable],
        requests: Sequence[bytes],
        code: int,
        rests: Sequence[bytes],
        now: float,
    ) -> None:
        """Take and answer, as `take_request` and `answer_request` do, the request of each of these
        peers, of none of which anything is kept, and each of which is there once."""
        self._responder.answer_first_requests(peers, requests, code, rests, now)

    @property
    def send_request(self) -> Callable[[Hashable, Request, float], int]:
        """`send_request(peer, request, now)`: send a request; its end is told as `ResponseReceived`
        or `ExchangeFailed`.

        Returns the exchange's handle. Raises `PeerQueueFull` when too many wait for NSTART
        (RFC 7252 §4.7), `ValueError` for a request that cannot be encoded.
        """
        return self._requester.send

    def respond(self, exchange: int, response: Response, now: float) -> None:
        """Answer a `RequestReceived`: in the acknowledgement, or separately when that is out.

        A body over the block size goes by Block2. Raises `UnknownExchange`.
        """
        self._responder.respond(exchange, response, now)

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = False
    ) -> None:
        """Send a notification to who observes by `exchange`: a request with observe 0 that was
        answered with an observe number. `ExchangeFailed` tells when the peer ends it.

        An error code ends the observation (RFC 7641 §4.2). Of what cannot go at once, since an
        earlier one is not acknowledged or the rate is too high, the newest state goes as soon as it
        may. Raises `UnknownExchange`.
        """
        self._responder.notify(exchange, response, confirmable, now)

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """Give an exchange or an observation up; told as `ExchangeFailed` "cancelled".

        Nothing happens when it has ended already.
        """
        sent = self._requester.find(exchange)
        if sent is not None:
            self._requester.cancel(sent, self._latest(now))
            return
        received = self._responder.find(exchange)
        if received is not None:
            self._responder.cancel(received, self._latest(now))

    def end_observation(self, exchange: int, now: float) -> int:
        """Cancel an observation that we began, actively (RFC 7641 §3.6): the request goes again
        with Observe 1, under the same token.

        The old exchange ends untold; the answer is told under the handle that is returned. Raises
        `UnknownExchange` when nothing is observed under `exchange`, `PeerQueueFull` as
        `send_request` does: the observation then goes on.
        """
        self._core.now = now
        sent = self._requester.find(exchange)
        if sent is None or sent.state != "observing":
            raise UnknownExchange(f"nothing is observed under {exchange}")
        return self._requester.end_observation(sent, now)

    def handle_option(self, number: int) -> None:
        """From now on, let a critical option through: as if it had been one of
        `TransmissionParameters.critical_options`."""
        self._core.handled_options |= {number}

    def validate_peer(self, peer: Hashable) -> None:
        """Note that a peer is where its address says, such as by a handshake: answers to it are not
        limited any more, until `forget_peer`.

        It is noted by itself when it answers what it was sent, or returns an Echo value.
        """
        self._core.peers.validate(peer)

    def echo_challenge(self, peer: Hashable, now: float) -> Response:
        """4.01 with an Echo value, the answer to a request that has to be fresh (RFC 9175 §2.3)."""
        return self._core.reachability.challenge(peer, now)

    def echo_age_s(self, peer: Hashable, request: Request, now: float) -> float | None:
        """How old a request is at most: the time since its Echo value was given to this peer.

        None when it has none that this endpoint gave.
        """
        return self._core.reachability.echo_age_s(peer, request, now)

    def resume_exchange(
        self, peer: Hashable, datagram: bytes, first_sent_at: float, now: float
    ) -> int:
        """Go on with a confirmable request that an earlier incarnation sent.

        The same bytes go out again, at once and until MAX_TRANSMIT_SPAN after `first_sent_at` (on
        the clock of `now`), so that the peer takes them as a duplicate; an answer is awaited until
        MAX_TRANSMIT_WAIT. Returns a new handle. Raises `ValueError` when the bytes are no
        confirmable request or its token is in use.
        """
        return self._requester.resume(peer, datagram, first_sent_at, now)

    def reserve_message_ids(self, peer: Hashable, after: int, now: float | None = None) -> None:
        """Continue this peer's message ids after `after`, which an earlier incarnation used."""
        at = self._latest(now)
        peers = self._core.peers
        peers.reserve_message_ids(peers.get(peer, at), after, at)

    def datagram_of(self, exchange: int) -> bytes | None:
        """The bytes of an open request, for `resume_exchange`.

        None while it waits in the queue, when it is block-wise, and when it has ended.
        """
        sent = self._requester.find(exchange)
        return sent.first_datagram if sent is not None else None

    def message_id_of(self, exchange: int) -> int | None:
        """The message id of the message of this request that is out; None while it waits."""
        sent = self._requester.find(exchange)
        return sent.message_id if sent is not None and sent.message_id >= 0 else None

    def ping(self, peer: Hashable, now: float) -> None:
        """Send an empty CON (RFC 7252 §4.3); the RST it provokes is told as `DatagramRejected`
        "reset"."""
        message_id = self._core.peers.take_message_id(self._core.peers.get(peer, now), now)
        if message_id >= 0:
            self._core.send_empty(peer, CON, message_id)

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        core = self._core
        found, core.events = core.events, []
        return found

    def datagrams_to_send(self) -> list[tuple[bytes, Hashable]]:
        """What is to be sent since the last call, in order, as (bytes, peer)."""
        core = self._core
        found, core.datagrams = core.datagrams, []
        return found

    def next_timer(self) -> float | None:
        """When `handle_timer` has to be called, in seconds of the clock of `now`."""
        first = self._core.timers.next_deadline()
        responder, requester = self._responder, self._requester
        for due in (
            responder.next_acknowledgement(), requester.next_overdue(), self._next_sweep(),
        ):  # fmt: skip
            if due is not None and (first is None or due < first):
                first = due
        return first

    def handle_timer(self, now: float) -> None:
        """Do what is due: retransmit, acknowledge, give up, forget."""
        self._core.now = now
        self._responder.acknowledge_due(now)
        self._requester.time_overdue(now)
        for timed in self._core.timers.take_due(now):
            if timed.tick > now * TICKS_PER_S:
                continue  # what was due before it in this turn has set it anew
            if isinstance(timed, SentRequest):
                self._requester.handle_timer(timed, now)
            elif isinstance(timed, ReceivedRequest):
                self._responder.handle_timer(timed, now)
            elif isinstance(timed, Refusals):
                self._tell_refusals(now)
            else:
                self._blocks.transfers.drop(timed)
        sweep = self._next_sweep()
        if sweep is not None and sweep <= now:
            self._core.answers.expire(now, _SWEEP_AT_MOST)
            self._core.peers.drop_idle(now, _SWEEP_AT_MOST)
            self._sweep_at = now + _SWEEP_INTERVAL_S

    def _tell_refusals(self, now: float) -> None:
        limiter = self._core.limiter
        told = limiter.tell(now) if limiter is not None else None
        if told is not None:
            self._core.events.append(told)

    def forget_peer(self, peer: Hashable, now: float | None = None) -> None:
        """Drop all that is known of a peer; its open exchanges fail as "cancelled".

        Its message ids start anew then: call it only for a peer that is gone.
        """
        found = self._core.peers.by_address.get(peer)
        if found is None:
            self._core.peers.forget(peer)
            return
        self._requester.forget_peer(found, self._latest(now))
        self._responder.forget_peer(found)
        self._blocks.transfers.forget_peer(found)
        self._core.answers.forget_peer(found)
        self._core.peers.forget(peer)

    @property
    def peers_known(self) -> int:
        """How many peers have state; for tests and for watching memory."""
        return len(self._core.peers.by_address)

    @property
    def messages_remembered(self) -> int:
        """How many messages are kept to recognise duplicates."""
        return len(self._core.answers)

    @property
    def resets_withheld(self) -> int:
        """How many messages that cannot be processed were ignored, being over the limit of Resets;
        each was told as `DatagramRejected` unless it was a ping."""
        return self._core.resets.withheld

    def _latest(self, now: float | None) -> float:
        return self._core.now if now is None else now

    def _next_sweep(self) -> float | None:
        core = self._core
        expiry, check = core.answers.next_expiry(), core.peers.next_check()
        if expiry is None:
            return None if check is None else max(check, self._sweep_at)
        first = expiry if check is None else min(expiry, check)
        return max(first, self._sweep_at)

    def _reject_malformed(self, peer: Hashable, error: MalformedMessage) -> None:
        self._core.reject(peer, "malformed", str(error))
        # RFC 7252 §4.2: a CON that cannot be processed is rejected by RST; §4.3: others silently.
        if error.type == CON:
            self._core.send_reset(peer, error.message_id)

    def _receive_empty(self, peer: Hashable, message: Message, now: float) -> None:
        if message.type == CON:
            self._core.send_reset(peer, message.message_id)
            return
        known = self._core.peers.by_address.get(peer)
        if known is not None and (
            self._requester.receive_empty(known, message, now)
            or self._responder.receive_empty(known, message, now)
        ):
            return
        reason: RejectionReason = "unexpected" if message.type == ACK else "reset"
        kind = "an ACK" if message.type == ACK else "a RST"
        self._core.reject(peer, reason, f"{kind} of {message.message_id}, which is not open")

    def _receive_response(self, peer: Hashable, message: Message, now: float) -> None:
        known = self._core.peers.by_address.get(peer)
        separate = message.type != ACK
        if separate and known is not None and self._answer_duplicate(known, message, now):
            return
        reception = self._requester.receive_response(known, message, now)
        if reception == "unknown":
            self._reject_response(peer, message)
        elif message.type == CON:
            self._confirm_response(peer, message, reception == "taken", now)

    def _answer_duplicate(self, peer: Peer, message: Message, now: float) -> bool:
        found = self._core.answers.recall(peer, message.message_id, message.token, now)
        if found is None:
            return False
        if found.answer:
            self._core.datagrams.append((found.answer, peer.address))
        return True

    def _confirm_response(self, peer: Hashable, message: Message, taken: bool, now: float) -> None:
        core = self._core
        answer = core.send_empty(peer, ACK if taken else RST, message.message_id)
        expires_at = now + core.lifetime_s
        known = core.peers.get(peer, now)
        entry = core.answers.remember(known, message.message_id, message.token, expires_at, now)
        if entry is not None:
            core.answers.store(entry, answer)

    def _reject_response(self, peer: Hashable, message: Message) -> None:
        detail = f"a response to nothing that this peer was asked ({message.message_id})"
        self._core.reject(peer, "unexpected", detail)
        # RFC 7252 §4.2, and RFC 7641 §3.6: a RST also ends an observation that is forgotten here.
        observed = message.type == NON and find_option(message.options, OBSERVE) is not None
        if message.type == CON or observed:
            self._core.send_reset(peer, message.message_id)
