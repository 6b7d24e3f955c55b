"""The server's side of observations (RFC 7641 §4): the newest state, at a rate, until its end."""

from __future__ import annotations

import itertools

import pytest

from harness.testing import ConnectedPair
from lwm2m.coap import (
    ACK,
    CON,
    NON,
    RST,
    DatagramRejected,
    ExchangeFailed,
    Message,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
    encode_message,
    find_option,
    options,
)
from tests.lwm2m.coap.by_hand import PEER, TICK_S, ByHand, block2, block_of


def _value(number: int, payload: bytes | None = None) -> Response:
    return Response(codes.CONTENT, b"%d" % number if payload is None else payload, observe=number)


class Observed(ByHand):
    """An endpoint that PEER observes, whose address is known to be real."""

    def __init__(self, **changed: object) -> None:
        super().__init__(**changed)
        self.endpoint.validate_peer(PEER)
        self.handle = self.observed()

    def notify(self, number: int, *, confirmable: bool = True, handle: int | None = None) -> None:
        """Notify of a value that is its own number."""
        self.endpoint.notify(
            handle or self.handle, _value(number), self.now, confirmable=confirmable
        )

    def acknowledge(self, message: Message) -> None:
        """Have PEER take a notification."""
        self.hear(Message(ACK, 0, message.message_id))


class TestConfirmable:
    def test_one_is_on_its_way_at_a_time_and_the_newest_state_follows(self) -> None:
        talk = Observed()
        for number in (2, 3, 4):
            talk.notify(number)
        first = talk.sent_one()
        assert (first.type, first.payload) == (CON, b"2")
        talk.acknowledge(first)
        newest = talk.sent_one()
        assert (newest.payload, newest.message_id != first.message_id) == (b"4", True)
        talk.acknowledge(newest)
        assert talk.sent() == []
        assert talk.told() == []

    def test_a_retransmission_carries_the_newest_state_and_waits_twice_as_long(self) -> None:
        # RFC 7641 §4.5.2: back-off does not begin anew.
        talk = Observed()
        talk.notify(2)
        sent = [(0.0, talk.sent_one())]
        for number in (3, 4, 5, 6):
            talk.notify(number, confirmable=False)
            sent += talk.wait(_next_wait(talk))
        assert [message.payload for _, message in sent] == [b"2", b"3", b"4", b"5", b"6"]
        assert len({message.message_id for _, message in sent}) == 5
        assert {message.type for _, message in sent} == {CON}
        waits = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(sent)]
        assert 2.0 <= waits[0] <= 3.0 + TICK_S
        for shorter, longer in itertools.pairwise(waits):
            assert longer == pytest.approx(2 * shorter, abs=3 * TICK_S)
        talk.wait(100.0)
        assert talk.told() == [ExchangeFailed(PEER, talk.handle, "timeout")]

    def test_without_news_the_same_message_is_retransmitted(self) -> None:
        talk = Observed()
        talk.notify(2)
        first = talk.sent_one()
        assert [message for _, message in talk.wait(100.0)] == [first] * 4
        assert talk.told() == [ExchangeFailed(PEER, talk.handle, "timeout")]

    def test_an_acknowledgement_of_a_replaced_message_is_none(self) -> None:
        talk = Observed()
        talk.notify(2)
        old = talk.sent_one()
        talk.notify(3)
        [(_, new)] = talk.wait(3.1)
        talk.acknowledge(old)
        assert talk.told_one(DatagramRejected).reason == "unexpected"
        talk.acknowledge(new)
        assert talk.wait(100.0) == []

    def test_notifications_of_several_observations_go_one_after_the_other(self) -> None:
        # RFC 7641 §4.5.1: NSTART.
        talk = Observed()
        handles = [talk.handle, *(talk.observed(token=b"%d" % n) for n in range(3))]
        for number, handle in enumerate(handles):
            talk.notify(10 + number, handle=handle)
        talk.notify(21, handle=handles[1])
        payloads = []
        for _ in range(4):
            message = talk.sent_one()
            payloads.append(message.payload)
            talk.acknowledge(message)
        assert payloads == [b"10", b"21", b"12", b"13"]

    def test_who_notifies_all_the_time_does_not_keep_others_from_their_turn(self) -> None:
        talk = Observed()
        other = talk.observed(token=b"other")
        talk.notify(2)
        talk.notify(100, handle=other)
        talk.notify(3)
        talk.acknowledge(talk.sent_one())
        assert talk.sent_one().payload == b"100"

    @pytest.mark.parametrize("end", ["timeout", "reset", "cancelled", "anew"])
    def test_the_end_of_one_lets_the_next_go(self, end: str) -> None:
        talk = Observed(max_retransmit=0)
        other = talk.observed(token=b"other")
        talk.notify(2)
        talk.notify(100, handle=other)
        first = talk.sent_one()
        if end == "reset":
            talk.hear(Message(RST, 0, first.message_id))
        elif end == "cancelled":
            talk.endpoint.cancel(talk.handle)
        elif end == "anew":
            talk.ask(codes.GET, (options.OBSERVE, b""))
        sent = [*talk.sent(), *(message for _, message in talk.wait(3.1))]
        assert b"100" in [message.payload for message in sent]

    def test_what_ended_while_it_waited_is_not_sent(self) -> None:
        talk = Observed()
        other = talk.observed(token=b"other")
        talk.notify(2)
        talk.notify(100, handle=other)
        talk.endpoint.cancel(other)
        talk.acknowledge(talk.sent_one())
        assert talk.sent() == []

    def test_a_forgotten_peer_gets_nothing_that_waited(self) -> None:
        talk = Observed()
        other = talk.observed(token=b"other")
        talk.notify(2)
        talk.notify(100, handle=other)
        talk.sent()
        talk.endpoint.forget_peer(PEER)
        assert talk.wait(300.0) == []
        assert talk.endpoint.peers_known == 0

    def test_the_first_separate_answer_may_be_replaced_by_a_newer_state(self) -> None:
        talk = ByHand()
        talk.ask(codes.GET, (options.OBSERVE, b""))
        event = talk.told_one(RequestReceived)
        talk.wait(1.0)
        talk.endpoint.respond(event.exchange, _value(1), talk.now)
        talk.endpoint.notify(event.exchange, _value(2), talk.now)
        assert [message.payload for message in talk.sent()] == [b"1"]
        [(_, again)] = talk.wait(3.1)
        assert (again.type, again.payload) == (CON, b"2")


def _next_wait(talk: ByHand) -> float:
    due = talk.endpoint.next_timer()
    assert due is not None
    return due - talk.now + TICK_S / 2


class TestNonConfirmable:
    def test_a_burst_goes_at_once(self) -> None:
        talk = Observed(non_notification_burst=3)
        for number in (2, 3, 4):
            talk.notify(number, confirmable=False)
        assert [(m.type, m.payload) for m in talk.sent()] == [
            (NON, b"2"), (NON, b"3"), (NON, b"4"),
        ]  # fmt: skip

    def test_more_than_that_asks_for_an_acknowledgement_and_goes_on_by_the_round_trip(
        self,
    ) -> None:
        talk = Observed(non_notification_burst=1)
        talk.notify(2, confirmable=False)
        talk.notify(3, confirmable=False)
        first, second = talk.sent()
        assert (first.type, second.type) == (NON, CON)
        talk.now += 0.5
        talk.acknowledge(second)
        talk.notify(4, confirmable=False)
        talk.notify(5, confirmable=False)
        times = [at for at, message in talk.wait(10.0) if message.type == NON]
        assert len(times) == 1
        # A third of the 3 s between 2 and 3 had not gone by: RFC 7641 §4.5.1's average.
        assert 0.5 <= times[0] <= 4.0

    def test_a_known_round_trip_is_the_rate(self) -> None:
        talk = Observed(non_notification_burst=1)
        talk.notify(2)
        talk.now = 0.25
        talk.acknowledge(talk.sent_one())
        sent = []
        for number in range(3, 43):
            talk.notify(number, confirmable=False)
            sent += [message.payload for message in talk.sent()]
            sent += [message.payload for _, message in talk.wait(0.05)]
        sent += [message.payload for _, message in talk.wait(1.0)]
        # 2 s at one a quarter of a second, and always the newest.
        assert 8 <= len(sent) <= 11
        assert sent[-1] == b"42"

    def test_a_round_trip_is_measured_by_our_own_requests_too(self) -> None:
        talk = Observed(non_notification_burst=1)
        talk.notify(2, confirmable=False)
        talk.send(Request(codes.GET))
        asked = talk.sent()[-1]
        talk.now = 0.25
        talk.answer(asked)
        talk.told()
        talk.notify(3, confirmable=False)
        assert talk.sent() == []
        assert [message.type for _, message in talk.wait(5.0)] == [NON]

    def test_an_acknowledgement_alone_measures_likewise_and_a_retransmission_does_not(
        self,
    ) -> None:
        for delay_s, measured in ((0.25, True), (4.0, False)):
            talk = Observed()
            talk.notify(2, confirmable=False)
            talk.send(Request(codes.GET))
            asked = talk.sent()[-1]
            talk.wait(delay_s)
            talk.hear(Message(ACK, 0, asked.message_id))
            peer = talk.endpoint._core.peers.by_address[PEER]
            assert peer.notifying is not None
            assert (peer.notifying.round_trip_s > 0) is measured

    def test_an_acknowledged_retransmission_measures_nothing(self) -> None:
        talk = Observed()
        talk.notify(2)
        first = talk.sent_one()
        talk.wait(4.0)
        talk.acknowledge(first)
        peer = talk.endpoint._core.peers.by_address[PEER]
        assert peer.notifying is not None
        assert peer.notifying.round_trip_s < 0

    def test_to_an_address_that_nobody_was_seen_at_all_is_confirmable(self) -> None:
        # RFC 7641 §7.
        talk = ByHand()
        handle = talk.observed()
        talk.endpoint.notify(handle, _value(2), 0.0)
        first = talk.sent_one()
        assert first.type == CON
        talk.hear(Message(ACK, 0, first.message_id))
        talk.endpoint.notify(handle, _value(3), 1.0)
        assert talk.sent_one().type == NON

    def test_without_a_limit_on_amplification_it_is_not(self) -> None:
        talk = ByHand(amplification_factor=0)
        talk.endpoint.notify(talk.observed(), _value(2), 0.0)
        assert talk.sent_one().type == NON

    def test_a_reset_ends_it(self) -> None:
        talk = Observed()
        talk.notify(2, confirmable=False)
        talk.hear(Message(RST, 0, talk.sent_one().message_id))
        assert talk.told() == [ExchangeFailed(PEER, talk.handle, "reset")]

    def test_a_reset_of_something_else_does_not(self) -> None:
        talk = Observed()
        talk.notify(2, confirmable=False)
        talk.hear(Message(RST, 0, (talk.sent_one().message_id + 5) & 0xFFFF))
        assert talk.told_one(DatagramRejected).reason == "reset"


class TestErrors:
    def test_a_confirmable_error_is_retransmitted_without_observe_and_nothing_follows(
        self,
    ) -> None:
        talk = Observed()
        gone = Response(codes.NOT_FOUND, observe=9)
        talk.endpoint.notify(talk.handle, gone, 0.0, confirmable=True)
        first = talk.sent_one()
        assert (first.code, first.options) == (codes.NOT_FOUND, ())
        with pytest.raises(UnknownExchange):
            talk.notify(10)
        assert [message for _, message in talk.wait(3.1)] == [first]
        talk.acknowledge(first)
        assert talk.wait(100.0) == []
        assert talk.told() == []

    def test_a_non_confirmable_error_is_the_end_at_once(self) -> None:
        talk = Observed()
        talk.endpoint.notify(talk.handle, Response(codes.NOT_FOUND), 0.0)
        assert talk.sent_one().type == NON
        assert talk.endpoint._responder.find(talk.handle) is None

    def test_an_error_that_nobody_takes_is_told(self) -> None:
        talk = Observed(max_retransmit=0)
        talk.endpoint.notify(talk.handle, Response(codes.NOT_FOUND), 0.0, confirmable=True)
        talk.wait(5.0)
        assert talk.told() == [ExchangeFailed(PEER, talk.handle, "timeout")]

    def test_an_error_waits_for_an_earlier_state_and_is_still_the_last(self) -> None:
        talk = Observed()
        talk.notify(2)
        talk.endpoint.notify(talk.handle, Response(codes.NOT_FOUND), 0.0, confirmable=True)
        with pytest.raises(UnknownExchange):
            talk.notify(3)
        talk.acknowledge(talk.sent_one())
        last = talk.sent_one()
        assert last.code == codes.NOT_FOUND
        talk.acknowledge(last)
        assert talk.wait(100.0) == []

    def test_an_error_replaces_a_state_that_has_to_be_sent_again(self) -> None:
        talk = Observed()
        talk.notify(2)
        talk.sent()
        talk.endpoint.notify(talk.handle, Response(codes.NOT_FOUND), 0.0)
        [(_, last)] = talk.wait(3.1)
        assert (last.type, last.code) == (CON, codes.NOT_FOUND)
        talk.acknowledge(last)
        assert talk.wait(100.0) == []
        assert talk.told() == []

    def test_its_token_may_observe_anew_while_the_error_is_on_its_way(self) -> None:
        talk = Observed()
        talk.endpoint.notify(talk.handle, Response(codes.NOT_FOUND), 0.0, confirmable=True)
        error = talk.sent_one()
        again = talk.observed()
        talk.acknowledge(error)
        talk.notify(5, handle=again)
        assert talk.sent_one().payload == b"5"

    def test_the_asking_side_sees_the_error_as_the_last_answer(self) -> None:
        pair = ConnectedPair(lambda event: _value(1))
        mine = pair.request(Request(codes.GET, ("a",), observe=0))
        pair.run_for(1.0)
        theirs = pair.requests[0].exchange
        pair.server.notify(theirs, Response(codes.NOT_FOUND), pair.network.now, confirmable=True)
        pair.run_for(1.0)
        assert pair.client_events[-1] == ResponseReceived(
            pair.SERVER, mine, Response(codes.NOT_FOUND)
        )
        pair.run()
        assert (pair.client.peers_known, pair.server.peers_known) == (0, 0)

    def test_what_cannot_be_encoded_changes_nothing(self) -> None:
        talk = Observed()
        for bad in (Response(codes.GET), Response(codes.CONTENT, observe=1 << 24)):
            for _ in range(2):
                with pytest.raises(ValueError):
                    talk.endpoint.notify(talk.handle, bad, 0.0, confirmable=True)
        talk.notify(2)
        with pytest.raises(ValueError):
            talk.endpoint.notify(talk.handle, Response(codes.GET), 0.0)
        message = talk.sent_one()
        assert message.payload == b"2"
        talk.acknowledge(message)
        assert talk.sent() == []


class TestBlocks:
    BODY = bytes(range(256)) * 2

    def test_a_large_notification_has_blocks_of_the_size_that_was_asked_for(self) -> None:
        talk = ByHand()
        talk.endpoint.validate_peer(PEER)
        talk.ask(codes.GET, (options.OBSERVE, b""), block2(0, False, 2))
        handle = talk.respond(_value(1, self.BODY)).exchange
        talk.endpoint.notify(handle, _value(2, self.BODY[::-1]), 0.0)
        for message in talk.sent():
            block = block_of(message, options.BLOCK2)
            assert block is not None
            assert (block.number, block.more, block.szx) == (0, True, 2)
            assert find_option(message.options, options.OBSERVE) is not None
        talk.ask(codes.GET, block2(1, False, 2))
        later = talk.sent_one()
        assert later.payload == self.BODY[::-1][64:128]
        assert find_option(later.options, options.OBSERVE) is None

    def test_an_uploaded_request_is_confirmed_once_and_not_in_notifications(self) -> None:
        talk = ByHand()
        talk.endpoint.validate_peer(PEER)
        block1 = (options.BLOCK1, b"\x00")
        talk.ask(codes.FETCH, (options.OBSERVE, b""), block1, payload=b"paths")
        handle = talk.respond(_value(1)).exchange
        assert block_of(talk.sent_one(), options.BLOCK1) is not None
        talk.endpoint.notify(handle, _value(2), 0.0)
        assert block_of(talk.sent_one(), options.BLOCK1) is None

    def test_to_an_address_that_may_be_forged_it_is_small(self) -> None:
        talk = ByHand()
        handle = talk.observed()
        talk.endpoint.notify(handle, _value(2, self.BODY), 0.0)
        assert len(encode_message(talk.sent_one())) <= 160

    def test_an_observation_cannot_begin_with_a_later_block(self) -> None:
        talk = ByHand(amplification_factor=0)
        talk.ask(codes.GET, (options.OBSERVE, b""), block2(1, False, 2))
        event = talk.respond(_value(1, self.BODY))
        assert find_option(talk.sent_one().options, options.OBSERVE) is None
        assert talk.told() == [ExchangeFailed(PEER, event.exchange, "cancelled")]


class TestBeginning:
    def test_a_plain_request_is_not_answered_with_observe(self) -> None:
        talk = ByHand()
        for found in ((), ((options.OBSERVE, b"\x01"),)):
            talk.ask(codes.GET, *found)
            event = talk.respond(_value(1))
            assert talk.sent_one().options == ()
            with pytest.raises(UnknownExchange):
                talk.endpoint.notify(event.exchange, _value(2), 0.0)

    def test_observe_1_ends_the_observation_of_its_token(self) -> None:
        talk = Observed()
        talk.ask(codes.GET, (options.OBSERVE, b"\x01"))
        ended, asked = talk.told()
        assert ended == ExchangeFailed(PEER, talk.handle, "cancelled")
        assert isinstance(asked, RequestReceived)
        assert asked.request.observe == 1

    def test_an_observation_survives_what_is_remembered_of_its_request(self) -> None:
        talk = Observed()
        talk.wait(1_000.0)
        talk.notify(2, confirmable=False)
        assert talk.sent_one().payload == b"2"

    def test_an_observation_that_ends_late_leaves_no_peer_behind(self) -> None:
        talk = Observed()
        talk.wait(1_000.0)
        talk.endpoint.cancel(talk.handle)
        assert talk.endpoint.peers_known == 0

    def test_without_a_message_id_nothing_is_sent(self) -> None:
        talk = Observed(nstart=4)
        peer = talk.endpoint._core.peers.by_address[PEER]
        peer.next_message_id, peer.left_segments = 0, {0: 0.0}
        talk.notify(2, confirmable=False)
        assert talk.sent() == []
        talk.notify(3)
        assert talk.told() == [ExchangeFailed(PEER, talk.handle, "timeout")]


@pytest.mark.parametrize("seed", range(5))
def test_over_a_bad_network_the_last_state_arrives_or_the_end_is_told(seed: int) -> None:
    from harness.testing import BAD_NETWORK

    pair = ConnectedPair(
        lambda event: _value(1),
        seed=seed,
        server_parameters=TransmissionParameters(max_retransmit=8),
    )
    mine = pair.request(Request(codes.GET, ("a",), observe=0))
    pair.run_for(1.0)
    pair.network.set_conditions(BAD_NETWORK)
    theirs = pair.requests[0].exchange
    for number in range(2, 30):
        pair.server.notify(theirs, _value(number), pair.network.now, confirmable=number % 3 == 0)
        pair.run_for(1.0)
    pair.server.notify(theirs, _value(99), pair.network.now, confirmable=True)
    pair.run_for(2_000.0)
    told = [e.response for e in pair.client_events if isinstance(e, ResponseReceived)]
    numbers = [response.observe for response in told]
    assert numbers == sorted(numbers)  # type: ignore[type-var]  # all are notifications
    ended = [e for e in pair.server_events if isinstance(e, ExchangeFailed)]
    assert numbers[-1] == 99 or ended
    assert all(e.exchange == mine for e in pair.client_events if isinstance(e, ResponseReceived))


def test_what_went_out_before_a_round_trip_was_known_holds_nothing_back_for_long() -> None:
    talk = Observed()
    for number in range(2, 10):
        talk.notify(number, confirmable=False)
    found = talk.sent()
    while found[-1].type != CON:
        talk.notify(len(found) + 10, confirmable=False)
        found += talk.sent()
    talk.acknowledge(found[-1])
    talk.notify(99, confirmable=False)
    held = [message for _, message in talk.wait(1.0)] or talk.sent()
    assert [message.payload for message in held] == [b"99"]
