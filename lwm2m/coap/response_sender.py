"""Gets responses out: in the acknowledgement, by themselves, and again until they are taken.

RFC 7252 §4.2 (retransmission), §5.2 (piggybacked, separate and non-confirmable responses).
"""

from __future__ import annotations

from lwm2m.coap import codes
from lwm2m.coap.blockwise_response import BlockwiseResponder
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.events import ExchangeFailed, FailureReason
from lwm2m.coap.message import ACK, CON, NON
from lwm2m.coap.received_request import ReceivedRequest
from lwm2m.coap.requests import Response, encode_response
from lwm2m.coap.states import RECEIVED_TRANSITIONS, ReceivedEvent
from lwm2m.coap.timers import NEVER

_FAILURES: dict[FailureReason, ReceivedEvent] = {
    "timeout": "timed_out",
    "reset": "reset_received",
    "cancelled": "cancelled",
    "malformed": "cancelled",
}
_SAFE = (codes.GET, codes.FETCH)


class ResponseSender:
    """Responses to requests of all peers."""

    __slots__ = ("_blocks", "_by_handle", "_core", "_floor_bytes")

    def __init__(self, core: CoreState, blocks: BlockwiseResponder) -> None:
        self._core = core
        self._blocks = blocks
        self._by_handle: dict[int, ReceivedRequest] = {}
        # Shorter answers go to whoever asks.
        self._floor_bytes = core.parameters.amplification_floor_bytes

    def find(self, handle: int) -> ReceivedRequest | None:
        """The request of this handle, while it is unanswered, unacknowledged or observed."""
        return self._by_handle.get(handle)

    def _answer_now(
        self,
        received: ReceivedRequest,
        response: Response,
        now: float,
        whole: Response | None = None,
    ) -> Response:
        """Answer by a piggybacked or non-confirmable response; the response that was sent.

        `whole` is what the application answered, which may have to be cut smaller yet.
        """
        core, peer = self._core, received.peer
        type_, message_id = ACK, received.message_id
        if not received.request.confirmable:
            type_, message_id = NON, core.peers.take_message_id(peer, now)
            if message_id < 0:
                core.answers.store(received.entry, b"")
                return response
        datagram = encode_response(type_, message_id, received.token, response)
        if len(datagram) > self._floor_bytes and whole is not None:
            response = self._limit(received, whole, response, now)
            datagram = encode_response(type_, message_id, received.token, response)
        # A duplicate NON is ignored, its first answer may well have arrived (RFC 7252 §4.5).
        core.answers.store(received.entry, datagram if type_ == ACK else b"")
        core.datagrams.append((datagram, peer.address))
        return response

    def _send_confirmable(self, received: ReceivedRequest, response: Response, now: float) -> None:
        core = self._core
        received.timeout_s = core.first_timeout_s()
        received.retransmissions_left = core.parameters.max_retransmit
        self._transmit_new(received, response, now)

    def _transmit_new(self, received: ReceivedRequest, response: Response, now: float) -> None:
        """Send a confirmable message under a new message id, by the waits that are set."""
        peer = received.peer
        message_id = self._core.peers.take_message_id(peer, now)
        if message_id < 0:
            # All ids are under way: more than 265 messages a second for minutes to one peer.
            self._fail(received, "timeout")
            return
        received.datagram = encode_response(CON, message_id, received.token, response)
        received.sent_message_id = message_id
        if peer.responding is None:
            peer.responding = {}
        peer.responding[message_id] = received
        self._transmit(received, now)

    def _transmit(self, received: ReceivedRequest, now: float) -> None:
        core = self._core
        core.datagrams.append((received.datagram, received.peer.address))
        due = now + received.timeout_s
        received.tick = core.timers.schedule(received.handle, received, due)

    def _stop_sending(self, received: ReceivedRequest) -> None:
        peer = received.peer
        self._core.timers.cancel(received.handle, received.tick)
        received.tick = NEVER
        if peer.responding is not None:
            peer.responding.pop(received.sent_message_id, None)
            if not peer.responding:
                peer.responding = None
        received.sent_message_id = -1
        received.datagram = b""

    def _fail(self, received: ReceivedRequest, reason: FailureReason) -> None:
        """End it, and tell so."""
        peer = received.peer
        if received.state in ("pending", "deferred"):
            peer.pending -= 1
        self._stop_sending(received)
        received.state = RECEIVED_TRANSITIONS[received.state][_FAILURES[reason]]
        self._forget(received)
        self._core.events.append(ExchangeFailed(peer.address, received.handle, reason))

    def _forget(self, received: ReceivedRequest) -> None:
        """It has ended: whatever was kept of it goes."""
        self._by_handle.pop(received.handle, None)
        received.held = None
        self._leave_observations(received)
        self._core.peers.release(received.peer)

    def _leave_observations(self, received: ReceivedRequest) -> None:
        peer = received.peer
        if peer.observations is not None and peer.observations.get(received.token) is received:
            del peer.observations[received.token]
            peer.observations = peer.observations or None
            self._core.observations -= 1

    # ---- answers to addresses that may be forged ----

    def _limit(
        self, received: ReceivedRequest, whole: Response, response: Response, now: float
    ) -> Response:
        """What to send in place of a response that may be too long for an address that has not
        been validated; the response itself when it is not. `whole` is uncut."""
        core, peer = self._core, received.peer
        room = core.reachability.room_bytes(peer, received.request_bytes)
        if self._fits(received, response, room):
            return response
        wants_echo = core.parameters.amplification_answer == "echo"
        if wants_echo and received.request.code in _SAFE:
            return core.reachability.challenge(peer.address, now)
        for payload_bytes in _less_and_less(room):
            response = self._blocks.first_block(
                peer, received.request, whole, received.negotiated, now, payload_bytes
            )
            if self._fits(received, response, room):
                return response
        # Not the body, then, is what makes it long.
        return Response(whole.code)

    @staticmethod
    def _fits(received: ReceivedRequest, response: Response, room_bytes: int) -> bool:
        # Types and message ids are all of one length.
        return len(encode_response(CON, 0, received.token, response)) <= room_bytes


def _less_and_less(room_bytes: int) -> list[int]:
    return [size for size in (1024, 512, 256, 128, 64, 32, 16) if size <= room_bytes]
