"""When all message ids towards a peer may still be under way (RFC 7252 §4.4), what waits and what
is given up."""

from __future__ import annotations

import pytest

from lwm2m.coap import (
    CON,
    NON,
    ExchangeFailed,
    Message,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    codes,
)
from tests.lwm2m.coap.by_hand import PEER, ByHand, block1

FREE_AT_S = 247.0


def _exhaust(talk: ByHand) -> None:
    """Have the next message id towards PEER be free at 247 s."""
    talk.endpoint.reserve_message_ids(PEER, after=5)
    peer = talk.endpoint._core.peers.by_address[PEER]
    peer.next_message_id, peer.left_segments = 0, {0: 0.0}


def test_a_ping_is_not_sent() -> None:
    talk = ByHand()
    _exhaust(talk)
    talk.endpoint.ping(PEER, 0.0)
    assert talk.sent() == []


@pytest.mark.parametrize("confirmable", [True, False])
def test_requests_wait_until_an_id_is_free(confirmable: bool) -> None:
    talk = ByHand(nstart=2)
    _exhaust(talk)
    for path in ("a", "b"):
        talk.send(Request(codes.GET, (path,), confirmable=confirmable))
    assert talk.sent() == []
    sent = [at for at, _ in talk.wait(400.0)]
    assert sent[0] >= FREE_AT_S
    assert len(sent) >= 2


@pytest.mark.parametrize("confirmable", [True, False])
def test_a_request_whose_turn_comes_too_early_goes_on_waiting(confirmable: bool) -> None:
    talk = ByHand(nstart=1)
    talk.send(Request(codes.GET, confirmable=confirmable))
    first = talk.sent_one()
    waiting = talk.send(Request(codes.GET, ("b",), confirmable=confirmable))
    _exhaust(talk)
    talk.answer(first, type_=NON)
    assert talk.sent() == []
    assert [at for at, _ in talk.wait(248.0)] == [FREE_AT_S]
    assert talk.endpoint.message_id_of(waiting) == 0


@pytest.mark.parametrize("confirmable", [True, False])
def test_a_body_in_blocks_waits_and_goes_on(confirmable: bool) -> None:
    talk = ByHand(block_size=16)
    request = Request(codes.PUT, payload=bytes(32), confirmable=confirmable)
    handle = talk.send(request)
    first = talk.sent_one()
    _exhaust(talk)
    talk.answer(first, codes.CONTINUE, b"", block1(0, True, 0), type_=NON)
    [(at, last)] = talk.wait(248.0)
    assert at == FREE_AT_S
    talk.answer(last, codes.CHANGED, b"", block1(1, False, 0), type_=NON)
    assert talk.told() == [ResponseReceived(PEER, handle, Response(codes.CHANGED))]


def test_a_non_confirmable_answer_is_lost_and_its_copy_ignored() -> None:
    talk = ByHand()
    _exhaust(talk)
    for code in (codes.GET, 0x1F):
        message = Message(NON, code, talk.new_id(), b"t")
        for _ in range(2):
            talk.hear(message)
            for event in talk.told():
                assert isinstance(event, RequestReceived)
                talk.endpoint.respond(event.exchange, Response(codes.CONTENT), 0.0)
    assert talk.sent() == []


def test_a_separate_response_is_given_up() -> None:
    talk = ByHand()
    talk.ask(codes.GET)
    event = talk.told_one(RequestReceived)
    talk.wait(1.0)
    _exhaust(talk)
    talk.endpoint.respond(event.exchange, Response(codes.CONTENT), talk.now)
    assert talk.told() == [ExchangeFailed(PEER, event.exchange, "timeout")]


def test_ids_of_a_peer_that_has_some_are_reserved_anew() -> None:
    talk = ByHand()
    talk.send(Request(codes.GET))
    talk.endpoint.reserve_message_ids(PEER, after=99)
    talk.endpoint.cancel(1)
    talk.endpoint.cancel(12345)
    assert talk.endpoint.message_id_of(talk.send(Request(codes.GET))) == 100


def test_a_response_that_there_is_no_memory_for_is_confirmed_and_told() -> None:
    talk = ByHand(remembered_max=1)
    talk.ask(codes.GET, peer="unanswered")
    talk.told()
    talk.send(Request(codes.GET))
    asked = talk.sent_one()
    talk.answer(asked, type_=CON)
    assert talk.told_one(ResponseReceived)
    assert len(talk.sent()) == 1


def test_a_request_shows_its_body_by_size_alone() -> None:
    talk = ByHand()
    talk.ask(codes.PUT, payload=b"secret")
    event = talk.told_one(RequestReceived)
    received = talk.endpoint._responder.find(event.exchange)
    assert received is not None
    assert "secret" not in repr(received)
    assert "secret" not in repr(dict(received.__rich_repr__()))
