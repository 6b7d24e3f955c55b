"""The half of an endpoint that answers: duplicates, block-wise bodies, piggybacked and separate
responses, notifications.

RFC 7252 §4.5 (duplicates), §5.2 (responses), §5.4 (options); RFC 7959 (blocks); RFC 7641 (observe).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.answers import Remembered
from lwm2m.coap.blockwise_response import BlockwiseResponder, Negotiated
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.events import ExchangeFailed, FailureReason, RequestReceived
from lwm2m.coap.message import ACK, CON, NON, RST, Message
from lwm2m.coap.peers import Peer
from lwm2m.coap.redaction import show, shown_fields
from lwm2m.coap.requests import BadOption, Request, Response, encode_response, read_request
from lwm2m.coap.states import RECEIVED_TRANSITIONS, ReceivedEvent, ReceivedState
from lwm2m.errors import LwM2mError

_FAILURES: dict[FailureReason, ReceivedEvent] = {
    "timeout": "timed_out",
    "reset": "reset_received",
    "cancelled": "cancelled",
    "malformed": "cancelled",
}
_PROXY_OPTIONS = frozenset({opt.PROXY_URI, opt.PROXY_SCHEME})


class UnknownExchange(LwM2mError, LookupError):
    """No request waits for an answer under this handle: answered already, or its peer forgotten."""


_HIDDEN = frozenset({"datagram"})


class ReceivedRequest(msgspec.Struct, gc=False, eq=False):
    """A request from its arrival until its response is done with; longer when observed."""

    handle: int
    peer: Peer
    request: Request
    message_id: int
    token: bytes
    entry: Remembered
    state: ReceivedState = "pending"
    tick: int = 0
    negotiated: Negotiated | None = None
    # The separate response, or the notification, that waits for its acknowledgement.
    sent_message_id: int = -1
    datagram: bytes = b""
    timeout_s: float = 0.0
    retransmissions_left: int = 0

    def __repr__(self) -> str:
        return show(self, _HIDDEN)

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]  # a generator
        return shown_fields(self, _HIDDEN)


class Responder:
    """Requests of all peers to us."""

    __slots__ = ("_blocks", "_by_handle", "_core")

    def __init__(self, core: CoreState, blocks: BlockwiseResponder) -> None:
        self._core = core
        self._blocks = blocks
        self._by_handle: dict[int, ReceivedRequest] = {}

    def receive_request(self, peer: Peer, message: Message, now: float) -> None:
        """Take a request that may be a duplicate."""
        core = self._core
        known = core.answers.recall(peer, message.message_id, message.token, now)
        if known is not None:
            if known.answer:
                core.datagrams.append((known.answer, peer.address))
            return
        if peer.pending >= core.parameters.pending_per_peer_max:
            core.reject(peer.address, "busy", f"{peer.pending} requests wait for an answer")
            return
        confirmable = message.type == CON
        lifetime_s = core.lifetime_s if confirmable else core.parameters.non_lifetime_s
        entry = core.answers.remember(
            peer, message.message_id, message.token, now + lifetime_s, now
        )
        if entry is None:
            core.reject(peer.address, "busy", "no memory for one more unanswered request")
            core.peers.release(peer)
            return
        self._read(peer, message, entry, now)

    def _read(self, peer: Peer, message: Message, entry: Remembered, now: float) -> None:
        core = self._core
        confirmable = message.type == CON
        try:
            request = read_request(
                message.code,
                message.options,
                message.payload,
                confirmable,
                core.handled_options,
            )
        except BadOption as error:
            core.reject(peer.address, "bad_option", str(error))
            self._refuse(peer, message, entry, codes.BAD_OPTION)
            return
        received = ReceivedRequest(
            core.take_handle(), peer, request, message.message_id, message.token, entry
        )
        if request.options or len(request.payload) > core.parameters.payload_bytes_max:
            self._receive_special(received, now)
        else:
            self._admit(received, now)

    def _refuse(self, peer: Peer, message: Message, entry: Remembered, code: int) -> None:
        # RFC 7252 §5.4.1: a NON with a critical option that is not understood is rejected.
        if message.type != CON:
            self._core.answers.store(entry, b"")
            return
        datagram = encode_response(ACK, message.message_id, message.token, Response(code))
        self._core.answers.store(entry, datagram)
        self._core.datagrams.append((datagram, peer.address))

    def _receive_special(self, received: ReceivedRequest, now: float) -> None:
        """A request with uncommon options: proxying, blocks, or a body that is too large."""
        request = received.request
        if any(number in _PROXY_OPTIONS for number, _ in request.options):
            self._answer_now(received, Response(codes.PROXYING_NOT_SUPPORTED), now)
            return
        decided = self._blocks.receive(received.peer, request, now)
        if isinstance(decided, Response):
            self._answer_now(received, decided, now)
            return
        received.request, received.negotiated = decided
        self._admit(received, now)

    def _admit(self, received: ReceivedRequest, now: float) -> None:
        core, peer, request = self._core, received.peer, received.request
        if request.observe is not None and peer.observations is not None:
            self._end_observation_of(peer, received.token, now)
        peer.pending += 1
        self._by_handle[received.handle] = received
        if request.confirmable:
            due = now + core.parameters.acknowledgement_delay_s
            received.tick = core.timers.schedule(received.handle, received, due)
        core.events.append(
            RequestReceived(peer.address, received.handle, request, received.message_id)
        )

    def _answer_now(self, received: ReceivedRequest, response: Response, now: float) -> None:
        """Answer without the application: nothing was admitted, nothing has to be undone."""
        confirmable = received.request.confirmable
        message_id = received.message_id
        if not confirmable:
            message_id = self._core.peers.take_message_id(received.peer, now)
            if message_id < 0:
                self._core.answers.store(received.entry, b"")
                return
        type_ = ACK if confirmable else NON
        datagram = encode_response(type_, message_id, received.token, response)
        # A duplicate NON is ignored, its first answer may well have arrived (RFC 7252 §4.5).
        self._core.answers.store(received.entry, datagram if confirmable else b"")
        self._core.datagrams.append((datagram, received.peer.address))

    def respond(self, handle: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        received = self._by_handle.get(handle)
        if received is None or received.state not in ("pending", "deferred"):
            raise UnknownExchange(f"nothing waits for an answer under {handle}")
        request = received.request
        if (
            received.negotiated is not None
            or len(response.payload) > self._core.parameters.block_size
        ):
            response = self._blocks.first_block(
                received.peer, request, response, received.negotiated, now
            )
        if received.state == "deferred":
            self._respond_separately(received, response, now)
            return
        self._answer_now(received, response, now)
        received.peer.pending -= 1
        self._core.timers.cancel(handle, received.tick)
        if self._observes(received, response):
            received.state = RECEIVED_TRANSITIONS["pending"]["observation_accepted"]
            self._keep_observation(received)
        else:
            received.state = RECEIVED_TRANSITIONS["pending"]["answered_at_once"]
            del self._by_handle[handle]

    def _respond_separately(
        self, received: ReceivedRequest, response: Response, now: float
    ) -> None:
        # What cannot be encoded is refused before anything changes.
        encode_response(CON, 0, received.token, response)
        received.peer.pending -= 1
        received.state = RECEIVED_TRANSITIONS[received.state]["answered_separately"]
        if self._observes(received, response):
            received.state = RECEIVED_TRANSITIONS[received.state]["observation_accepted"]
            self._keep_observation(received)
        self._send_confirmable(received, response, now)

    def _send_confirmable(self, received: ReceivedRequest, response: Response, now: float) -> None:
        core, peer = self._core, received.peer
        message_id = core.peers.take_message_id(peer, now)
        if message_id < 0:
            # All ids are under way: more than 265 messages a second for minutes to one peer.
            self._fail(received, "timeout")
            return
        received.sent_message_id = message_id
        received.datagram = encode_response(CON, message_id, received.token, response)
        received.timeout_s = core.first_timeout_s()
        received.retransmissions_left = core.parameters.max_retransmit
        if peer.responding is None:
            peer.responding = {}
        peer.responding[message_id] = received
        self._transmit(received, now)

    def _transmit(self, received: ReceivedRequest, now: float) -> None:
        core = self._core
        core.datagrams.append((received.datagram, received.peer.address))
        due = now + received.timeout_s
        received.tick = core.timers.schedule(received.handle, received, due)

    def handle_timer(self, received: ReceivedRequest, now: float) -> None:
        """Acknowledge a request that is still unanswered, or retransmit a separate response."""
        if received.state == "pending":
            received.state = RECEIVED_TRANSITIONS["pending"]["acknowledgement_due"]
            datagram = self._core.send_empty(received.peer.address, ACK, received.message_id)
            self._core.answers.store(received.entry, datagram)
        elif received.sent_message_id >= 0:
            if received.retransmissions_left == 0:
                self._fail(received, "timeout")
                return
            received.retransmissions_left -= 1
            received.timeout_s *= 2
            self._transmit(received, now)

    def receive_empty(self, peer: Peer, message: Message) -> bool:
        """Take an empty ACK or a RST. False when no response of ours has this message id."""
        received = (peer.responding or {}).get(message.message_id)
        if received is None:
            return message.type == RST and self._reset_notification(peer, message.message_id)
        if message.type == RST:
            self._fail(received, "reset")
            return True
        self._stop_sending(received)
        received.state = RECEIVED_TRANSITIONS[received.state]["response_acknowledged"]
        if received.state == "ended":
            del self._by_handle[received.handle]
        return True

    def _stop_sending(self, received: ReceivedRequest) -> None:
        peer = received.peer
        self._core.timers.cancel(received.handle, received.tick)
        if peer.responding is not None:
            peer.responding.pop(received.sent_message_id, None)
            if not peer.responding:
                peer.responding = None
        received.sent_message_id = -1
        received.datagram = b""

    def _fail(self, received: ReceivedRequest, reason: FailureReason) -> None:
        peer = received.peer
        if received.state in ("pending", "deferred"):
            peer.pending -= 1
        self._stop_sending(received)
        received.state = RECEIVED_TRANSITIONS[received.state][_FAILURES[reason]]
        self._by_handle.pop(received.handle, None)
        if peer.observations is not None and peer.observations.get(received.token) is received:
            del peer.observations[received.token]
            peer.observations = peer.observations or None
        self._core.events.append(ExchangeFailed(peer.address, received.handle, reason))

    def find(self, handle: int) -> ReceivedRequest | None:
        """The request of this handle, while it is unanswered, unacknowledged or observed."""
        return self._by_handle.get(handle)

    def cancel(self, received: ReceivedRequest) -> None:
        """Answer no more, or end an observation."""
        self._fail(received, "cancelled")

    def forget_peer(self, peer: Peer) -> None:
        """Drop all requests of one peer."""
        if not (peer.pending or peer.responding or peer.observations):
            return
        mine = [found for found in self._by_handle.values() if found.peer is peer]
        for received in mine:
            self._fail(received, "cancelled")

    @staticmethod
    def _observes(received: ReceivedRequest, response: Response) -> bool:
        return (
            received.request.observe == 0
            and response.observe is not None
            and codes.is_success(response.code)
        )

    @staticmethod
    def _keep_observation(received: ReceivedRequest) -> None:
        peer = received.peer
        if peer.observations is None:
            peer.observations = {}
        peer.observations[received.token] = received

    def _end_observation_of(self, peer: Peer, token: bytes, now: float) -> None:
        # RFC 7641 §4.1: the same token registers anew, or cancels.
        old = (peer.observations or {}).get(token)
        if old is not None:
            self._fail(old, "cancelled")

    def notify(self, handle: int, response: Response, confirmable: bool, now: float) -> None:
        """See `CoapEndpoint.notify`."""
        received = self._by_handle.get(handle)
        if received is None or received.state != "observed":
            raise UnknownExchange(f"nobody observes under {handle}")
        if len(response.payload) > self._core.parameters.block_size:
            response = self._blocks.first_block(
                received.peer, received.request, response, None, now
            )
        if received.datagram:
            # RFC 7641 §4.5.2: the newer state replaces the one that is not acknowledged yet.
            self._stop_sending(received)
        if confirmable:
            self._send_confirmable(received, response, now)
        else:
            self._send_notification(received, response, now)

    def _send_notification(self, received: ReceivedRequest, response: Response, now: float) -> None:
        message_id = self._core.peers.take_message_id(received.peer, now)
        if message_id < 0:
            return
        received.message_id = message_id
        datagram = encode_response(NON, message_id, received.token, response)
        self._core.datagrams.append((datagram, received.peer.address))

    def _reset_notification(self, peer: Peer, message_id: int) -> bool:
        for received in (peer.observations or {}).values():
            if received.message_id == message_id:
                self._fail(received, "reset")
                return True
        return False
