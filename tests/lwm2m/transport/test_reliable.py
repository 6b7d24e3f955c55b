"""CoAP over TCP as a state machine: bytes in, bytes out, no socket."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import seeded_draw
from lwm2m.coap import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    PeerQueueFull,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
)
from lwm2m.coap import options as opt
from lwm2m.coap.blocks import Block, encode_block
from lwm2m.transport.peers import NOSEC
from lwm2m.transport.plain_fields import encode_request_fields
from lwm2m.transport.reliable import (
    ConnectionGone,
    FrameReader,
    MalformedFrame,
    ReliableEndpoint,
    ReliablePeer,
    encode_frame,
)
from lwm2m.transport.reliable.exchanges import MESSAGES_PER_TURN
from lwm2m.transport.reliable.signaling import (
    ABORT,
    CSM,
    PING,
    PONG,
    RELEASE,
    TRANSITIONS,
    settings_message,
    signaling_message,
)


class Side:
    """One end of a connection; `told` are its events."""

    def __init__(self, parameters: TransmissionParameters, port: int) -> None:
        self.endpoint = ReliableEndpoint(parameters, seeded_draw(port))
        self.peer = ReliablePeer("127.0.0.1", port, NOSEC)
        self.told: list[Event] = []
        self.closed = False

    @property
    def requests(self) -> list[RequestReceived]:
        """The requests it got."""
        return [event for event in self.told if isinstance(event, RequestReceived)]

    @property
    def responses(self) -> list[Response]:
        """The responses it got."""
        return [event.response for event in self.told if isinstance(event, ResponseReceived)]

    @property
    def failures(self) -> list[str]:
        """Why its exchanges failed."""
        return [event.reason for event in self.told if isinstance(event, ExchangeFailed)]

    @property
    def rejections(self) -> list[str]:
        """What it did not act on."""
        return [event.detail for event in self.told if isinstance(event, DatagramRejected)]


class Pair:
    """Two ends, and the bytes between them in pieces of `piece` bytes."""

    def __init__(
        self,
        client: TransmissionParameters | None = None,
        server: TransmissionParameters | None = None,
        *,
        piece: int = 100_000,
    ) -> None:
        self.client = Side(client or TransmissionParameters(), 1)
        self.server = Side(server or TransmissionParameters(), 2)
        self.piece = piece
        self.now = 0.0
        for side in (self.client, self.server):
            side.endpoint.connect(side.peer, self.now)
        self.settle()

    def settle(self) -> None:
        """Carry bytes until there are none; servers answer nothing by themselves."""
        busy = True
        while busy:
            busy = self._carry(self.client, self.server) | self._carry(self.server, self.client)

    def _carry(self, source: Side, target: Side) -> bool:
        if source.endpoint.is_behind:
            source.endpoint.read_behind(self.now)
        source.told += source.endpoint.events()
        output = source.endpoint.take_output()
        for _, data in output:
            for start in range(0, len(data), self.piece):
                part = data[start : start + self.piece]
                target.endpoint.receive_bytes(target.peer, part, self.now)
        source.told += source.endpoint.events()
        for peer in source.endpoint.take_closing():
            source.closed = True
            source.endpoint.disconnect(peer, self.now)
            target.endpoint.disconnect(target.peer, self.now)
        target.told += target.endpoint.events()
        return bool(output) or source.endpoint.is_behind or target.endpoint.is_behind

    def ask(self, request: Request, answer: Response | None = None) -> int:
        """Ask the server; it answers so."""
        handle = self.client.endpoint.send_request(self.client.peer, request, self.now)
        before = len(self.server.requests)
        self.settle()
        if answer is not None:
            received = self.server.requests[before]
            self.server.endpoint.respond(received.exchange, answer, self.now)
            self.settle()
        return handle


def raw(parameters: TransmissionParameters | None = None) -> Side:
    """A server to feed with bytes by hand; its own CSM is taken off."""
    side = Side(parameters or TransmissionParameters(), 2)
    side.endpoint.connect(side.peer, 0.0)
    side.endpoint.take_output()
    return side


def feed(side: Side, data: bytes) -> bytes:
    """What a side says to bytes."""
    side.endpoint.receive_bytes(side.peer, data, 0.0)
    side.told += side.endpoint.events()
    return b"".join(part for _, part in side.endpoint.take_output())


@pytest.mark.parametrize(
    ("length", "head"),
    [
        # RFC 8323 §3.2, figure 5 and table 1: the nibble and what follows it.
        (0, "01"),
        (12, "c1"),
        (13, "d100"),
        (268, "d1ff"),
        (269, "e10000"),
        (65_804, "e1ffff"),
        (65_805, "f100000000"),
    ],
)
def test_lengths_are_written_and_read_as_in_the_rfc(length: int, head: str) -> None:
    frame = encode_frame(codes.GET, b"\x7f", bytes(length))
    assert frame.startswith(bytes.fromhex(head) + b"\x01\x7f")
    reader = FrameReader(100_000)
    reader.feed(frame)
    assert reader.next_frame() == (codes.GET, b"\x7f", bytes(length))
    assert reader.next_frame() is None


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=8), st.binary(max_size=400))),
    st.integers(1, 50),
)
def test_frames_pass_in_pieces_of_any_size(
    frames: list[tuple[int, bytes, bytes]], piece: int
) -> None:
    stream = b"".join(encode_frame(*frame) for frame in frames)
    reader = FrameReader(1_000)
    found: list[tuple[int, bytes, bytes]] = []
    for start in range(0, len(stream), piece):
        reader.feed(stream[start : start + piece])
        while (frame := reader.next_frame()) is not None:
            found.append(tuple(frame))
    assert found == frames
    assert reader.buffered_bytes == 0


def test_a_frame_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    reader = FrameReader(1_000)
    reader.feed(b"\xf0\xff\xff\xff\xff")
    with pytest.raises(MalformedFrame):
        reader.next_frame()
    with pytest.raises(ValueError, match="token"):
        encode_frame(codes.GET, bytes(9), b"")


@given(st.binary(max_size=80))
@settings(max_examples=400)
def test_any_bytes_are_taken_or_abort_the_connection(data: bytes) -> None:
    side = raw()
    feed(side, settings_message(2_000))
    said = feed(side, data)
    if side.endpoint.take_closing():
        assert not side.endpoint.is_open(side.peer)
        assert feed(side, signaling_message(PING)) == b""
    else:
        assert ABORT not in _codes(said)


def _codes(stream: bytes) -> list[int]:
    reader = FrameReader(100_000)
    reader.feed(stream)
    found = []
    while (frame := reader.next_frame()) is not None:
        found.append(frame.code)
    return found


@pytest.mark.parametrize(
    "data",
    [
        encode_frame(codes.GET, b"", b""),
        signaling_message(PING),
        signaling_message(RELEASE),
        signaling_message(CSM, options=((1, b""),)),
        b"\x0f",
    ],
)
def test_what_is_no_csm_aborts_a_new_connection(data: bytes) -> None:
    side = raw()
    said = feed(side, data)
    assert _codes(said) == [ABORT]
    assert side.endpoint.take_closing() == [side.peer]


def test_a_bad_csm_option_is_named_in_the_abort() -> None:
    side = raw()
    said = feed(side, signaling_message(CSM, options=((5, b""),)))
    # RFC 8323 §5.6: Bad-CSM-Option is option 2, and holds the number.
    assert b"\x21\x05" in said


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_both_sides_ask_and_answer_over_one_connection(piece: int) -> None:
    pair = Pair(piece=piece)
    assert pair.client.endpoint.is_open(pair.client.peer)
    request = Request(codes.POST, ("rd",), ("ep=lamp", "lt=60"), 40, payload=b"</3/0>")
    pair.ask(request, Response(codes.CREATED, location_path=("rd", "1")))
    assert pair.server.requests[0].request == request
    assert pair.client.responses == [Response(codes.CREATED, location_path=("rd", "1"))]
    down = pair.server.endpoint.send_request(
        pair.server.peer, Request(codes.GET, ("3", "0")), pair.now
    )
    pair.settle()
    [asked] = pair.client.requests
    pair.client.endpoint.respond(asked.exchange, Response(codes.CONTENT, b"tlv"), pair.now)
    pair.settle()
    assert pair.server.told[-1] == ResponseReceived(
        pair.server.peer, down, Response(codes.CONTENT, b"tlv")
    )


def test_an_observation_is_notified_cancelled_and_over() -> None:
    pair = Pair()
    request = Request(codes.GET, ("3303", "0", "5700"), observe=0)
    handle = pair.ask(request, Response(codes.CONTENT, b"1", observe=1))
    exchange = pair.server.requests[0].exchange
    pair.server.endpoint.notify(exchange, Response(codes.CONTENT, b"2", observe=2), pair.now)
    pair.settle()
    assert [response.payload for response in pair.client.responses] == [b"1", b"2"]
    ending = pair.client.endpoint.end_observation(handle, pair.now)
    pair.settle()
    assert pair.server.failures == ["cancelled"]
    cancelling = pair.server.requests[-1]
    assert cancelling.request.observe == 1
    pair.server.endpoint.respond(cancelling.exchange, Response(codes.CONTENT, b"3"), pair.now)
    pair.settle()
    assert pair.client.told[-1] == ResponseReceived(
        pair.client.peer, ending, Response(codes.CONTENT, b"3")
    )
    with pytest.raises(UnknownExchange):
        pair.server.endpoint.notify(exchange, Response(codes.CONTENT), pair.now)
    with pytest.raises(UnknownExchange):
        pair.client.endpoint.end_observation(handle, pair.now)


def test_an_error_as_notification_ends_the_observation() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",), observe=0), Response(codes.CONTENT, b"1", observe=1))
    exchange = pair.server.requests[0].exchange
    pair.server.endpoint.notify(exchange, Response(codes.NOT_FOUND), pair.now)
    pair.settle()
    assert pair.client.responses[-1] == Response(codes.NOT_FOUND)
    with pytest.raises(UnknownExchange):
        pair.server.endpoint.notify(exchange, Response(codes.CONTENT), pair.now)


def test_a_body_beyond_the_peers_largest_message_goes_in_blocks() -> None:
    small = TransmissionParameters(payload_bytes_max=10_000)
    pair = Pair(server=small, client=TransmissionParameters(payload_bytes_max=100_000))
    body = bytes(index % 251 for index in range(9_999))
    pair.ask(Request(codes.PUT, ("5", "0", "0"), payload=body), Response(codes.CHANGED))
    assert pair.server.requests[0].request.payload == body
    # Larger than its limit altogether: it says so at the first block.
    pair.ask(Request(codes.PUT, ("5", "0", "0"), payload=bytes(20_000)))
    assert pair.client.responses[-1].code == codes.REQUEST_ENTITY_TOO_LARGE
    pair.server.endpoint.send_request(pair.server.peer, Request(codes.GET, ("1",)), pair.now)
    pair.settle()
    pair.client.endpoint.respond(
        pair.client.requests[0].exchange, Response(codes.CONTENT, bytes(15_000)), pair.now
    )
    pair.settle()
    assert pair.server.failures == ["malformed"]


def test_bert_blocks_are_understood_and_confirmed() -> None:
    side = raw()
    feed(side, settings_message(1 << 20))
    first = Request(codes.PUT, ("5",), payload=bytes(3 * 1024),
                    options=((opt.BLOCK1, encode_block(Block(0, True, 7))),))  # fmt: skip
    last = Request(codes.PUT, ("5",), payload=b"end",
                   options=((opt.BLOCK1, encode_block(Block(3, False, 7))),))  # fmt: skip
    said = feed(side, encode_frame(codes.PUT, b"a", encode_request_fields(first)))
    # 2.31 Continue, and the Block1 as it came: number 0, more, 7.
    assert said == encode_frame(codes.CONTINUE, b"a", b"\xd1\x0e\x0f")
    feed(side, encode_frame(codes.PUT, b"b", encode_request_fields(last)))
    [received] = side.requests
    assert received.request == Request(codes.PUT, ("5",), payload=bytes(3 * 1024) + b"end")
    side.endpoint.respond(received.exchange, Response(codes.CHANGED), 0.0)
    [(_, said)] = side.endpoint.take_output()
    assert said == encode_frame(codes.CHANGED, b"b", b"\xd1\x0e\x37")


def test_a_bert_response_is_put_together() -> None:
    side = raw()
    feed(side, settings_message(1 << 20))
    handle = side.endpoint.send_request(side.peer, Request(codes.GET, ("5",)), 0.0)
    side.endpoint.take_output()
    # Block2 0, more, 7 with two blocks of 1,024 bytes; the rest is then asked for plainly.
    block = bytes([0xD1, 0x0A, 0x0F])
    asked = feed(side, encode_frame(codes.CONTENT, b"", block + b"\xff" + bytes(2_048)))
    assert asked == encode_frame(codes.GET, b"\x01", b"\xb15\xc1\x26")
    feed(side, encode_frame(codes.CONTENT, b"\x01", b"\xd1\x0a\x26\xffend"))
    assert side.told[-1] == ResponseReceived(
        side.peer, handle, Response(codes.CONTENT, bytes(2_048) + b"end")
    )


def test_a_lost_connection_fails_what_is_open_and_takes_nothing_more() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",)))
    pair.ask(Request(codes.GET, ("4",), observe=0), None)
    pair.server.endpoint.respond(
        pair.server.requests[1].exchange, Response(codes.CONTENT, observe=1), 0.0
    )
    pair.settle()
    pair.client.endpoint.disconnect(pair.client.peer, pair.now)
    pair.server.endpoint.disconnect(pair.server.peer, pair.now)
    pair.settle()
    assert pair.client.failures == ["timeout", "timeout"]
    assert pair.server.failures == ["cancelled", "cancelled"]
    with pytest.raises(ConnectionGone):
        pair.client.endpoint.send_request(pair.client.peer, Request(codes.GET), pair.now)
    with pytest.raises(UnknownExchange):
        pair.server.endpoint.respond(pair.server.requests[0].exchange, Response(codes.CONTENT), 0.0)


def test_a_request_that_nobody_answers_fails_in_time() -> None:
    pair = Pair(client=TransmissionParameters(response_timeout_s=10))
    pair.ask(Request(codes.GET, ("3",)))
    due = pair.client.endpoint.next_timer()
    assert due is not None
    assert 10 <= due <= 10.1
    pair.client.endpoint.handle_timer(due)
    pair.settle()
    assert pair.client.failures == ["timeout"]
    # Its answer comes too late, and is counted.
    pair.server.endpoint.respond(pair.server.requests[0].exchange, Response(codes.CONTENT), due)
    pair.settle()
    assert pair.client.rejections == ["a response to nothing that was asked"]


def test_release_lets_what_is_asked_be_answered_first() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",)))
    pair.client.endpoint.release(pair.client.peer, pair.now)
    pair.settle()
    assert not pair.server.closed
    with pytest.raises(ConnectionGone):
        pair.client.endpoint.send_request(pair.client.peer, Request(codes.GET), pair.now)
    pair.server.endpoint.respond(pair.server.requests[0].exchange, Response(codes.CONTENT), 0.0)
    pair.settle()
    assert pair.client.responses == [Response(codes.CONTENT)]
    assert pair.server.closed or pair.client.closed


def test_an_abort_says_why_and_fails_everything() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",)))
    pair.server.endpoint.abort(pair.server.peer, "out of order", pair.now)
    pair.settle()
    assert pair.server.closed
    assert pair.client.failures == ["timeout"]
    assert "Abort: out of order" in pair.client.rejections


def test_ping_is_answered_with_its_token() -> None:
    side = raw()
    feed(side, settings_message(2_000))
    assert feed(side, signaling_message(PING, b"abc")) == signaling_message(PONG, b"abc")
    side.endpoint.ping(side.peer, 0.0)
    assert side.endpoint.take_output() == [(side.peer, signaling_message(PING))]
    feed(side, signaling_message(PONG))
    assert side.rejections == ["a Pong"]


def test_a_peer_that_asks_too_much_is_read_no_further_until_answered() -> None:
    pair = Pair(server=TransmissionParameters(pending_per_peer_max=3))
    for number in range(5):
        pair.client.endpoint.send_request(
            pair.client.peer, Request(codes.GET, (str(number),)), pair.now
        )
    pair.settle()
    assert len(pair.server.requests) == 3
    assert not pair.server.endpoint.wants_bytes(pair.server.peer)
    assert pair.server.endpoint.take_slowed() == [pair.server.peer]
    for received in list(pair.server.requests):
        pair.server.endpoint.respond(received.exchange, Response(codes.CONTENT), pair.now)
    pair.settle()
    assert len(pair.server.requests) == 5
    assert pair.server.endpoint.wants_bytes(pair.server.peer)


def test_requests_wait_for_a_peer_that_reads() -> None:
    pair = Pair(client=TransmissionParameters(queue_per_peer_max=2))
    peer = pair.client.peer
    for _ in range(2):
        pair.client.endpoint.send_request(peer, Request(codes.GET), pair.now)
    with pytest.raises(PeerQueueFull):
        pair.client.endpoint.send_request(peer, Request(codes.GET), pair.now)
    other = Pair()
    other.client.endpoint.set_writable(other.client.peer, False)
    with pytest.raises(PeerQueueFull):
        other.client.endpoint.send_request(other.client.peer, Request(codes.GET), other.now)


def test_a_critical_option_that_is_unknown_is_answered_bad_option() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",), options=((65_001, b""),)))
    assert pair.client.responses == [Response(codes.BAD_OPTION)]
    pair.ask(Request(codes.GET, ("3",), options=((opt.PROXY_URI, b"coap://a"),)))
    assert pair.client.responses[-1] == Response(codes.PROXYING_NOT_SUPPORTED)
    assert pair.server.requests == []


def test_a_message_larger_than_the_peer_takes_is_not_sent() -> None:
    side = raw()
    feed(side, settings_message(200))
    with pytest.raises(ValueError, match="more than this peer takes"):
        side.endpoint.send_request(
            side.peer, Request(codes.GET, tuple("a" * 100 for _ in range(3))), 0.0
        )


def test_cancelled_exchanges_say_so_on_either_side() -> None:
    pair = Pair()
    handle = pair.ask(Request(codes.GET, ("3",)))
    pair.client.endpoint.cancel(handle, pair.now)
    pair.server.endpoint.cancel(pair.server.requests[0].exchange, pair.now)
    pair.client.endpoint.cancel(99, pair.now)
    pair.settle()
    assert (pair.client.failures, pair.server.failures) == (["cancelled"], ["cancelled"])


def test_every_state_of_a_connection_knows_how_it_ends() -> None:
    for state, row in TRANSITIONS.items():
        assert set(row.values()) <= set(TRANSITIONS)
        if state != "closed":
            assert (row["lost"], row["aborted"]) == ("closed", "closed")
            assert row["released"] == "releasing"
        for event, following in row.items():
            # What is closed stays closed, and nothing opens without settings.
            assert following != "opening"
            assert (following == "open") <= (event == "settings_received")


def test_a_later_bert_block_is_given_plainly_and_one_beyond_all_numbers_refused() -> None:
    side = raw()
    feed(side, settings_message(2_000))
    body = bytes(index % 251 for index in range(5_000))
    ask = Request(codes.GET, ("5",), options=((opt.BLOCK2, encode_block(Block(0, False, 7))),))
    feed(side, encode_frame(codes.GET, b"a", encode_request_fields(ask)))
    side.endpoint.respond(side.requests[0].exchange, Response(codes.CONTENT, body), 0.0)
    [(_, said)] = side.endpoint.take_output()
    assert body[:1_024] in said
    later = Request(codes.GET, ("5",), options=((opt.BLOCK2, encode_block(Block(1, False, 7))),))
    said = feed(side, encode_frame(codes.GET, b"b", encode_request_fields(later)))
    assert said.endswith(body[1_024:2_048])
    beyond = Request(codes.PUT, ("5",), payload=bytes(1_024),
                     options=((opt.BLOCK1, encode_block(Block(0xFFFFF, True, 7))),))  # fmt: skip
    said = feed(side, encode_frame(codes.PUT, b"c", encode_request_fields(beyond)))
    assert said == encode_frame(codes.BAD_REQUEST, b"c", b"")


def test_a_large_notification_is_fetched_to_its_end() -> None:
    pair = Pair(client=TransmissionParameters(payload_bytes_max=4_000))
    handle = pair.ask(
        Request(codes.GET, ("3",), observe=0), Response(codes.CONTENT, b"1", observe=1)
    )
    exchange = pair.server.requests[0].exchange
    large = Response(codes.CONTENT, bytes(9_000), observe=2)
    pair.server.endpoint.notify(exchange, large, pair.now)
    pair.settle()
    # Too large for this client altogether: dropped, and the observation goes on.
    assert pair.client.failures == []
    pair.server.endpoint.notify(exchange, Response(codes.CONTENT, b"3", observe=3), pair.now)
    pair.settle()
    assert pair.client.told[-1] == ResponseReceived(
        pair.client.peer, handle, Response(codes.CONTENT, b"3", observe=3)
    )


def test_one_peer_with_many_messages_keeps_no_other_waiting() -> None:
    server = ReliableEndpoint(TransmissionParameters(), seeded_draw(2))
    greedy, modest = (ReliablePeer("127.0.0.1", port, NOSEC) for port in (1, 2))
    for peer in (greedy, modest):
        server.connect(peer, 0.0)
        server.receive_bytes(peer, settings_message(2_000), 0.0)
    server.take_output()
    pings = 100_000
    server.receive_bytes(greedy, signaling_message(PING) * pings, 0.0)
    # It has had its share: the rest waits, and no more is read from its socket.
    assert server.is_behind
    assert not server.wants_bytes(greedy)
    [(_, pongs)] = server.take_output()
    assert len(pongs) == MESSAGES_PER_TURN * len(signaling_message(PONG))
    server.receive_bytes(modest, encode_frame(codes.GET, b"m", b""), 0.0)
    assert [event.peer for event in server.events()] == [modest]
    assert server.wants_bytes(modest)

    turns = 0
    while server.is_behind:
        server.receive_bytes(greedy, b"", 0.0)  # nothing that comes shortens its way
        server.read_behind(0.0)
        turns += 1
    assert turns == pings // MESSAGES_PER_TURN
    [(peer, rest)] = server.take_output()
    assert (peer, len(pongs + rest)) == (greedy, pings * len(signaling_message(PONG)))
    assert server.wants_bytes(greedy)
    assert greedy in server.take_slowed()


def test_peers_that_are_behind_take_turns_and_one_that_is_gone_has_none() -> None:
    server = ReliableEndpoint(TransmissionParameters(), seeded_draw(2))
    peers = [ReliablePeer("127.0.0.1", port, NOSEC) for port in (1, 2, 3)]
    for peer in peers:
        server.connect(peer, 0.0)
        server.receive_bytes(peer, settings_message(2_000), 0.0)
        server.receive_bytes(peer, signaling_message(PING) * (3 * MESSAGES_PER_TURN - 1), 0.0)
    server.take_output()
    server.disconnect(peers[1], 0.0)
    served = []
    while server.is_behind:
        server.read_behind(0.0)
        served += [peer for peer, _ in server.take_output()]
    assert served == [peers[0], peers[2], peers[0], peers[2]]


def test_what_is_answered_at_once_makes_no_endless_turn() -> None:
    # Blocks of bodies that nobody began are refused without asking anybody: each makes room.
    side = raw(TransmissionParameters(pending_per_peer_max=1))
    feed(side, settings_message(2_000))
    block = (opt.BLOCK1, encode_block(Block(7, True, 2)))
    request = Request(codes.PUT, options=((opt.URI_PATH, b"1"), block), payload=bytes(64))
    frame = encode_frame(codes.PUT, b"t", encode_request_fields(request))
    said = len(feed(side, frame * 50))
    assert side.endpoint.is_behind
    turns = 1
    while side.endpoint.is_behind:
        side.endpoint.read_behind(0.0)
        side.told += side.endpoint.events()
        said += sum(len(data) for _, data in side.endpoint.take_output())
        turns += 1
    assert 10 < turns <= 51
    assert said % 50 == 0
    assert not side.requests
