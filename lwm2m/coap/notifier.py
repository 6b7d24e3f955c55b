"""The server's side of observations: who observes, and what of it may go out when.

RFC 7641 §4: the newest state replaces one that has not arrived, one confirmable notification at a
time goes to a peer (NSTART), others keep to a rate.
"""

from __future__ import annotations

import msgspec

from lwm2m.coap import codes
from lwm2m.coap.blocks import Block
from lwm2m.coap.blockwise_response import Negotiated
from lwm2m.coap.message import NON, RST, Message
from lwm2m.coap.peers import Notifying, Peer
from lwm2m.coap.received_request import ReceivedRequest
from lwm2m.coap.requests import Request, Response, encode_response
from lwm2m.coap.response_sender import ResponseSender
from lwm2m.coap.states import RECEIVED_TRANSITIONS
from lwm2m.coap.timers import TICKS_PER_S
from lwm2m.errors import LwM2mError


class UnknownExchange(LwM2mError, LookupError):
    """Nothing under this handle waits for an answer, or is observed: it was answered or has ended
    already, or its peer is forgotten."""


class Notifier(ResponseSender):
    """Observations of all peers."""

    __slots__ = ()

    # ---- who observes ----

    @staticmethod
    def _asks_to_observe(received: ReceivedRequest, response: Response) -> bool:
        return (
            received.request.observe == 0
            and response.observe is not None
            and codes.is_success(response.code)
        )

    def _has_room_to_observe(self, peer: Peer) -> bool:
        limits = self._core.parameters
        of_peer = len(peer.observations) if peer.observations is not None else 0
        return (
            of_peer < limits.observations_per_peer_max
            and self._core.observations < limits.observations_max
        )

    def _read_observe(self, received: ReceivedRequest, now: float) -> Request:
        """The request as it is admitted, with the observation that its token names ended."""
        peer, request = received.peer, received.request
        # RFC 7641 §4.1: the same token registers anew, or cancels.
        old = (peer.observations or {}).get(received.token)
        if old is not None:
            self._fail(old, "cancelled")
            self._next_waiting(peer, now)
        if request.observe == 0 and not self._has_room_to_observe(peer):
            # RFC 7641 §4.1: who cannot keep one more entry answers as if nobody wanted to observe.
            return msgspec.structs.replace(request, observe=None)
        return request

    def _keep_observation(self, received: ReceivedRequest) -> None:
        peer = received.peer
        if peer.observations is None:
            peer.observations = {}
        peer.observations[received.token] = received
        self._core.observations += 1
        # Of what the request said of blocks, only their size is meant for later notifications.
        negotiated = received.negotiated
        if negotiated is not None:
            block2 = negotiated.block2
            size = None if block2 is None else Block(0, False, block2.szx)
            received.negotiated = None if size is None else Negotiated(None, size, False)

    # ---- what is notified ----

    def notify(self, handle: int, response: Response, confirmable: bool, now: float) -> None:
        """See `CoapEndpoint.notify`."""
        received = self._by_handle.get(handle)
        if received is None or received.state != "observed" or received.is_ending:
            raise UnknownExchange(f"nobody observes under {handle}")
        waits = received.held is not None or received.sent_message_id >= 0
        is_error = not codes.is_success(response.code)
        if is_error:
            # RFC 7641 §4.2: an error says so without Observe, and is the last.
            response = msgspec.structs.replace(response, observe=None)
        if waits or is_error:
            # What cannot be encoded is refused before anything changes.
            encode_response(NON, 0, received.token, response)
        received.is_ending = is_error
        received.held = (response, confirmable)
        # RFC 7641 §4.5.2: while one is on its way, the newest state waits for its end.
        if not waits:
            self._send_held(received, now)

    def _send_held(
        self, received: ReceivedRequest, now: float, *, is_its_turn: bool = False
    ) -> None:
        """Send the newest state, or see to it that it goes as soon as it may."""
        assert received.held is not None
        peer = received.peer
        response, confirmable = received.held
        notifying = peer.notifying
        if notifying is None:
            notifying = peer.notifying = Notifying()
        if not confirmable:
            due = self._due_without_confirmation(notifying, now)
            # RFC 7641 §7: an address that nobody was seen at gets what has to be acknowledged.
            # While no round trip is known, an acknowledgement tells it, and with it the rate.
            confirmable = not self._may_be_flooded(peer) or (
                due > now and notifying.round_trip_s < 0
            )
            if due > now and not confirmable:
                received.tick = self._core.timers.schedule(received.handle, received, due)
                return
        if confirmable and not is_its_turn and not self._is_free(peer, notifying):
            notifying.waiting.append(received)
            return
        received.held = None
        message = self._message_of(received, response, now)
        if confirmable:
            self._begin_to_end(received)
            self._send_confirmable(received, message, now)
        else:
            self._send_without_confirmation(received, message, notifying, now)

    def _is_free(self, peer: Peer, notifying: Notifying) -> bool:
        """Whether a confirmable notification may go now (RFC 7641 §4.5.1: NSTART)."""
        outstanding = len(peer.responding or ())
        return not notifying.waiting and outstanding < self._core.parameters.nstart

    def _may_be_flooded(self, peer: Peer) -> bool:
        core = self._core
        return core.parameters.amplification_factor == 0 or core.reachability.is_validated(peer)

    def _due_without_confirmation(self, notifying: Notifying, now: float) -> float:
        """When the next one may go (RFC 7641 §4.5.1): on average one a round trip."""
        interval_s = self._interval_s(notifying)
        burst = self._core.parameters.non_notification_burst
        # What went out while no round trip was known was reckoned at the longest interval: that
        # debt ends when the round trip is found to be shorter.
        notifying.next_at = min(notifying.next_at, now + interval_s * burst)
        return max(now, notifying.next_at - interval_s * (burst - 1))

    def _interval_s(self, notifying: Notifying) -> float:
        longest_s = self._core.parameters.non_notification_interval_s
        round_trip_s = notifying.round_trip_s
        return longest_s if round_trip_s < 0 else min(round_trip_s, longest_s)

    def _message_of(self, received: ReceivedRequest, response: Response, now: float) -> Response:
        negotiated = received.negotiated
        message = response
        if negotiated is not None or len(response.payload) > self._core.parameters.block_size:
            message = self._blocks.first_block(
                received.peer, received.request, response, negotiated, now
            )
        return self._limit(received, response, message, now)

    def _send_without_confirmation(
        self, received: ReceivedRequest, message: Response, notifying: Notifying, now: float
    ) -> None:
        core, peer = self._core, received.peer
        notifying.next_at = max(now, notifying.next_at) + self._interval_s(notifying)
        message_id = core.peers.take_message_id(peer, now)
        if message_id >= 0:
            received.message_id = message_id
            datagram = encode_response(NON, message_id, received.token, message)
            core.datagrams.append((datagram, peer.address))
        if received.is_ending:
            received.state = RECEIVED_TRANSITIONS[received.state]["final_notification_left"]
            self._forget(received)

    def _begin_to_end(self, received: ReceivedRequest) -> None:
        """What goes out is the last, when it is an error."""
        if received.is_ending:
            received.state = RECEIVED_TRANSITIONS[received.state]["final_notification_sent"]
            self._leave_observations(received)

    # ---- what comes of it ----

    def handle_timer(self, received: ReceivedRequest, now: float) -> None:
        """Send again, give up, or send what was held back."""
        if received.sent_message_id < 0:
            self._send_held(received, now)
        elif received.retransmissions_left == 0:
            self._fail(received, "timeout")
            self._next_waiting(received.peer, now)
        else:
            received.retransmissions_left -= 1
            received.timeout_s *= 2
            if received.held is None:
                self._transmit(received, now)
            else:
                self._send_newest_instead(received, now)

    def _send_newest_instead(self, received: ReceivedRequest, now: float) -> None:
        """RFC 7641 §4.5.2: the newest state goes in place of the retransmission of an older one,
        and by its waits: back-off does not begin anew."""
        assert received.held is not None
        response, _ = received.held
        received.held = None
        timeout_s, left = received.timeout_s, received.retransmissions_left
        message = self._message_of(received, response, now)
        self._stop_sending(received)
        self._begin_to_end(received)
        received.timeout_s, received.retransmissions_left = timeout_s, left
        self._transmit_new(received, message, now)

    def receive_empty(self, peer: Peer, message: Message, now: float) -> bool:
        """Take an empty ACK or a RST. False when no response of ours has this message id."""
        received = (peer.responding or {}).get(message.message_id)
        if received is None:
            return message.type == RST and self._reset_notification(peer, message.message_id)
        if message.type == RST:
            self._fail(received, "reset")
        else:
            self._take_acknowledgement(received, now)
        self._next_waiting(peer, now)
        return True

    def _take_acknowledgement(self, received: ReceivedRequest, now: float) -> None:
        peer = received.peer
        peer.is_validated = True
        first_copy = received.retransmissions_left == self._core.parameters.max_retransmit
        if peer.notifying is not None and first_copy:
            sent_at = received.tick / TICKS_PER_S - received.timeout_s
            peer.notifying.round_trip_s = max(1 / TICKS_PER_S, now - sent_at)
        self._stop_sending(received)
        received.state = RECEIVED_TRANSITIONS[received.state]["response_acknowledged"]
        if received.state == "ended":
            self._forget(received)
        elif received.held is not None:
            self._send_held(received, now)

    def _next_waiting(self, peer: Peer, now: float) -> None:
        """Let the next confirmable notifications go, as far as NSTART allows."""
        waiting = peer.notifying.waiting if peer.notifying is not None else None
        while waiting and len(peer.responding or ()) < self._core.parameters.nstart:
            received = waiting.popleft()
            if received.held is not None:
                self._send_held(received, now, is_its_turn=True)

    def _reset_notification(self, peer: Peer, message_id: int) -> bool:
        for received in (peer.observations or {}).values():
            if received.message_id == message_id:
                self._fail(received, "reset")
                return True
        return False
