"""The client's side of observations (RFC 7641 §3): freshness, blocks, and the ways to end them."""

from __future__ import annotations

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
    PeerQueueFull,
    Request,
    Response,
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
    options,
)
from tests.lwm2m.coap.by_hand import PEER, ByHand, block1, block2, block_of

OBSERVE = Request(codes.GET, ("3303", "0"), accept=112, observe=0)
GET = Request(codes.GET, ("other",))


class Observing(ByHand):
    """An endpoint that observes PEER."""

    def __init__(self, request: Request = OBSERVE, **changed: object) -> None:
        super().__init__(**changed)
        self.handle = self.send(request)
        self.asked = self.sent_one()
        self.answer(self.asked, codes.CONTENT, b"1", (options.OBSERVE, b"\x01"))
        self.told()

    def notify(
        self,
        number: int,
        payload: bytes = b"v",
        *found: tuple[int, bytes],
        type_: int = NON,
        code: int = codes.CONTENT,
    ) -> int:
        """Have PEER notify; the message id comes back."""
        every = tuple(sorted(((options.OBSERVE, bytes([number])), *found)))
        message = Message(type_, code, self.new_id(), self.asked.token, every, payload)
        self.hear(message)
        return message.message_id

    def told_payloads(self) -> list[bytes]:
        """What was told under the handle of the observation."""
        return [
            event.response.payload
            for event in self.told()
            if isinstance(event, ResponseReceived) and event.exchange == self.handle
        ]


class TestEnding:
    def test_it_is_the_same_request_with_observe_1_and_the_same_token(self) -> None:
        talk = Observing()
        cancellation = talk.endpoint.end_observation(talk.handle, 5.0)
        asked = talk.sent_one()
        assert asked.token == talk.asked.token
        assert asked.message_id != talk.asked.message_id
        expected = [(n, v) if n != options.OBSERVE else (n, b"\x01") for n, v in talk.asked.options]
        assert list(asked.options) == expected
        assert talk.told() == []
        talk.answer(asked, codes.CONTENT, b"last")
        last = Response(codes.CONTENT, b"last")
        assert talk.told() == [ResponseReceived(PEER, cancellation, last)]

    def test_the_old_handle_is_no_more(self) -> None:
        talk = Observing()
        talk.endpoint.end_observation(talk.handle, 0.0)
        with pytest.raises(UnknownExchange):
            talk.endpoint.end_observation(talk.handle, 0.0)
        talk.endpoint.cancel(talk.handle)
        assert talk.told() == []

    def test_only_what_is_observed_can_be_ended(self) -> None:
        talk = ByHand()
        handle = talk.send(OBSERVE)
        for exchange in (handle, 99_999):
            with pytest.raises(UnknownExchange):
                talk.endpoint.end_observation(exchange, 0.0)

    def test_a_server_of_ours_ends_it(self) -> None:
        pair = ConnectedPair(
            lambda event: Response(
                codes.CONTENT, b"v", observe=1 if event.request.observe == 0 else None
            )
        )
        mine = pair.request(OBSERVE)
        pair.run_for(1.0)
        cancellation = pair.client.end_observation(mine, pair.network.now)
        pair.run_for(1.0)
        first, second = pair.requests
        assert ExchangeFailed(pair.CLIENT, first.exchange, "cancelled") in pair.server_events
        assert (second.request.observe, second.request.path) == (1, ("3303", "0"))
        assert pair.client_events[-1] == ResponseReceived(
            pair.SERVER, cancellation, Response(codes.CONTENT, b"v")
        )

    def test_what_is_notified_meanwhile_is_acknowledged_and_not_told(self) -> None:
        talk = Observing()
        cancellation = talk.endpoint.end_observation(talk.handle, 0.0)
        asked = talk.sent_one()
        message_id = talk.notify(2, type_=CON)
        assert talk.sent() == [Message(ACK, 0, message_id)]
        talk.notify(3)
        assert (talk.sent(), talk.told()) == ([], [])
        talk.hear(Message(ACK, 0, asked.message_id))
        talk.notify(4)
        talk.answer(asked, type_=CON)
        assert talk.told_one(ResponseReceived).exchange == cancellation

    def test_it_waits_for_its_turn_and_notifications_are_not_told_meanwhile(self) -> None:
        talk = Observing()
        talk.send(GET)
        first = talk.sent_one()
        cancellation = talk.endpoint.end_observation(talk.handle, 0.0)
        assert talk.sent() == []
        message_id = talk.notify(2, type_=CON)
        assert talk.sent() == [Message(ACK, 0, message_id)]
        talk.answer(first)
        asked = talk.sent_one()
        assert asked.token == talk.asked.token
        talk.answer(asked)
        assert [event.exchange for event in talk.told() if isinstance(event, ResponseReceived)][
            -1
        ] == cancellation

    @pytest.mark.parametrize("code", [codes.NOT_FOUND, codes.CONTENT, codes.UNAUTHORIZED])
    def test_a_last_answer_before_its_turn_makes_it_needless(self, code: int) -> None:
        talk = Observing()
        talk.send(GET)
        first = talk.sent_one()
        cancellation = talk.endpoint.end_observation(talk.handle, 0.0)
        talk.answer(
            talk.asked, code, b"", (options.BLOCK2, b"\x08"), (options.ECHO, b"e"), type_=CON
        )
        assert talk.told_one(ResponseReceived).exchange == cancellation
        talk.sent()
        talk.answer(first)
        assert talk.sent() == []

    def test_an_answer_that_cannot_be_understood_before_its_turn_ends_it_too(self) -> None:
        talk = Observing()
        talk.send(GET)
        cancellation = talk.endpoint.end_observation(talk.handle, 0.0)
        talk.answer(talk.asked, codes.CONTENT, b"", (9, b""), type_=CON)
        assert talk.told()[-1] == ExchangeFailed(PEER, cancellation, "malformed")

    def test_a_full_queue_leaves_the_observation_as_it_is(self) -> None:
        talk = Observing(queue_per_peer_max=0)
        talk.send(GET)
        with pytest.raises(PeerQueueFull):
            talk.endpoint.end_observation(talk.handle, 0.0)
        talk.notify(2)
        assert talk.told_payloads() == [b"v"]

    def test_a_cancellation_that_gets_no_answer_times_out_under_its_own_handle(self) -> None:
        talk = Observing()
        cancellation = talk.endpoint.end_observation(talk.handle, 0.0)
        assert len(talk.wait(200.0)) >= 4
        assert talk.told() == [ExchangeFailed(PEER, cancellation, "timeout")]
        talk.notify(9)
        assert [message.type for message in talk.sent()] == [RST]

    def test_a_cancellation_that_is_asked_for_with_echo_keeps_its_token(self) -> None:
        talk = Observing()
        talk.endpoint.end_observation(talk.handle, 0.0)
        talk.answer(talk.sent_one(), codes.UNAUTHORIZED, b"", (options.ECHO, b"e"))
        assert talk.sent_one().token == talk.asked.token

    def test_a_forgotten_peer_s_waiting_cancellation_fails(self) -> None:
        talk = Observing()
        talk.send(GET)
        cancellation = talk.endpoint.end_observation(talk.handle, 0.0)
        talk.endpoint.forget_peer(PEER)
        assert ExchangeFailed(PEER, cancellation, "cancelled") in talk.told()

    def test_a_large_composite_request_is_sent_again_in_blocks(self) -> None:
        talk = ByHand(block_size=16)
        request = Request(codes.FETCH, observe=0, payload=bytes(32))
        handle = talk.send(request)
        talk.answer(talk.sent_one(), codes.CONTINUE, b"", block1(0, True, 0))
        asked = talk.sent_one()
        confirmed = (options.OBSERVE, b"\x01"), block1(1, False, 0)
        talk.answer(asked, codes.CONTENT, b"v", *confirmed)
        assert talk.told_one(ResponseReceived).response == Response(codes.CONTENT, b"v", observe=1)
        talk.endpoint.end_observation(handle, 0.0)
        for number in (0, 1):
            again = talk.sent_one()
            assert again.token == asked.token
            assert block_of(again, options.BLOCK1) is not None
            assert again.options[0] == (options.OBSERVE, b"\x01")
            # RFC 7641 §3.6: but for Observe, all options are the same.
            assert all(number != options.REQUEST_TAG for number, _ in again.options)
            code = codes.CONTINUE if number == 0 else codes.CONTENT
            talk.answer(again, code, b"", block1(number, number == 0, 0))
        assert isinstance(talk.told()[-1], ResponseReceived)


class TestTelling:
    def test_a_last_answer_without_observe_in_blocks_is_fetched_whole(self) -> None:
        talk = Observing(block_size=16)
        talk.answer(talk.asked, codes.CONTENT, b"a" * 16, block2(0, True, 0), type_=NON)
        later = talk.sent_one()
        assert (block_of(later, options.BLOCK2), later.options[0][0]) == ((1, False, 0), 11)
        talk.answer(later, codes.CONTENT, b"b", block2(1, False, 0))
        [event] = talk.told()
        whole = Response(codes.CONTENT, b"a" * 16 + b"b")
        assert event == ResponseReceived(PEER, talk.handle, whole)
        talk.notify(7)
        assert talk.sent()[0].type == RST

    def test_a_newer_notification_replaces_one_whose_blocks_are_still_coming(self) -> None:
        talk = Observing(block_size=16)
        talk.notify(2, b"a" * 16, block2(0, True, 0))
        later = talk.sent_one()
        talk.notify(3, b"new")
        assert talk.told_payloads() == [b"new"]
        talk.answer(later, codes.CONTENT, b"b", block2(1, False, 0))
        assert talk.told_one(DatagramRejected).reason == "unexpected"

    def test_nothing_is_told_of_a_body_whose_observation_has_ended(self) -> None:
        for end in ("cancel", "end"):
            talk = Observing(block_size=16)
            talk.notify(2, b"a" * 16, block2(0, True, 0))
            later = talk.sent_one()
            if end == "cancel":
                talk.endpoint.cancel(talk.handle)
            else:
                talk.endpoint.end_observation(talk.handle, 0.0)
            talk.told()
            talk.answer(later, codes.CONTENT, b"b", block2(1, False, 0))
            assert talk.told_one(DatagramRejected).reason == "unexpected"

    def test_a_body_that_changes_meanwhile_is_fetched_anew_without_observing_twice(self) -> None:
        talk = Observing(block_size=16)
        talk.notify(2, b"a" * 16, (options.ETAG, b"1"), block2(0, True, 0))
        talk.answer(talk.sent_one(), codes.CONTENT, b"b", (4, b"2"), block2(1, False, 0))
        again = talk.sent_one()
        assert block_of(again, options.BLOCK2) == (0, False, 0)
        assert options.OBSERVE not in [number for number, _ in again.options]
        talk.answer(again, codes.CONTENT, b"whole")
        [event] = talk.told()
        assert isinstance(event, ResponseReceived)
        assert (event.exchange, event.response.payload) == (talk.handle, b"whole")

    def test_a_body_that_never_comes_whole_is_told_as_rejected_and_the_next_is_told(self) -> None:
        talk = Observing(block_size=16)
        talk.notify(2, b"a" * 16, block2(0, True, 0))
        talk.sent()
        talk.wait(200.0)
        assert talk.told_one(DatagramRejected).reason == "malformed"
        talk.notify(3, b"small")
        assert talk.told_payloads() == [b"small"]

    def test_a_first_block_that_makes_no_sense_is_told_as_rejected(self) -> None:
        talk = Observing(block_size=16)
        talk.notify(2, b"a", block2(0, True, 0))
        assert talk.told_one(DatagramRejected).reason == "malformed"

    def test_a_large_body_waits_for_nstart(self) -> None:
        talk = Observing(block_size=16)
        talk.send(GET)
        first = talk.sent_one()
        talk.notify(2, b"a" * 16, block2(0, True, 0))
        assert talk.sent() == []
        talk.answer(first, codes.CONTENT)
        assert block_of(talk.sent_one(), options.BLOCK2) == (1, False, 0)

    def test_a_confirmed_notification_is_not_told_twice(self) -> None:
        talk = Observing()
        message_id = talk.notify(2, type_=CON)
        again = Message(CON, codes.CONTENT, message_id, talk.asked.token, ((6, b"\x02"),), b"v")
        talk.hear(again)
        assert talk.sent() == [Message(ACK, 0, message_id)] * 2
        assert talk.told_payloads() == [b"v"]

    def test_observing_does_not_wait_for_an_answer_for_ever(self) -> None:
        talk = Observing()
        assert talk.wait(10_000.0) == []
        assert talk.told() == []
        talk.notify(2)
        assert talk.told_payloads() == [b"v"]

    def test_an_observation_by_a_non_confirmable_request(self) -> None:
        talk = ByHand()
        talk.send(Request(codes.GET, observe=0, confirmable=False))
        asked = talk.sent_one()
        talk.answer(asked, codes.CONTENT, b"1", (options.OBSERVE, b""), type_=NON)
        talk.answer(asked, codes.CONTENT, b"2", (options.OBSERVE, b"\x01"), type_=NON)
        assert len(talk.told()) == 2
        assert talk.wait(200.0) == []


def test_both_sides_end_with_nothing_left() -> None:
    parameters = TransmissionParameters(block_size=64)
    pair = ConnectedPair(
        lambda event: Response(
            codes.CONTENT, bytes(300), observe=1 if event.request.observe == 0 else None
        ),
        client_parameters=parameters,
        server_parameters=parameters,
    )
    mine = pair.request(OBSERVE)
    pair.run_for(2.0)
    pair.client.end_observation(mine, pair.network.now)
    pair.run()
    assert (pair.client.peers_known, pair.server.peers_known) == (0, 0)
    told = [e.response.payload for e in pair.client_events if isinstance(e, ResponseReceived)]
    assert told == [bytes(300)] * 2
