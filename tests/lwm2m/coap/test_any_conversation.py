"""Whatever a peer says, an endpoint never raises, and is empty again when all is over."""

from __future__ import annotations

import random

import pytest

from harness.testing import seeded_draw
from lwm2m.coap import (
    ACK,
    CON,
    NON,
    RST,
    CoapEndpoint,
    Message,
    PeerQueueFull,
    Request,
    RequestReceived,
    Response,
    TransmissionParameters,
    codes,
    decode_message,
    encode_message,
    options,
)

_PARAMETERS = TransmissionParameters(
    block_size=64,
    payload_bytes_max=400,
    transfers_per_peer_max=2,
    queue_per_peer_max=4,
    pending_per_peer_max=4,
    remembered_per_peer_max=6,
    remembered_max=20,
    token_bytes=9,
    observations_per_peer_max=2,
    peer_token_bytes_max=20,
    non_notification_burst=1,
    requests_per_peer_per_s=2.0,
    requests_per_peer_burst=10,
    peers_max=2,
)
_OPTIONS = (
    (options.OBSERVE, (b"", b"\x01", b"\x05\x05")),
    (9, (b"",)),
    (options.URI_PATH, (b"a", b"b", b"\xff")),
    (options.CONTENT_FORMAT, (b"", b"\x28")),
    (options.BLOCK2, (b"", b"\x02", b"\x0a", b"\x12", b"\x1a", b"\x07")),
    (options.BLOCK1, (b"\x02", b"\x0a", b"\x12", b"\x1a", b"\x08", b"\x0f")),
    (options.SIZE1, (b"\x20", b"\xff\xff")),
    (options.SIZE2, (b"", b"\xff\xff")),
    (options.ETAG, (b"1", b"2")),
    (options.ECHO, (b"e", bytes(14))),
    (options.REQUEST_TAG, (b"", b"t")),
)
_REQUEST_CODES = (codes.GET, codes.POST, codes.PUT, 0x1F)
_RESPONSE_CODES = (
    codes.CONTENT, codes.CHANGED, codes.CONTINUE, codes.NOT_FOUND,
    codes.REQUEST_ENTITY_TOO_LARGE, codes.UNAUTHORIZED, codes.BAD_REQUEST,
    codes.REQUEST_ENTITY_INCOMPLETE, 0x61,
)  # fmt: skip


class Conversation:
    """One endpoint, three peers that say anything, and an application that answers mostly."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.endpoint = CoapEndpoint(_PARAMETERS, seeded_draw(seed))
        self.now = 0.0
        self.said: list[tuple[Message, object]] = []
        self.unanswered: list[int] = []
        self.handles: list[int] = [99_999]

    def step(self) -> None:
        """One thing happens."""
        chance = self.chance
        self.now += chance.choice((0.0, 0.0, 0.05, 1.0, 30.0))
        action = chance.choice((self._hear_request, self._hear_request, self._hear_answer,
                                self._hear_answer, self._hear_noise, self._ask, self._answer,
                                self._let_timers_fire, self._cancel, self._notify,
                                self._end_observation))  # fmt: skip
        action()
        self._collect()

    def end(self) -> None:
        """Everything is answered or given up, and time passes."""
        while self.unanswered:
            self._answer()
        for handle in self.handles:
            self.endpoint.cancel(handle, self.now)
        for _ in range(2_000):
            self._collect()
            due = self.endpoint.next_timer()
            if due is None:
                return
            self.now = max(self.now, due)
            self.endpoint.handle_timer(self.now)
        raise AssertionError("it never ends")

    def _collect(self) -> None:
        for event in self.endpoint.events():
            if isinstance(event, RequestReceived):
                self.unanswered.append(event.exchange)
                self.handles.append(event.exchange)
        for data, peer in self.endpoint.datagrams_to_send():
            self.said.append((decode_message(data), peer))

    def _hear(self, message: Message, peer: object) -> None:
        self.endpoint.receive_datagram(encode_message(message), peer, self.now)

    def _some_options(self) -> tuple[tuple[int, bytes], ...]:
        chance = self.chance
        found = ((number, chance.choice(values)) for number, values in _OPTIONS
                 if chance.random() < 0.2)  # fmt: skip
        return tuple(sorted(found))

    def _hear_request(self) -> None:
        chance = self.chance
        message = Message(
            chance.choice((CON, NON)),
            chance.choice(_REQUEST_CODES),
            chance.randrange(6),
            chance.choice((b"", b"t", b"u", bytes(30))),
            self._some_options(),
            bytes(chance.choice((0, 10, 64, 500))),
        )
        self._hear(message, chance.randrange(3))

    def _hear_answer(self) -> None:
        if not self.said:
            return
        chance = self.chance
        asked, peer = chance.choice(self.said[-4:])
        kind = chance.choice((CON, NON, ACK, ACK, RST))
        if kind == RST or (kind == ACK and chance.random() < 0.3):
            self._hear(Message(kind, 0, asked.message_id), peer)
            return
        body = bytes(chance.choice((0, 10, 64, 500)))
        code = chance.choice(_RESPONSE_CODES)
        message_id = asked.message_id if kind == ACK else chance.randrange(6)
        self._hear(Message(kind, code, message_id, asked.token, self._some_options(), body), peer)

    def _hear_noise(self) -> None:
        data = self.chance.randbytes(self.chance.randrange(12))
        self.endpoint.receive_datagram(data, self.chance.randrange(3), self.now)

    def _ask(self) -> None:
        chance = self.chance
        request = Request(
            chance.choice((codes.GET, codes.PUT, codes.FETCH)),
            ("a",),
            observe=chance.choice((None, None, 0)),
            payload=bytes(chance.choice((0, 10, 200))),
            confirmable=chance.random() < 0.8,
        )
        try:
            handle = self.endpoint.send_request(chance.randrange(3), request, self.now)
        except PeerQueueFull:
            return
        self.handles.append(handle)

    def _answer(self) -> None:
        if not self.unanswered:
            return
        chance = self.chance
        exchange = self.unanswered.pop(chance.randrange(len(self.unanswered)))
        observe = chance.choice((None, 1))
        body = bytes(chance.choice((0, 10, 200)))
        response = Response(chance.choice(_RESPONSE_CODES), body, observe=observe)
        try:
            self.endpoint.respond(exchange, response, self.now)
        except LookupError:
            return  # it was cancelled meanwhile

    def _notify(self) -> None:
        chance = self.chance
        code = chance.choice((codes.CONTENT, codes.CONTENT, codes.VALID, codes.NOT_FOUND))
        body = bytes(chance.choice((0, 10, 200)))
        state = Response(code, body, observe=chance.randrange(1 << 24))
        for exchange in self.handles:
            try:
                self.endpoint.notify(exchange, state, self.now, confirmable=chance.random() < 0.5)
            except LookupError:
                continue  # nobody observes under it

    def _end_observation(self) -> None:
        for exchange in self.handles:
            try:
                self.handles.append(self.endpoint.end_observation(exchange, self.now))
            except (LookupError, PeerQueueFull):
                continue
            return

    def _let_timers_fire(self) -> None:
        self.endpoint.handle_timer(self.now)

    def _cancel(self) -> None:
        if self.chance.random() < 0.2:
            self.endpoint.forget_peer(self.chance.randrange(3), self.now)
        else:
            self.endpoint.cancel(self.chance.choice(self.handles), self.now)


@pytest.mark.parametrize("seed", range(60))
def test_any_conversation_is_survived_and_leaves_nothing(seed: int) -> None:
    talk = Conversation(seed)
    for _ in range(300):
        talk.step()
        for peer in talk.endpoint._core.peers.by_address.values():
            sent = [found for found in (peer.open or {}).values() if found.state == "sent"]
            held = sum(found.request.confirmable for found in sent)
            assert peer.outstanding == held <= _PARAMETERS.nstart
            assert 0 <= peer.pending <= _PARAMETERS.pending_per_peer_max
            assert len(peer.observations or ()) <= _PARAMETERS.observations_per_peer_max
    talk.end()
    core = talk.endpoint._core
    assert (talk.endpoint.peers_known, talk.endpoint.messages_remembered) == (0, 0)
    assert not talk.endpoint._requester._by_handle
    assert not talk.endpoint._responder._by_handle
    assert (talk.endpoint._blocks.transfers._bytes, core.answers._answer_bytes) == (0, 0)
    assert (talk.endpoint._blocks.transfers._count, core.observations) == (0, 0)
