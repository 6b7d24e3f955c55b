"""Request-Tag (RFC 9175 §3): two bodies in blocks are never mixed."""

from __future__ import annotations

from lwm2m.coap import (
    ACK,
    Message,
    PeerQueueFull,
    Request,
    RequestReceived,
    Response,
    codes,
    find_option,
    options,
)
from tests.lwm2m.coap.by_hand import ByHand, block1, block2

UPLOAD = Request(codes.PUT, ("a",), payload=bytes(32))


def _tag(message: Message) -> bytes | None:
    return find_option(message.options, options.REQUEST_TAG)


class TestAsking:
    def test_one_body_after_the_other_needs_no_tag(self) -> None:
        talk = ByHand(block_size=16)
        for _ in range(2):
            talk.send(UPLOAD)
            for number in (0, 1):
                asked = talk.sent_one()
                assert _tag(asked) is None
                code = codes.CONTINUE if number == 0 else codes.CHANGED
                talk.answer(asked, code, b"", block1(number, number == 0, 0))

    def test_two_bodies_to_one_target_at_once_are_told_apart(self) -> None:
        talk = ByHand(block_size=16, nstart=4)
        for _ in range(3):
            talk.send(UPLOAD)
        talk.send(Request(codes.PUT, ("b",), payload=bytes(32)))
        first, second, third, elsewhere = talk.sent()
        assert (_tag(first), _tag(elsewhere)) == (None, None)
        assert _tag(second) is not None
        assert _tag(third) not in (None, _tag(second))
        talk.answer(second, codes.CONTINUE, b"", block1(0, True, 0))
        assert _tag(talk.sent_one()) == _tag(second)

    def test_a_body_after_one_that_was_broken_off_has_a_tag_while_blocks_may_be_under_way(
        self,
    ) -> None:
        talk = ByHand(block_size=16)
        talk.endpoint.cancel(talk.send(UPLOAD))
        talk.sent()
        talk.endpoint.cancel(talk.send(UPLOAD))
        assert _tag(talk.sent_one()) is not None
        talk.wait(248.0)
        talk.endpoint.cancel(talk.send(UPLOAD))
        assert _tag(talk.sent_one()) is None

    def test_a_tag_of_the_application_s_own_is_kept(self) -> None:
        talk = ByHand(block_size=16, nstart=2)
        mine = Request(codes.PUT, ("a",), payload=bytes(32), options=((292, b"mine"),))
        for _ in range(2):
            talk.send(mine)
        assert [_tag(message) for message in talk.sent()] == [b"mine"] * 2

    def test_a_body_that_could_not_be_sent_leaves_no_trace(self) -> None:
        talk = ByHand(block_size=16, queue_per_peer_max=0)
        talk.send(Request(codes.GET, ("first",)))
        first = talk.sent_one()
        try:
            talk.send(UPLOAD)
        except PeerQueueFull:
            talk.answer(first)
        talk.send(UPLOAD)
        assert _tag(talk.sent_one()) is None

    def test_when_too_many_targets_are_remembered_a_body_has_a_tag(self) -> None:
        talk = ByHand(block_size=16, nstart=40)
        for number in range(33):
            talk.send(Request(codes.PUT, (str(number),), payload=bytes(32)))
        tags = [_tag(message) for message in talk.sent()]
        assert [tag is None for tag in tags] == [True] * 32 + [False]
        talk.endpoint.forget_peer(("127.0.0.2", 5683))

    def test_room_for_targets_is_made_of_those_that_are_old(self) -> None:
        talk = ByHand(block_size=16)
        for number in range(32):
            talk.endpoint.cancel(talk.send(Request(codes.PUT, (str(number),), payload=bytes(32))))
        talk.wait(100.0)
        talk.endpoint.cancel(talk.send(Request(codes.PUT, ("0",), payload=bytes(32))))
        talk.wait(150.0)
        talk.sent()
        talk.send(UPLOAD)
        assert _tag(talk.sent_one()) is None

    def test_fetches_of_one_target_with_different_bodies_are_told_apart(self) -> None:
        talk = ByHand(nstart=4)
        for body in (b"one", b"two", b"three"):
            talk.send(Request(codes.FETCH, ("a",), payload=body))
        first, second, third = talk.sent()
        assert _tag(first) is None
        assert _tag(second) is not None
        assert _tag(third) not in (None, _tag(second))

    def test_a_fetch_beside_the_same_fetch_needs_none(self) -> None:
        talk = ByHand(nstart=4, block_size=16)
        for _ in range(2):
            talk.send(Request(codes.FETCH, ("a",), payload=b"one"))
        assert [_tag(message) for message in talk.sent()] == [None, None]


class TestServing:
    BODIES = (b"a" * 100, b"b" * 100)

    def _server(self) -> ByHand:
        talk = ByHand(block_size=64, amplification_factor=0)
        for body in self.BODIES:
            tag = (options.REQUEST_TAG, body[:1])
            talk.ask(codes.FETCH, tag, payload=body[:1])
            event = talk.told_one(RequestReceived)
            assert event.request.payload == body[:1]
            talk.endpoint.respond(event.exchange, Response(codes.CONTENT, body), 0.0)
        talk.sent()
        return talk

    def test_answers_in_blocks_are_kept_apart_by_their_requests_tags(self) -> None:
        talk = self._server()
        for body in self.BODIES:
            talk.ask(codes.FETCH, (options.REQUEST_TAG, body[:1]), block2(1, False, 2))
            assert talk.sent_one().payload == body[64:]

    def test_a_client_that_leaves_the_tag_out_gets_the_newest(self) -> None:
        talk = self._server()
        talk.ask(codes.FETCH, block2(1, False, 2))
        assert talk.sent_one().payload == b"b" * 36

    def test_a_tag_that_was_never_used_finds_nothing(self) -> None:
        talk = self._server()
        talk.ask(codes.FETCH, (options.REQUEST_TAG, b"c"), block2(1, False, 2))
        # It is safe: asked anew.
        talk.respond(Response(codes.CONTENT, b"c" * 100))
        assert talk.sent_one().payload == b"c" * 36

    def test_a_later_block_of_another_target_finds_nothing(self) -> None:
        talk = self._server()
        talk.ask(codes.POST, block2(1, False, 2))
        answer = talk.sent_one()
        assert (answer.type, answer.code) == (ACK, codes.REQUEST_ENTITY_INCOMPLETE)

    def test_a_repeated_tag_is_the_list_of_all(self) -> None:
        talk = ByHand(block_size=64)
        one, both = ((292, b"a"),), ((292, b"a"), (292, b"b"))
        for tags in (one, both):
            talk.ask(codes.PUT, *tags, block1(0, True, 2), payload=bytes(64))
        for tags in (one, both):
            talk.ask(codes.PUT, *tags, block1(1, False, 2), payload=b"x")
        assert len([e for e in talk.told() if isinstance(e, RequestReceived)]) == 2
