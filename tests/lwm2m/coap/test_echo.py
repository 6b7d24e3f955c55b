"""Echo (RFC 9175 §2): requests asked for again, freshness, and answers to addresses that may be
forged."""

from __future__ import annotations

import pytest

from harness.testing import BAD_NETWORK, ConnectedPair
from lwm2m.coap import (
    ACK,
    CON,
    NON,
    RST,
    ExchangeFailed,
    Message,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
    encode_message,
    find_option,
    options,
)
from tests.lwm2m.coap.by_hand import OTHER, PEER, ByHand, block1, block2, block_of

GET = Request(codes.GET, ("a",))
LARGE = Response(codes.CONTENT, bytes(range(256)) * 4)
ECHO = (options.ECHO, b"value")


class TestAsking:
    def test_a_request_is_repeated_once_with_the_value_it_was_given(self) -> None:
        talk = ByHand()
        handle = talk.send(Request(codes.POST, ("a",), payload=b"body", options=((4, b"tag"),)))
        first = talk.sent_one()
        talk.answer(first, codes.UNAUTHORIZED, b"", ECHO)
        again = talk.sent_one()
        assert again.options == ((4, b"tag"), (11, b"a"), ECHO)
        assert (again.payload, again.type) == (b"body", CON)
        assert (again.token, again.message_id) != (first.token, first.message_id)
        assert talk.told() == []
        talk.answer(again, codes.CHANGED)
        assert talk.told() == [ResponseReceived(PEER, handle, Response(codes.CHANGED))]

    def test_a_second_4_01_is_the_answer(self) -> None:
        talk = ByHand()
        handle = talk.send(GET)
        for _ in range(2):
            talk.answer(talk.sent_one(), codes.UNAUTHORIZED, b"", ECHO)
        refused = Response(codes.UNAUTHORIZED, options=(ECHO,))
        assert talk.told() == [ResponseReceived(PEER, handle, refused)]
        assert talk.sent() == []

    def test_a_4_01_without_a_value_is_the_answer(self) -> None:
        talk = ByHand()
        talk.send(GET)
        talk.answer(talk.sent_one(), codes.UNAUTHORIZED, b"", (options.MAX_AGE, b""))
        assert talk.told_one(ResponseReceived).response.code == codes.UNAUTHORIZED

    def test_an_own_echo_value_is_replaced(self) -> None:
        talk = ByHand()
        talk.send(Request(codes.GET, options=((options.ECHO, b"old"),)))
        talk.answer(talk.sent_one(), codes.UNAUTHORIZED, b"", ECHO)
        assert talk.sent_one().options == (ECHO,)

    def test_a_request_that_is_asked_for_again_goes_before_waiting_ones(self) -> None:
        talk = ByHand()
        talk.send(GET)
        talk.send(Request(codes.GET, ("waits",)))
        talk.answer(talk.sent_one(), codes.UNAUTHORIZED, b"", ECHO)
        assert talk.sent_one().options == ((11, b"a"), ECHO)

    def test_a_resumed_request_is_not_repeated(self) -> None:
        # Its earlier incarnation may have repeated it, and been obeyed.
        maker, talk = ByHand(), ByHand()
        datagram = maker.endpoint.datagram_of(maker.send(GET))
        assert datagram is not None
        handle = talk.endpoint.resume_exchange(PEER, datagram, 0.0, 0.0)
        talk.answer(talk.sent_one(), codes.UNAUTHORIZED, b"", ECHO)
        assert talk.told_one(ResponseReceived).exchange == handle
        assert talk.sent() == []

    def test_each_block_may_be_asked_for_again(self) -> None:
        talk = ByHand(block_size=16)
        handle = talk.send(Request(codes.PUT, payload=bytes(32)))
        for number in (0, 1):
            asked = talk.sent_one()
            talk.answer(asked, codes.UNAUTHORIZED, b"", ECHO)
            again = talk.sent_one()
            assert find_option(again.options, options.ECHO) == b"value"
            assert block_of(again, options.BLOCK1) == block_of(asked, options.BLOCK1)
            more = number == 0
            code = codes.CONTINUE if more else codes.CHANGED
            talk.answer(again, code, b"", block1(number, more, 0))
        assert talk.told() == [ResponseReceived(PEER, handle, Response(codes.CHANGED))]

    def test_an_observation_that_asks_for_an_echo_value_ends(self) -> None:
        talk = ByHand()
        handle = talk.send(Request(codes.GET, observe=0))
        asked = talk.sent_one()
        talk.answer(asked, codes.CONTENT, b"1", (options.OBSERVE, b"\x01"))
        talk.told()
        talk.answer(asked, codes.UNAUTHORIZED, b"", ECHO, type_=CON)
        assert talk.told_one(ResponseReceived).exchange == handle
        assert [message.type for message in talk.sent()] == [ACK]


class TestFreshness:
    def test_a_request_with_our_value_has_an_age(self) -> None:
        talk = ByHand()
        challenge = talk.endpoint.echo_challenge(PEER, 10.0)
        assert challenge.code == codes.UNAUTHORIZED
        again = Request(codes.POST, options=challenge.options)
        assert talk.endpoint.echo_age_s(PEER, again, 12.5) == 2.5
        assert talk.endpoint.echo_age_s(PEER, again, 9.0) == 0.0

    def test_other_values_have_none(self) -> None:
        talk = ByHand()
        [(_, value)] = talk.endpoint.echo_challenge(PEER, 10.0).options
        again = Request(codes.POST, options=((options.ECHO, value),))
        forged = Request(codes.POST, options=((options.ECHO, value[:-1] + b"!"),))
        short = Request(codes.POST, options=((options.ECHO, b"short"),))
        assert talk.endpoint.echo_age_s(OTHER, again, 11.0) is None
        for request in (forged, short, Request(codes.POST)):
            assert talk.endpoint.echo_age_s(PEER, request, 11.0) is None

    def test_an_application_may_demand_freshness_of_what_it_obeys(self) -> None:
        def answer(event: RequestReceived) -> Response:
            now = pair.network.now
            age_s = pair.server.echo_age_s(event.peer, event.request, now)
            if age_s is None or age_s > 1.0:
                return pair.server.echo_challenge(event.peer, now)
            return Response(codes.CHANGED, b"done")

        pair = ConnectedPair(answer)
        handle = pair.request(Request(codes.POST, ("3", "0", "4")))
        pair.run()
        done = Response(codes.CHANGED, b"done")
        assert pair.client_events == [ResponseReceived(pair.SERVER, handle, done)]


def _first_answer(talk: ByHand, response: Response = LARGE, code: int = codes.GET) -> Message:
    talk.ask(code)
    talk.respond(response)
    return talk.sent_one()


class TestAmplification:
    def test_a_long_answer_to_an_unknown_address_is_cut_into_small_blocks(self) -> None:
        talk = ByHand()
        answer = _first_answer(talk)
        assert len(encode_message(answer)) <= 160
        block = block_of(answer, options.BLOCK2)
        assert block is not None
        assert (block.number, block.more) == (0, True)

    def test_later_blocks_are_small_too_whatever_size_is_asked_for(self) -> None:
        talk = ByHand()
        _first_answer(talk)
        talk.ask(codes.GET, block2(1, False, 5))
        answer = talk.sent_one()
        assert len(encode_message(answer)) <= 160
        assert LARGE.payload[512:].startswith(answer.payload)
        assert answer.payload

    def test_a_longer_request_may_have_a_longer_answer(self) -> None:
        talk = ByHand()
        talk.ask(codes.GET, (options.URI_QUERY, b"x" * 200), (options.URI_QUERY, b"y" * 200))
        talk.respond(LARGE)
        answer = talk.sent_one()
        assert len(answer.payload) == 1024
        assert len(encode_message(answer)) <= 3 * 400 + 100

    def test_a_whole_body_is_fetched_by_who_is_really_there(self) -> None:
        pair = ConnectedPair(lambda event: LARGE)
        pair.request(GET)
        pair.run()
        [told] = pair.client_events
        assert isinstance(told, ResponseReceived)
        assert told.response.payload == LARGE.payload
        assert len(pair.requests) == 1

    def test_an_error_text_that_is_too_long_is_left_out(self) -> None:
        answer = _first_answer(ByHand(), Response(codes.BAD_REQUEST, bytes(500)))
        assert (answer.code, answer.payload) == (codes.BAD_REQUEST, b"")

    def test_a_separate_response_is_limited_likewise(self) -> None:
        talk = ByHand()
        talk.ask(codes.GET)
        event = talk.told_one(RequestReceived)
        talk.wait(1.0)
        talk.endpoint.respond(event.exchange, LARGE, talk.now)
        assert len(encode_message(talk.sent_one())) <= 160

    def test_echo_asks_a_safe_request_again_before_it_is_answered_at_length(self) -> None:
        pair = ConnectedPair(
            lambda event: LARGE,
            server_parameters=TransmissionParameters(amplification_answer="echo"),
        )
        for _ in range(2):
            pair.request(GET)
            pair.run_for(1.0)
        assert all(isinstance(event, ResponseReceived) for event in pair.client_events)
        # Twice for the first, once for the second: the address is known by then.
        assert len(pair.requests) == 3

    def test_echo_does_not_have_an_unsafe_request_carried_out_twice(self) -> None:
        talk = ByHand(amplification_answer="echo")
        answer = _first_answer(talk, LARGE, codes.POST)
        assert answer.code == codes.CONTENT
        assert len(encode_message(answer)) <= 160

    def test_an_observation_that_has_to_be_asked_for_again_is_told_as_cancelled(self) -> None:
        talk = ByHand(amplification_answer="echo")
        talk.ask(codes.GET, (options.OBSERVE, b""))
        event = talk.told_one(RequestReceived)
        observed = Response(codes.CONTENT, bytes(500), observe=1)
        talk.endpoint.respond(event.exchange, observed, 0.0)
        assert talk.sent_one().code == codes.UNAUTHORIZED
        assert talk.told() == [ExchangeFailed(PEER, event.exchange, "cancelled")]

    def test_an_old_echo_value_validates_nothing(self) -> None:
        talk = ByHand(amplification_answer="echo")
        _, value = _first_answer(talk).options[-1]
        talk.wait(61.0)
        talk.ask(codes.GET, (options.ECHO, value))
        talk.respond(LARGE)
        assert talk.sent_one().code == codes.UNAUTHORIZED

    def test_no_factor_is_no_limit(self) -> None:
        answer = _first_answer(ByHand(amplification_factor=0))
        assert len(answer.payload) == 1024

    def test_options_that_are_too_long_for_it_leave_the_bare_code(self) -> None:
        long = Response(codes.CREATED, location_path=("x" * 200,))
        answer = _first_answer(ByHand(), long, codes.POST)
        assert (answer.code, answer.options) == (codes.CREATED, ())


class TestValidation:
    def _is_validated(self, talk: ByHand) -> bool:
        talk.sent()
        return len(_first_answer(talk).payload) == 1024

    def test_nobody_is_at_first(self) -> None:
        assert not self._is_validated(ByHand())

    def test_who_answers_what_we_asked_is(self) -> None:
        talk = ByHand()
        talk.send(GET)
        talk.answer(talk.sent_one())
        talk.told()
        assert self._is_validated(talk)

    def test_who_acknowledges_our_separate_response_is(self) -> None:
        talk = ByHand()
        talk.ask(codes.GET)
        event = talk.told_one(RequestReceived)
        talk.wait(1.0)
        talk.endpoint.respond(event.exchange, Response(codes.CONTENT), talk.now)
        talk.hear(Message(ACK, 0, talk.sent_one().message_id))
        assert self._is_validated(talk)

    def test_who_resets_or_answers_wrongly_is_not(self) -> None:
        talk = ByHand()
        talk.send(GET)
        asked = talk.sent_one()
        talk.hear(Message(ACK, codes.CONTENT, asked.message_id, b"guessed"))
        talk.hear(Message(RST, 0, asked.message_id))
        talk.told()
        assert not self._is_validated(talk)

    @pytest.mark.parametrize("is_known", [True, False])
    def test_the_application_may_say_so(self, is_known: bool) -> None:
        talk = ByHand()
        if is_known:
            talk.send(GET)
        talk.endpoint.validate_peer(PEER)
        assert self._is_validated(talk)

    def test_it_outlives_everything_else_that_is_known_of_a_peer(self) -> None:
        talk = ByHand()
        talk.send(GET)
        talk.answer(talk.sent_one())
        talk.told()
        talk.wait(1_000.0)
        assert talk.endpoint.peers_known == 0
        assert self._is_validated(talk)

    def test_it_ends_when_the_peer_is_forgotten(self) -> None:
        for is_known in (True, False):
            talk = ByHand()
            if is_known:
                talk.send(GET)
            talk.endpoint.validate_peer(PEER)
            talk.endpoint.forget_peer(PEER)
            talk.told()
            assert not self._is_validated(talk)

    def test_the_oldest_is_forgotten_when_there_are_too_many(self) -> None:
        talk = ByHand(validated_max=2)
        for peer in (PEER, "b", "c"):
            talk.endpoint.validate_peer(peer)
        assert not self._is_validated(talk)

    def test_non_confirmable_answers_are_limited_likewise(self) -> None:
        talk = ByHand()
        talk.ask(codes.GET, type_=NON)
        talk.respond(LARGE)
        assert len(encode_message(talk.sent_one())) <= 160


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("answer", ["blocks", "echo"])
def test_over_a_bad_network_an_unknown_client_gets_its_body_or_a_timeout(
    seed: int, answer: str
) -> None:
    pair = ConnectedPair(
        lambda event: LARGE,
        seed=seed,
        conditions=BAD_NETWORK,
        server_parameters=TransmissionParameters(amplification_answer=answer),  # type: ignore[arg-type]  # one of the two
    )
    pair.request(GET)
    pair.run()
    [told] = [e for e in pair.client_events if isinstance(e, ResponseReceived | ExchangeFailed)]
    if isinstance(told, ResponseReceived):
        assert told.response.payload == LARGE.payload
    else:
        assert told.reason == "timeout"
