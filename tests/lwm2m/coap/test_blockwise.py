"""Bodies in blocks, both ways, against the examples of RFC 7959 §3 and its rules in §2."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import ConnectedPair, seeded_draw
from lwm2m.coap import (
    ACK,
    CON,
    Block,
    CoapEndpoint,
    DatagramRejected,
    ExchangeFailed,
    MalformedBlock,
    Message,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
    decode_block,
    decode_message,
    encode_block,
    encode_message,
    find_option,
    options,
)
from lwm2m.coap.core_state import CoreState
from lwm2m.coap.options import encode_uint
from lwm2m.coap.peers import Peer
from lwm2m.coap.transfers import TransferStore

PEER = ("127.0.0.2", 5683)
BLOCK1, BLOCK2, SIZE1, SIZE2 = options.BLOCK1, options.BLOCK2, options.SIZE1, options.SIZE2


def _parameters(block_size: int = 1024, **changed: int) -> TransmissionParameters:
    return TransmissionParameters(block_size=block_size, **changed)  # type: ignore[arg-type]  # numbers by name


class Server:
    """An endpoint that is asked by hand-made messages and answers what the test says."""

    def __init__(self, answer: Response, parameters: TransmissionParameters) -> None:
        self.endpoint = CoapEndpoint(parameters, seeded_draw(3))
        self.answer = answer
        self.requests: list[Request] = []
        self.rejected: list[DatagramRejected] = []
        self._message_id = 1233

    def ask(
        self, code: int, path: str, *found: tuple[int, bytes], payload: bytes = b"", now: float = 0
    ) -> Message:
        """Send one message with a new id; return the answer to it."""
        self._message_id += 1
        every = ((options.URI_PATH, path.encode()), *found)
        message = Message(CON, code, self._message_id, b"t", tuple(sorted(every)), payload)
        self.endpoint.receive_datagram(encode_message(message), PEER, now)
        for event in self.endpoint.events():
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                self.endpoint.respond(event.exchange, self.answer, now)
            else:
                assert isinstance(event, DatagramRejected)
                self.rejected.append(event)
        [(data, _)] = self.endpoint.datagrams_to_send()
        return decode_message(data)


def _block(message: Message, number: int) -> Block | None:
    value = find_option(message.options, number)
    return decode_block(value) if value is not None else None


def _put_block(
    server: Server, number: int, more: bool, szx: int, payload: bytes, *found: tuple[int, bytes]
) -> Message:
    block = (BLOCK1, encode_block(Block(number, more, szx)))
    return server.ask(codes.PUT, "options", block, *found, payload=payload)


STATUS = Response(codes.CONTENT, bytes(range(256)) + bytes(100))
CHANGED = Response(codes.CHANGED)


class TestServingBlock2:
    def test_a_large_body_is_handed_out_block_by_block(self) -> None:
        # RFC 7959 §3.1, figure 2.
        server = Server(STATUS, _parameters(128))
        first = server.ask(codes.GET, "status")
        assert _block(first, BLOCK2) == Block(0, True, 3)
        second = server.ask(codes.GET, "status", (BLOCK2, b"\x13"))
        third = server.ask(codes.GET, "status", (BLOCK2, b"\x23"))
        assert _block(third, BLOCK2) == Block(2, False, 3)
        assert first.payload + second.payload + third.payload == STATUS.payload
        assert len(server.requests) == 1
        assert find_option(second.options, options.ETAG) == find_option(first.options, options.ETAG)

    def test_the_client_may_ask_for_smaller_blocks_early(self) -> None:
        # RFC 7959 §3.1, figure 3.
        server = Server(STATUS, _parameters(1024))
        parts = []
        for number in range(6):
            value = encode_block(Block(number, False, 2))
            answer = server.ask(codes.GET, "status", (BLOCK2, value))
            assert _block(answer, BLOCK2) == Block(number, number < 5, 2)
            parts.append(answer.payload)
        assert b"".join(parts) == STATUS.payload
        assert len(server.requests) == 1

    def test_the_client_may_ask_for_smaller_blocks_late(self) -> None:
        # RFC 7959 §3.1, figure 4: after 128 bytes it goes on with the third block of 64.
        server = Server(STATUS, _parameters(128))
        parts = [server.ask(codes.GET, "status").payload]
        for number in range(2, 6):
            value = encode_block(Block(number, False, 2))
            parts.append(server.ask(codes.GET, "status", (BLOCK2, value)).payload)
        assert b"".join(parts) == STATUS.payload

    def test_a_later_block_of_a_body_that_is_not_kept_is_cut_from_a_new_one_when_safe(
        self,
    ) -> None:
        server = Server(STATUS, _parameters(128))
        answer = server.ask(codes.GET, "status", (BLOCK2, b"\x13"))
        assert answer.payload == STATUS.payload[128:256]
        assert len(server.requests) == 1

    def test_a_later_block_of_what_must_not_be_done_twice_is_incomplete(self) -> None:
        server = Server(STATUS, _parameters(128))
        answer = server.ask(codes.POST, "status", (BLOCK2, b"\x13"))
        assert answer.code == codes.REQUEST_ENTITY_INCOMPLETE
        assert server.requests == []

    def test_a_block_beyond_the_end_is_a_bad_request(self) -> None:
        server = Server(STATUS, _parameters(128))
        assert server.ask(codes.GET, "status", (BLOCK2, b"\x93")).code == codes.BAD_REQUEST

    def test_a_reserved_block_size_is_a_bad_request(self) -> None:
        server = Server(STATUS, _parameters(128))
        assert server.ask(codes.GET, "status", (BLOCK2, b"\x07")).code == codes.BAD_REQUEST
        assert [event.reason for event in server.rejected] == ["malformed"]

    def test_the_size_is_told_when_it_is_asked_for(self) -> None:
        server = Server(STATUS, _parameters(128))
        answer = server.ask(codes.GET, "status", (BLOCK2, b"\x03"), (SIZE2, b""))
        assert find_option(answer.options, SIZE2) == encode_uint(356)

    def test_a_small_body_needs_no_block_option(self) -> None:
        server = Server(Response(codes.CONTENT, b"small"), _parameters(128))
        assert server.ask(codes.GET, "status", (BLOCK2, b"\x03")).options == ()

    def test_two_paths_of_one_peer_do_not_mix(self) -> None:
        server = Server(STATUS, _parameters(128))
        server.ask(codes.GET, "a")
        server.answer = Response(codes.CONTENT, b"x" * 300)
        server.ask(codes.GET, "b")
        of_a = server.ask(codes.GET, "a", (BLOCK2, b"\x13"))
        of_b = server.ask(codes.GET, "b", (BLOCK2, b"\x13"))
        assert of_a.payload == STATUS.payload[128:256]
        assert of_b.payload == b"x" * 128


class TestServingBlock1:
    def test_blocks_are_put_together(self) -> None:
        # RFC 7959 §3.2, figure 7.
        server = Server(CHANGED, _parameters(128))
        body = bytes(range(256)) + b"end"
        first = _put_block(server, 0, True, 3, body[:128], (SIZE1, encode_uint(259)))
        assert (first.code, _block(first, BLOCK1)) == (codes.CONTINUE, Block(0, True, 3))
        _put_block(server, 1, True, 3, body[128:256])
        last = _put_block(server, 2, False, 3, body[256:])
        assert (last.code, _block(last, BLOCK1)) == (codes.CHANGED, Block(2, False, 3))
        assert [(r.payload, r.options) for r in server.requests] == [(body, ())]

    def test_a_server_that_wants_smaller_blocks_says_so(self) -> None:
        # RFC 7959 §3.2, figure 8: 128 bytes are taken, then blocks of 32 from number 4 on.
        server = Server(CHANGED, _parameters(32))
        first = _put_block(server, 0, True, 3, b"a" * 128)
        assert _block(first, BLOCK1) == Block(0, True, 1)
        assert _put_block(server, 4, True, 1, b"b" * 32).code == codes.CONTINUE
        assert _put_block(server, 5, False, 1, b"c").code == codes.CHANGED
        assert server.requests[0].payload == b"a" * 128 + b"b" * 32 + b"c"

    def test_a_block_out_of_order_is_incomplete_and_ends_the_transfer(self) -> None:
        server = Server(CHANGED, _parameters(128))
        _put_block(server, 0, True, 3, bytes(128))
        skipped = _put_block(server, 2, True, 3, bytes(128))
        assert skipped.code == codes.REQUEST_ENTITY_INCOMPLETE
        after = _put_block(server, 1, False, 3, b"x")
        assert after.code == codes.REQUEST_ENTITY_INCOMPLETE
        assert server.requests == []

    def test_a_repeated_block_under_a_new_id_is_incomplete(self) -> None:
        server = Server(CHANGED, _parameters(128))
        _put_block(server, 0, True, 3, bytes(128))
        _put_block(server, 1, True, 3, bytes(128))
        again = _put_block(server, 1, True, 3, bytes(128))
        assert again.code == codes.REQUEST_ENTITY_INCOMPLETE

    def test_a_first_block_starts_anew(self) -> None:
        server = Server(CHANGED, _parameters(128))
        _put_block(server, 0, True, 3, b"a" * 128)
        _put_block(server, 0, True, 3, b"b" * 128)
        _put_block(server, 1, False, 3, b"c")
        assert server.requests[0].payload == b"b" * 128 + b"c"

    def test_a_later_block_without_a_first_is_incomplete(self) -> None:
        server = Server(CHANGED, _parameters(128))
        assert _put_block(server, 3, False, 3, b"x").code == codes.REQUEST_ENTITY_INCOMPLETE

    def test_a_block_that_is_not_as_long_as_it_says_is_a_bad_request(self) -> None:
        server = Server(CHANGED, _parameters(128))
        assert _put_block(server, 0, True, 3, bytes(100)).code == codes.BAD_REQUEST

    def test_a_body_announced_over_the_limit_is_too_large_at_its_first_block(self) -> None:
        server = Server(CHANGED, _parameters(1024, payload_bytes_max=65_536))
        answer = _put_block(server, 0, True, 6, bytes(1024), (SIZE1, encode_uint(102_400)))
        assert answer.code == codes.REQUEST_ENTITY_TOO_LARGE
        assert find_option(answer.options, SIZE1) == encode_uint(65_536)
        assert [event.reason for event in server.rejected] == ["too_large"]

    def test_a_body_that_grows_over_the_limit_is_too_large(self) -> None:
        server = Server(CHANGED, _parameters(128, payload_bytes_max=300))
        _put_block(server, 0, True, 3, bytes(128))
        _put_block(server, 1, True, 3, bytes(128))
        assert _put_block(server, 2, True, 3, bytes(128)).code == codes.REQUEST_ENTITY_TOO_LARGE
        assert _put_block(server, 2, False, 3, b"x").code == codes.REQUEST_ENTITY_INCOMPLETE

    def test_one_datagram_over_the_limit_is_too_large(self) -> None:
        server = Server(CHANGED, _parameters(128, payload_bytes_max=300))
        answer = server.ask(codes.POST, "rd", payload=bytes(301))
        assert answer.code == codes.REQUEST_ENTITY_TOO_LARGE
        assert server.requests == []

    def test_two_uploads_with_their_own_request_tags_do_not_mix(self) -> None:
        # RFC 9175 §3.3.
        server = Server(CHANGED, _parameters(128))
        tags = [(options.REQUEST_TAG, b"a"), (options.REQUEST_TAG, b"b")]
        for tag in tags:
            _put_block(server, 0, True, 3, tag[1] * 128, tag)
        for tag in tags:
            _put_block(server, 1, False, 3, b"!", tag)
        assert [r.payload for r in server.requests] == [b"a" * 128 + b"!", b"b" * 128 + b"!"]

    def test_a_whole_body_in_one_last_block_is_confirmed_with_its_block(self) -> None:
        server = Server(CHANGED, _parameters(128))
        answer = _put_block(server, 0, False, 3, b"all")
        assert (answer.code, _block(answer, BLOCK1)) == (codes.CHANGED, Block(0, False, 3))

    def test_an_upload_that_stops_is_forgotten(self) -> None:
        server = Server(CHANGED, _parameters(128))
        _put_block(server, 0, True, 3, bytes(128))
        while (due := server.endpoint.next_timer()) is not None:
            server.endpoint.handle_timer(due)
        assert server.endpoint.peers_known == 0

    def test_uploads_of_one_peer_make_room_for_newer_ones(self) -> None:
        server = Server(CHANGED, _parameters(128, transfers_per_peer_max=2))
        for name in ("a", "b", "c"):
            server.ask(codes.PUT, name, (BLOCK1, b"\x0b"), payload=bytes(128))
        answers = [
            server.ask(codes.PUT, name, (BLOCK1, b"\x13"), payload=b"x").code
            for name in ("a", "b", "c")
        ]
        assert answers == [codes.REQUEST_ENTITY_INCOMPLETE, codes.CHANGED, codes.CHANGED]

    def test_uploads_beyond_all_memory_are_refused(self) -> None:
        server = Server(CHANGED, _parameters(128, transfer_bytes_max=200))
        assert server.ask(codes.PUT, "a", (BLOCK1, b"\x0b"), payload=bytes(128)).code == (
            codes.CONTINUE
        )
        assert server.ask(codes.PUT, "b", (BLOCK1, b"\x0b"), payload=bytes(128)).code == (
            codes.REQUEST_ENTITY_TOO_LARGE
        )


def _echo(event: RequestReceived) -> Response:
    return Response(codes.CONTENT, event.request.payload, content_format=42)


def _pair(client: int, server: int, **changed: int) -> ConnectedPair:
    return ConnectedPair(
        _echo,
        client_parameters=_parameters(client, **changed),
        server_parameters=_parameters(server, **changed),
    )


class TestAsking:
    @pytest.mark.parametrize("size", [0, 15, 16, 17, 1023, 1024, 1025, 2048, 2500])
    @pytest.mark.parametrize(("client", "server"), [(1024, 1024), (1024, 64), (64, 1024), (16, 64)])
    def test_a_body_goes_up_and_comes_back_whole(self, client: int, server: int, size: int) -> None:
        pair = _pair(client, server)
        body = bytes(number & 255 for number in range(size))
        handle = pair.request(Request(codes.POST, ("echo",), content_format=42, payload=body))
        pair.run()
        assert [event.request.payload for event in pair.requests] == [body]
        assert pair.client_events == [ResponseReceived(pair.SERVER, handle, pair_response(pair))]
        assert pair_response(pair).payload == body
        assert pair_response(pair).content_format == 42

    def test_credentials_of_one_block_take_one_message_each_way(self) -> None:
        pair = ConnectedPair(lambda event: CHANGED)
        pair.request(Request(codes.PUT, ("18830", "0"), payload=bytes(1024)))
        pair.run()
        assert pair.network.sent == 2

    def test_credentials_of_2_kb_take_two_blocks(self) -> None:
        pair = ConnectedPair(lambda event: CHANGED)
        handle = pair.request(Request(codes.PUT, ("18830", "0"), payload=bytes(2_048)))
        assert pair.client.datagram_of(handle) is None
        pair.run()
        assert pair.network.sent == 4

    def test_a_smaller_size_asked_for_by_4_13_is_taken_up(self) -> None:
        # RFC 7959 §2.9.3.
        client = CoapEndpoint(_parameters(1024), seeded_draw(1))
        client.send_request(PEER, Request(codes.PUT, ("a",), payload=bytes(1500)), 0.0)
        [(data, _)] = client.datagrams_to_send()
        first = decode_message(data)
        refused = Message(ACK, codes.REQUEST_ENTITY_TOO_LARGE, first.message_id, first.token,
                          ((BLOCK1, encode_block(Block(0, True, 2))),))  # fmt: skip
        client.receive_datagram(encode_message(refused), PEER, 0.1)
        [(data, _)] = client.datagrams_to_send()
        again = decode_message(data)
        assert _block(again, BLOCK1) == Block(0, True, 2)
        assert len(again.payload) == 64

    def test_a_refusal_amid_an_upload_is_the_response(self) -> None:
        pair = _pair(128, 128, payload_bytes_max=300)
        handle = pair.request(Request(codes.PUT, ("a",), payload=bytes(301)))
        pair.run()
        [received] = pair.client_events
        assert isinstance(received, ResponseReceived)
        assert received.exchange == handle
        assert received.response.code == codes.REQUEST_ENTITY_TOO_LARGE
        assert find_option(received.response.options, SIZE1) == encode_uint(300)

    def test_a_response_over_the_limit_fails(self) -> None:
        pair = ConnectedPair(
            lambda event: Response(codes.CONTENT, bytes(500)),
            client_parameters=_parameters(128, payload_bytes_max=300),
            server_parameters=_parameters(128),
        )
        handle = pair.request(Request(codes.GET, ("a",)))
        pair.run()
        assert ExchangeFailed(pair.SERVER, handle, "malformed") in pair.client_events

    @pytest.mark.parametrize(
        "answer",
        [
            Message(ACK, codes.CONTINUE, 0),
            Message(ACK, codes.CONTINUE, 0, options=((BLOCK1, b"\x1b"),)),
            Message(ACK, codes.CONTINUE, 0, options=((BLOCK1, b"\x0f"),)),
            Message(ACK, codes.CONTENT, 0, options=((BLOCK2, b"\x17"), (BLOCK1, b"\x0b"))),
        ],
    )
    def test_blocks_that_make_no_sense_end_the_exchange(self, answer: Message) -> None:
        client = CoapEndpoint(_parameters(128), seeded_draw(1))
        handle = client.send_request(PEER, Request(codes.PUT, ("a",), payload=bytes(200)), 0.0)
        for _ in range(2):
            for data, _ in client.datagrams_to_send():
                asked = decode_message(data)
                made = Message(ACK, answer.code, asked.message_id, asked.token, answer.options)
                client.receive_datagram(encode_message(made), PEER, 0.1)
        assert ExchangeFailed(PEER, handle, "malformed") in client.events()

    def test_a_transfer_under_way_goes_before_waiting_requests(self) -> None:
        pair = _pair(64, 64)
        pair.request(Request(codes.PUT, ("first",), payload=bytes(200)))
        pair.request(Request(codes.PUT, ("second",)))
        pair.run()
        assert [event.request.path for event in pair.requests] == [("first",), ("second",)]


def pair_response(pair: ConnectedPair) -> Response:
    [event] = pair.client_events
    assert isinstance(event, ResponseReceived)
    return event.response


@given(st.binary(max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_block_or_malformed(value: bytes) -> None:
    try:
        block = decode_block(value)
    except MalformedBlock:
        return
    assert decode_block(encode_block(block)) == block


def test_a_block_number_of_more_than_20_bits_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="20 bits"):
        encode_block(Block(1 << 20, False, 0))


def test_a_block_size_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="block_size"):
        TransmissionParameters(block_size=1000)


def test_a_body_is_forgotten_once() -> None:
    store = TransferStore(CoreState(TransmissionParameters(), bytes))
    peer = Peer("x", 0.0)
    transfer = store.begin(peer, "upload", 0.0)
    assert transfer is not None
    store.drop(transfer)
    store.drop(transfer)
    assert peer.transfers is None
    assert store.begin(peer, "upload", 0.0) is not None
