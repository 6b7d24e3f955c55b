"""PROBING_RATE (RFC 7252 §4.7): how fast non-confirmable requests go to who does not answer."""

from __future__ import annotations

import pytest

from lwm2m.coap import (
    NON,
    ExchangeFailed,
    PeerQueueFull,
    Request,
    ResponseReceived,
    codes,
    encode_message,
)
from lwm2m.coap.options import BLOCK1, BLOCK2
from tests.lwm2m.coap.by_hand import PEER, ByHand

SEND = Request(codes.POST, ("dp",), payload=bytes(20), confirmable=False)


def test_a_second_request_waits_as_long_as_the_first_has_bytes() -> None:
    talk = ByHand()
    talk.send(SEND)
    first = talk.sent_one()
    talk.send(SEND)
    talk.send(SEND)
    size = len(encode_message(first))
    [(second_at, _), (third_at, _)] = talk.wait(2 * size + 2)
    assert second_at == pytest.approx(size, abs=0.1)
    assert third_at == pytest.approx(2 * size, abs=0.1)


def test_an_answer_lifts_the_limit() -> None:
    talk = ByHand()
    for _ in range(3):
        talk.send(SEND)
    for _ in range(3):
        talk.answer(talk.sent_one(), codes.CHANGED, type_=NON)
    assert len([event for event in talk.told() if isinstance(event, ResponseReceived)]) == 3
    assert talk.wait(300.0) == []


def test_confirmable_requests_and_other_peers_do_not_wait() -> None:
    talk = ByHand()
    talk.send(SEND)
    talk.send(SEND)
    talk.send(SEND, "other")
    talk.send(Request(codes.GET))
    assert len(talk.sent()) == 3


def test_a_higher_rate_waits_less() -> None:
    talk = ByHand(probing_rate_bytes_per_s=1_000.0)
    talk.send(SEND)
    talk.send(SEND)
    assert len(talk.sent()) == 1
    assert len(talk.wait(1.0)) == 1


def test_what_waits_is_bounded_and_can_be_cancelled() -> None:
    talk = ByHand(queue_per_peer_max=2)
    handles = [talk.send(SEND) for _ in range(3)]
    with pytest.raises(PeerQueueFull):
        talk.send(SEND)
    talk.endpoint.cancel(handles[1])
    assert talk.told() == [ExchangeFailed(PEER, handles[1], "cancelled")]
    talk.sent()
    assert len(talk.wait(80.0)) == 1
    talk.send(SEND)
    talk.sent()
    talk.endpoint.forget_peer(PEER)
    assert {event.exchange for event in talk.told() if isinstance(event, ExchangeFailed)} >= {
        handles[2]
    }
    assert talk.wait(500.0) == []


def test_a_body_in_blocks_goes_on_since_its_peer_answers() -> None:
    talk = ByHand(block_size=16)
    talk.send(Request(codes.PUT, ("a",), payload=bytes(48), confirmable=False))
    for number in range(3):
        asked = talk.sent_one()
        assert asked.type == NON
        code = codes.CONTINUE if number < 2 else codes.CHANGED
        found = (27, bytes([number << 4 | (8 if number < 2 else 0)]))
        talk.answer(asked, code, b"", found, type_=NON)
    assert isinstance(talk.told()[-1], ResponseReceived)


def test_what_comes_in_blocks_goes_on_though_a_body_has_gone_up_meanwhile() -> None:
    talk = ByHand(block_size=16)
    talk.send(Request(codes.GET, ("a",), confirmable=False))
    asked = talk.sent_one()
    talk.send(Request(codes.PUT, ("b",), payload=bytes(32)))
    talk.answer(talk.sent_one(), codes.CONTINUE, b"", (BLOCK1, b"\x08"))
    last_block = talk.sent_one()
    talk.answer(asked, codes.CONTENT, bytes(16), (BLOCK2, b"\x08"), type_=NON)
    asked = talk.sent_one()
    talk.answer(last_block, codes.CHANGED, b"", (BLOCK1, b"\x10"))
    talk.answer(asked, codes.CONTENT, bytes(16), (BLOCK2, b"\x18"), type_=NON)
    talk.answer(talk.sent_one(), codes.CONTENT, b"end", (BLOCK2, b"\x20"), type_=NON)
    told = [event for event in talk.told() if isinstance(event, ResponseReceived)]
    assert [len(event.response.payload) for event in told] == [0, 35]


def test_an_answer_is_taken_beside_a_non_confirmable_request() -> None:
    talk = ByHand()
    talk.send(Request(codes.GET, ("a",)))
    asked = talk.sent_one()
    talk.send(SEND)
    talk.answer(asked, codes.CONTENT, b"20")
    assert talk.told_one(ResponseReceived).response.payload == b"20"
