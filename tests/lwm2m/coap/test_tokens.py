"""Tokens of every length (RFC 8974), as client and as server."""

from __future__ import annotations

import pytest

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
    codes,
)
from tests.lwm2m.coap.by_hand import PEER, ByHand

GET = Request(codes.GET, ("a",))


@pytest.mark.parametrize("size", [1, 8, 13, 300, 2_000])
def test_our_tokens_are_as_long_as_configured_and_come_back(size: int) -> None:
    talk = ByHand(token_bytes=size)
    handle = talk.send(GET)
    asked = talk.sent_one()
    assert len(asked.token) == size
    talk.answer(asked)
    assert talk.told() == [ResponseReceived(PEER, handle, Response(codes.CONTENT))]


@pytest.mark.parametrize("size", [0, 65_805])
def test_a_token_length_that_the_standard_has_not_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="token_bytes"):
        TransmissionParameters(token_bytes=size)


@pytest.mark.parametrize("type_", [CON, NON])
def test_a_server_answers_with_the_long_token_it_was_asked_with(type_: int) -> None:
    talk = ByHand()
    token = bytes(range(200))
    talk.ask(codes.GET, token=token, type_=type_)
    talk.respond(Response(codes.CONTENT))
    assert talk.sent_one().token == token


@pytest.mark.parametrize(("type_", "answer_type"), [(CON, ACK), (NON, NON)])
def test_a_token_over_the_limit_is_answered_bad_request_and_not_reset(
    type_: int, answer_type: int
) -> None:
    # RFC 8974 §2.2: a reset would say that extended tokens are not supported at all.
    talk = ByHand(peer_token_bytes_max=16)
    talk.ask(codes.GET, token=bytes(17), type_=type_)
    answer = talk.sent_one()
    assert (answer.type, answer.code, answer.token) == (
        answer_type,
        codes.BAD_REQUEST,
        bytes(17),
    )
    assert talk.told_one(DatagramRejected).reason == "too_large"
    assert talk.endpoint.messages_remembered == 0
    talk.ask(codes.GET, token=bytes(16))
    assert talk.told_one(RequestReceived)


def test_a_peer_that_resets_an_extended_token_is_asked_again_with_a_short_one() -> None:
    talk = ByHand(token_bytes=20)
    handle = talk.send(GET)
    first = talk.sent_one()
    talk.hear(Message(RST, 0, first.message_id))
    again = talk.sent_one()
    assert len(again.token) == 8
    assert again.message_id != first.message_id
    talk.answer(again)
    assert talk.told() == [ResponseReceived(PEER, handle, Response(codes.CONTENT))]
    talk.send(GET)
    assert len(talk.sent_one().token) == 8


def test_a_4_00_that_cannot_repeat_the_token_is_taken_as_not_knowing_it() -> None:
    talk = ByHand(token_bytes=20)
    talk.send(GET)
    first = talk.sent_one()
    talk.hear(Message(ACK, codes.BAD_REQUEST, first.message_id))
    assert len(talk.sent_one().token) == 8
    assert talk.told() == []


def test_a_reset_of_a_short_token_or_without_fallback_is_the_end() -> None:
    for talk in (ByHand(), ByHand(token_bytes=20, falls_back_to_short_tokens=False)):
        handle = talk.send(GET)
        talk.hear(Message(RST, 0, talk.sent_one().message_id))
        assert talk.told() == [ExchangeFailed(PEER, handle, "reset")]


@pytest.mark.parametrize("token_bytes", [4, 20])
def test_a_4_00_with_a_foreign_token_means_nothing_else(token_bytes: int) -> None:
    talk = ByHand(token_bytes=token_bytes)
    talk.send(GET)
    first = talk.sent_one()
    other = 1 if token_bytes == 20 else 0
    talk.hear(Message(ACK, codes.BAD_REQUEST, first.message_id + other, b"other"))
    assert talk.told_one(DatagramRejected).reason == "unexpected"
    assert talk.sent() == []


def test_tokens_of_open_requests_differ_even_when_chance_repeats() -> None:
    talk = ByHand(token_bytes=1, nstart=64)
    for _ in range(64):
        talk.send(GET)
    tokens = [message.token for message in talk.sent()]
    assert len(set(tokens)) == 64
