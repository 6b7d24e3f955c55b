"""The half of an endpoint that answers: duplicates, overload, options, blocks, and the application.

RFC 7252 §4.5 (duplicates), §5.4 (options), §5.8 (methods), §5.9.3.4 (5.03); RFC 7959 (blocks).
"""

from __future__ import annotations

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.answers import Remembered
from lwm2m.coap.events import ExchangeFailed, RequestReceived
from lwm2m.coap.message import ACK, CON, NON, Message
from lwm2m.coap.notifier import Notifier, UnknownExchange
from lwm2m.coap.options import encode_uint
from lwm2m.coap.peers import Peer
from lwm2m.coap.rate_limit import RequestLimiter
from lwm2m.coap.received_request import ReceivedRequest
from lwm2m.coap.requests import (
    BadOption,
    Response,
    encode_response,
    find_option,
    read_request,
)
from lwm2m.coap.states import RECEIVED_TRANSITIONS

__all__ = ["Responder", "UnknownExchange"]

_PROXY_OPTIONS = frozenset({opt.PROXY_URI, opt.PROXY_SCHEME})
# Any token up to here is taken: RFC 7252 §3 knows no longer one.
_SHORT_TOKEN_BYTES = 8


class Responder(Notifier):
    """Requests of all peers to us."""

    __slots__ = ()

    def receive_request(
        self, peer: Peer, message: Message, now: float, datagram_bytes: int
    ) -> None:
        """Take a request that may be a duplicate."""
        core = self._core
        known = core.answers.recall(peer, message.message_id, message.token, now)
        if known is not None:
            if known.answer:
                core.datagrams.append((known.answer, peer.address))
            return
        token_bytes = len(message.token)
        if token_bytes > _SHORT_TOKEN_BYTES and token_bytes > core.parameters.peer_token_bytes_max:
            # RFC 8974 §2.2: it must not be rejected, as if extended tokens were unknown here.
            core.reject(peer.address, "too_large", f"a token of {token_bytes} bytes")
            self._refuse(peer, message, None, Response(codes.BAD_REQUEST), now)
            core.peers.release(peer)
            return
        limiter = core.limiter
        if limiter is not None and self._is_overload(peer, message, limiter, now):
            return
        if peer.pending >= core.parameters.pending_per_peer_max:
            core.reject(peer.address, "busy", f"{peer.pending} requests wait for an answer")
            return
        lifetime_s = core.lifetime_s if message.type == CON else core.parameters.non_lifetime_s
        entry = core.answers.remember(
            peer, message.message_id, message.token, now + lifetime_s, now
        )
        if entry is None:
            core.reject(peer.address, "busy", "no memory for one more unanswered request")
            core.peers.release(peer)
            return
        self._read(peer, message, entry, now, datagram_bytes)

    def _is_overload(
        self, peer: Peer, message: Message, limiter: RequestLimiter, now: float
    ) -> bool:
        """Answer 5.03 when the rate of requests is over its limit."""
        if limiter.admits(peer, now):
            return False
        core = self._core
        told = limiter.note_refusal(peer.address, now)
        refusals = limiter.refusals
        if told is not None:
            core.events.append(told)
        elif refusals.count == 1:
            due = refusals.quiet_until
            refusals.tick = core.timers.schedule(refusals.handle, refusals, due)
        max_age = encode_uint(core.parameters.overload_max_age_s)
        refusal = Response(codes.SERVICE_UNAVAILABLE, options=((opt.MAX_AGE, max_age),))
        # Of an address that may be forged nothing is kept: its copy is a new request.
        entry = None
        if peer.is_busy() or core.reachability.is_validated(peer):
            expires_at = now + core.lifetime_s
            entry = core.answers.remember(peer, message.message_id, message.token, expires_at, now)
        self._refuse(peer, message, entry, refusal, now)
        core.peers.release(peer)
        return True

    def _read(
        self, peer: Peer, message: Message, entry: Remembered, now: float, datagram_bytes: int
    ) -> None:
        core = self._core
        if message.code > codes.IPATCH:
            # RFC 7252 §5.8: a method that is unrecognized or unsupported.
            self._refuse(peer, message, entry, Response(codes.METHOD_NOT_ALLOWED), now)
            return
        confirmable = message.type == CON
        try:
            request = read_request(
                message.code, message.options, message.payload, confirmable, core.handled_options
            )
        except BadOption as error:
            core.reject(peer.address, "bad_option", str(error))
            if confirmable:
                self._refuse(peer, message, entry, Response(codes.BAD_OPTION), now)
            else:
                # RFC 7252 §5.4.1: a NON with a critical option that is not understood is rejected.
                core.answers.store(entry, b"")
            return
        received = ReceivedRequest(
            core.take_handle(), peer, request, message.message_id, message.token, entry,
            datagram_bytes,
        )  # fmt: skip
        if request.options or len(request.payload) > core.parameters.payload_bytes_max:
            self._receive_special(received, now)
        else:
            self._admit(received, now)

    def _refuse(
        self,
        peer: Peer,
        message: Message,
        entry: Remembered | None,
        response: Response,
        now: float,
    ) -> None:
        """Answer a request that was not read."""
        core = self._core
        type_, message_id = ACK, message.message_id
        if message.type != CON:
            type_, message_id = NON, core.peers.take_message_id(peer, now)
        answer = b""
        if message_id >= 0:
            answer = encode_response(type_, message_id, message.token, response)
            core.datagrams.append((answer, peer.address))
        if entry is not None:
            core.answers.store(entry, answer if type_ == ACK else b"")

    def _receive_special(self, received: ReceivedRequest, now: float) -> None:
        """A request with uncommon options: proxying, blocks, Echo, or a body that is too large."""
        core, peer, request = self._core, received.peer, received.request
        if any(number in _PROXY_OPTIONS for number, _ in request.options):
            self._answer_now(received, Response(codes.PROXYING_NOT_SUPPORTED), now)
            return
        if find_option(request.options, opt.ECHO) is not None:
            core.reachability.take_echo(peer, request, now)
        room = core.reachability.room_bytes(peer, received.request_bytes)
        room -= _OVERHEAD_BYTES + len(received.token)
        decided = self._blocks.receive(peer, request, now, room)
        if isinstance(decided, Response):
            self._answer_now(received, decided, now)
            return
        received.request, received.negotiated = decided
        self._admit(received, now)

    def _admit(self, received: ReceivedRequest, now: float) -> None:
        core, peer = self._core, received.peer
        if received.request.observe is not None:
            received.request = self._read_observe(received, now)
        request = received.request
        peer.pending += 1
        self._by_handle[received.handle] = received
        if request.confirmable:
            due = now + core.parameters.acknowledgement_delay_s
            received.tick = core.timers.schedule(received.handle, received, due)
        core.events.append(
            RequestReceived(peer.address, received.handle, request, received.message_id)
        )

    # ---- what the application answers ----

    def respond(self, handle: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        received = self._by_handle.get(handle)
        if received is None or received.state not in ("pending", "deferred"):
            raise UnknownExchange(f"nothing waits for an answer under {handle}")
        message = response
        observes = False
        if response.observe is not None:
            observes = self._asks_to_observe(received, response)
            if not (observes and self._has_room_to_observe(received.peer)):
                message = response = msgspec.structs.replace(response, observe=None)
        if (
            received.negotiated is not None
            or len(response.payload) > self._core.parameters.block_size
        ):
            message = self._blocks.first_block(
                received.peer, received.request, response, received.negotiated, now
            )
        if received.state == "deferred":
            message = self._limit(received, response, message, now)
            self._respond_separately(received, message, now)
        else:
            message = self._answer_now(received, message, now, response)
            self._end_pending(received, message)
        if observes and message.observe is None:
            # It was answered plainly after all: the application is not to notify.
            told = ExchangeFailed(received.peer.address, handle, "cancelled")
            self._core.events.append(told)

    def _end_pending(self, received: ReceivedRequest, message: Response) -> None:
        received.peer.pending -= 1
        self._core.timers.cancel(received.handle, received.tick)
        if message.observe is not None:
            received.state = RECEIVED_TRANSITIONS["pending"]["observation_accepted"]
            self._keep_observation(received)
        else:
            received.state = RECEIVED_TRANSITIONS["pending"]["answered_at_once"]
            del self._by_handle[received.handle]

    def _respond_separately(self, received: ReceivedRequest, message: Response, now: float) -> None:
        # What cannot be encoded is refused before anything changes.
        encode_response(CON, 0, received.token, message)
        received.peer.pending -= 1
        received.state = RECEIVED_TRANSITIONS[received.state]["answered_separately"]
        if message.observe is not None:
            received.state = RECEIVED_TRANSITIONS[received.state]["observation_accepted"]
            self._keep_observation(received)
        self._send_confirmable(received, message, now)

    def handle_timer(self, received: ReceivedRequest, now: float) -> None:
        """Acknowledge a request that is still unanswered, or send something again."""
        if received.state == "pending":
            received.state = RECEIVED_TRANSITIONS["pending"]["acknowledgement_due"]
            datagram = self._core.send_empty(received.peer.address, ACK, received.message_id)
            self._core.answers.store(received.entry, datagram)
        else:
            super().handle_timer(received, now)

    def cancel(self, received: ReceivedRequest, now: float) -> None:
        """Answer no more, or end an observation."""
        peer = received.peer
        self._fail(received, "cancelled")
        self._next_waiting(peer, now)

    def forget_peer(self, peer: Peer) -> None:
        """Drop all requests of one peer."""
        if peer.notifying is not None:
            peer.notifying.waiting.clear()
        if not (peer.pending or peer.responding or peer.observations):
            return
        mine = [found for found in self._by_handle.values() if found.peer is peer]
        for received in mine:
            self._fail(received, "cancelled")


# Header, payload marker, and the options that a block brings along: ETag, Content-Format, Block2.
_OVERHEAD_BYTES = 24
