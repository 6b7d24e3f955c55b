"""The half of an endpoint that answers: duplicates, overload, options, blocks, and the application.

RFC 7252 §4.5 (duplicates), §5.4 (options), §5.8 (methods), §5.9.3.4 (5.03); RFC 7959 (blocks).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from itertools import repeat

import msgspec

from lwm2m.coap import codes
from lwm2m.coap import options as opt
from lwm2m.coap.answers import Remembered
from lwm2m.coap.blockwise_response import BlockwiseResponder, Negotiated
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.events import ExchangeFailed, RequestReceived
from lwm2m.coap.known_requests import (
    Upload,
    names_a_device_place,
    read_known_request,
    rest_of_answer,
)
from lwm2m.coap.message import ACK, CON, HEADER_BYTES, NON, Message, encode_header
from lwm2m.coap.notifier import Notifier, UnknownExchange
from lwm2m.coap.options import encode_uint
from lwm2m.coap.peers import Peer
from lwm2m.coap.plain import ACK_HEAD, CON_HEAD, read_plain_request
from lwm2m.coap.rate_limit import RequestLimiter
from lwm2m.coap.received_request import ReceivedRequest
from lwm2m.coap.requests import (
    BadOption,
    Request,
    Response,
    encode_response,
    find_option,
    read_request,
)
from lwm2m.coap.states import RECEIVED_TRANSITIONS

__all__ = ["Responder", "UnknownExchange"]

_PROXY_OPTIONS = frozenset({opt.PROXY_URI, opt.PROXY_SCHEME})
_IS_ANSWERED = RECEIVED_TRANSITIONS["pending"]["answered_at_once"]
# Any token up to here is taken: RFC 7252 §3 knows no longer one.
_SHORT_TOKEN_BYTES = 8
# Where the token of a confirmable message ends, less its first byte.
_TOKEN_ENDS_BEFORE = CON_HEAD - HEADER_BYTES
_MESSAGE_ID_AT = 2
# What makes the first byte of a confirmable message that of its acknowledgement.
_ACK_OF_CON = ACK_HEAD ^ CON_HEAD


class Responder(Notifier):
    """Requests of all peers to us."""

    __slots__ = (
        "_acknowledgement_delay_s", "_block_size", "_has_room", "_keep_answer",
        "_lifetime_s", "_payload_bytes_max", "_peers_by_address", "_pending_max", "_unacknowledged",
    )  # fmt: skip

    def __init__(self, core: CoreState, blocks: BlockwiseResponder) -> None:
        super().__init__(core, blocks)
        self._peers_by_address = core.peers.by_address
        self._lifetime_s = core.lifetime_s
        self._has_room, self._keep_answer = core.answers.has_room, core.answers.keep
        self._block_size = core.parameters.block_size
        self._payload_bytes_max = core.parameters.payload_bytes_max
        self._pending_max = core.parameters.pending_per_peer_max
        self._acknowledgement_delay_s = core.parameters.acknowledgement_delay_s
        # When each confirmable request is to be acknowledged if it is not answered before. All wait
        # equally long: a queue in order of time, in which answered ones stay until they are first.
        self._unacknowledged: deque[tuple[float, ReceivedRequest]] = deque()

    def receive_plain(self, data: bytes, address: Hashable, now: float) -> bool:
        """The short way of a plain confirmable request, heard for the first time, under no load.

        `data` has four bytes or more. False, and nothing is changed, when it has to go the general
        way: `receive_request`.
        """
        core = self._core
        upload: Upload | None = None
        if names_a_device_place(data):
            known = read_known_request(data)
            if known is None:
                return False
            message_id, token, request, upload = known
        else:
            read = read_plain_request(data)
            if read is None:
                return False
            message_id, token, request = read
        if core.limiter is not None or len(data) > self._payload_bytes_max:
            return False
        peer = core.peers.by_address.get(address) or core.peers.get(address, now)
        answers = core.answers
        if peer.pending >= self._pending_max or (
            peer.recent is not None and answers.recall(peer, message_id, token, now) is not None
        ):
            return False
        entry = answers.remember(peer, message_id, token, now + core.lifetime_s, now)
        if entry is None:
            return False
        handle = core.next_handle
        core.next_handle = handle + 1
        received = ReceivedRequest(handle, peer, request, message_id, token, entry, len(data))
        if upload is not None and not self._take_block(received, upload, now):
            return True
        peer.pending += 1
        self._by_handle[handle] = received
        self._unacknowledged.append((now + self._acknowledgement_delay_s, received))
        core.events.append(RequestReceived(peer.address, handle, received.request, message_id))
        return True

    def _take_block(self, received: ReceivedRequest, upload: Upload, now: float) -> bool:
        """The short way of one block of a body; whether that is whole now, else it is answered."""
        core, peer, part = self._core, received.peer, received.request
        block, key, announced = upload
        taken = self._blocks.take_block(peer, key, block, announced, part.payload, now)
        if isinstance(taken, Response):
            datagram = _acknowledgement(received, taken.code, rest_of_answer(taken, None))
            core.answers.store(received.entry, datagram)
            core.datagrams.append((datagram, peer.address))
            return False
        received.request = Request(
            part.code, part.path, part.query, part.content_format, part.accept, None, taken
        )
        received.negotiated = Negotiated(block, None, wants_size=False)
        return True

    def take_request(self, data: bytes, address: Hashable, now: float) -> Peer | None:
        """See `CoapEndpoint.take_request`."""
        core = self._core
        core.now = now
        peer = self._peers_by_address.get(address)
        if peer is None:
            peer = self._peers_by_address[address] = Peer(address, now)
        elif not self._is_unheard(peer, data, now):
            return None
        if self._has_room(peer, now):
            return peer
        self._refuse_for_room(peer)
        return None

    def _is_unheard(self, peer: Peer, data: bytes, now: float) -> bool:
        """Whether a request is no copy, which is answered again, and its peer may have one more."""
        recent = peer.recent
        if recent is not None:
            message_id = data[2] << 8 | data[3]
            if (
                message_id in recent
                if isinstance(recent, dict)
                else message_id == recent.message_id
            ):
                token = data[4 : data[0] - _TOKEN_ENDS_BEFORE]
                known = self._core.answers.recall(peer, message_id, token, now)
                if known is not None:
                    self._answer_again(known)
                    return False
        return not (peer.pending and self._is_busy(peer))

    def answer_request(self, peer: Peer, data: bytes, code: int, rest: bytes) -> None:
        """See `CoapEndpoint.answer_request`."""
        core, head = self._core, data[0]
        # Message id and token are the request's.
        of_request = data[_MESSAGE_ID_AT : head - _TOKEN_ENDS_BEFORE]
        datagram = bytes((head | _ACK_OF_CON, code)) + of_request + rest
        self._keep_answer(peer, data[2] << 8 | data[3], datagram, core.now + self._lifetime_s)
        core.datagrams.append((datagram, peer.address))

    def has_room_for(self, count: int, now: float) -> bool:
        """See `CoapEndpoint.has_room_for`."""
        return self._core.answers.has_room_for(count, now)

    def answer_first_requests(
        self,
        addresses: Sequence[Hashable],
        requests: Sequence[bytes],
        code: int,
        rests: Sequence[bytes],
        now: float,
    ) -> None:
        """See `CoapEndpoint.answer_first_requests`."""
        core = self._core
        core.now = now
        peers = list(map(Peer, addresses, repeat(now)))
        self._peers_by_address.update(zip(addresses, peers, strict=True))
        datagrams = [
            bytes((data[0] | _ACK_OF_CON, code))
            + data[_MESSAGE_ID_AT : data[0] - _TOKEN_ENDS_BEFORE]
            + rest
            for data, rest in zip(requests, rests, strict=True)
        ]
        message_ids = [data[2] << 8 | data[3] for data in requests]
        core.answers.keep_first(peers, message_ids, datagrams, now + self._lifetime_s)
        core.datagrams += zip(datagrams, addresses, strict=True)

    def receive_request(
        self, peer: Peer, message: Message, now: float, datagram_bytes: int
    ) -> None:
        """Take a request that may be a duplicate."""
        core = self._core
        known = core.answers.recall(peer, message.message_id, message.token, now)
        if known is not None:
            self._answer_again(known)
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
        if self._is_busy(peer):
            return
        lifetime_s = core.lifetime_s if message.type == CON else core.parameters.non_lifetime_s
        entry = core.answers.remember(
            peer, message.message_id, message.token, now + lifetime_s, now
        )
        if entry is None:
            self._refuse_for_room(peer)
            return
        self._read(peer, message, entry, now, datagram_bytes)

    def _answer_again(self, known: Remembered) -> None:
        """A copy came of what is remembered; one that is not answered yet is left alone."""
        if known.answer:
            self._core.datagrams.append((known.answer, known.peer.address))

    def _is_busy(self, peer: Peer) -> bool:
        """Whether a peer has too many requests open; that is told."""
        if peer.pending < self._pending_max:
            return False
        self._core.reject(peer.address, "busy", f"{peer.pending} requests wait for an answer")
        return True

    def _refuse_for_room(self, peer: Peer) -> None:
        core = self._core
        core.reject(peer.address, "busy", "no memory for one more unanswered request")
        core.peers.release(peer)

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
        if received.request.observe is not None:
            received.request = self._read_observe(received, now)
        peer, request, handle = received.peer, received.request, received.handle
        peer.pending += 1
        self._by_handle[handle] = received
        if request.confirmable:
            self._unacknowledged.append((now + self._acknowledgement_delay_s, received))
        told = RequestReceived(peer.address, handle, request, received.message_id)
        self._core.events.append(told)

    # ---- what the application answers ----

    def respond(self, handle: int, response: Response, now: float) -> None:
        """See `CoapEndpoint.respond`."""
        received = self._by_handle.get(handle)
        if received is None or received.state not in ("pending", "deferred"):
            raise UnknownExchange(f"nothing waits for an answer under {handle}")
        if (
            received.state == "pending"
            and received.negotiated is None
            and response.observe is None
            and len(response.payload) <= self._block_size
            and received.request.confirmable
        ):
            datagram = encode_response(ACK, received.message_id, received.token, response)
            if len(datagram) <= self._floor_bytes:
                self._answer_plainly(received, datagram)
                return
        if received.state == "pending" and _confirms_an_upload(received, response):
            # As that of thousands of other devices, but for token and message id.
            rest = rest_of_answer(response, received.negotiated)
            datagram = _acknowledgement(received, response.code, rest)
            if len(datagram) <= self._floor_bytes:
                self._answer_plainly(received, datagram)
                return
        message = response
        observes = False
        if response.observe is not None:
            observes = self._asks_to_observe(received, response)
            if not (observes and self._has_room_to_observe(received.peer)):
                message = response = msgspec.structs.replace(response, observe=None)
        if received.negotiated is not None or len(response.payload) > self._block_size:
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

    def _answer_plainly(self, received: ReceivedRequest, datagram: bytes) -> None:
        """The short way of a response that is whole, short, and in the acknowledgement."""
        core, peer = self._core, received.peer
        core.answers.store(received.entry, datagram)
        core.datagrams.append((datagram, peer.address))
        peer.pending -= 1
        received.state = _IS_ANSWERED
        del self._by_handle[received.handle]

    def _end_pending(self, received: ReceivedRequest, message: Response) -> None:
        received.peer.pending -= 1
        if message.observe is not None:
            received.state = RECEIVED_TRANSITIONS["pending"]["observation_accepted"]
            self._keep_observation(received)
        else:
            received.state = _IS_ANSWERED
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

    def next_acknowledgement(self) -> float | None:
        """When the next request that is still unanswered is to be acknowledged."""
        waiting = self._unacknowledged
        while waiting and waiting[0][1].state != "pending":
            waiting.popleft()
        return waiting[0][0] if waiting else None

    def acknowledge_due(self, now: float) -> None:
        """Acknowledge the requests that are still unanswered after their time."""
        while (due := self.next_acknowledgement()) is not None and due <= now:
            _, received = self._unacknowledged.popleft()
            received.state = RECEIVED_TRANSITIONS["pending"]["acknowledgement_due"]
            datagram = self._core.send_empty(received.peer.address, ACK, received.message_id)
            self._core.answers.store(received.entry, datagram)

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


def _confirms_an_upload(received: ReceivedRequest, response: Response) -> bool:
    """Whether a response to the last block of a body says nothing uncommon and has no payload."""
    negotiated = received.negotiated
    return (
        negotiated is not None
        and negotiated.block2 is None
        and not negotiated.wants_size
        and not response.payload
        and response.observe is None
        and received.request.confirmable
    )


def _acknowledgement(received: ReceivedRequest, code: int, rest: bytes) -> bytes:
    """The answer to a confirmable request; `rest` is what follows the token."""
    return encode_header(ACK, code, received.message_id, received.token) + rest


# Header, payload marker, and the options that a block brings along: ETag, Content-Format, Block2.
_OVERHEAD_BYTES = 24
