"""Observations (RFC 7641), both sides."""

from __future__ import annotations

import pytest

from harness.testing import ConnectedPair
from lwm2m.coap import (
    CON,
    ExchangeFailed,
    Message,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
    decode_message,
    encode_message,
)
from lwm2m.coap.observe_order import is_newer

OBSERVE = Request(codes.GET, ("3303", "0"), observe=0)


def _value(number: int, payload: bytes = b"v") -> Response:
    return Response(codes.CONTENT, payload, observe=number)


def _observing(block_size: int = 1024) -> tuple[ConnectedPair, int, int]:
    parameters = TransmissionParameters(block_size=block_size)
    pair = ConnectedPair(
        lambda event: _value(1), client_parameters=parameters, server_parameters=parameters
    )
    mine = pair.request(OBSERVE)
    pair.run_for(1.0)
    assert pair.client_events == [ResponseReceived(pair.SERVER, mine, _value(1))]
    pair.client_events.clear()
    return pair, mine, pair.requests[0].exchange


@pytest.mark.parametrize("confirmable", [True, False])
def test_notifications_come_under_the_handle_of_the_request(confirmable: bool) -> None:
    pair, mine, theirs = _observing()
    for number in (2, 3):
        pair.server.notify(theirs, _value(number), pair.network.now, confirmable=confirmable)
        pair.run_for(1.0)
    assert pair.client_events == [
        ResponseReceived(pair.SERVER, mine, _value(number)) for number in (2, 3)
    ]


@pytest.mark.parametrize("confirmable", [True, False])
def test_a_client_that_has_cancelled_resets_the_next_notification(confirmable: bool) -> None:
    pair, mine, theirs = _observing()
    pair.client.cancel(mine)
    pair.server.notify(theirs, _value(2), pair.network.now, confirmable=confirmable)
    pair.run_for(1.0)
    assert ExchangeFailed(pair.CLIENT, theirs, "reset") in pair.server_events
    with pytest.raises(UnknownExchange):
        pair.server.notify(theirs, _value(3), pair.network.now)


def test_a_notification_that_was_overtaken_is_not_told() -> None:
    pair, _, theirs = _observing()
    for number in (5, 4, 6):
        pair.server.notify(theirs, _value(number), pair.network.now)
    pair.run_for(1.0)
    told = [e.response.observe for e in pair.client_events if isinstance(e, ResponseReceived)]
    assert told == [5, 6]


def test_a_large_notification_is_fetched_whole() -> None:
    pair, mine, theirs = _observing(block_size=64)
    body = bytes(range(200))
    pair.server.notify(theirs, _value(2, body), pair.network.now)
    pair.run_for(1.0)
    [told] = pair.client_events
    assert isinstance(told, ResponseReceived)
    assert (told.exchange, told.response.payload, told.response.observe) == (mine, body, 2)


def test_a_client_that_is_gone_is_told_after_a_confirmable_notification() -> None:
    pair, _, theirs = _observing()
    pair.network.detach(pair.CLIENT)
    pair.server.notify(theirs, _value(2), pair.network.now, confirmable=True)
    pair.run_for(100.0)
    assert ExchangeFailed(pair.CLIENT, theirs, "timeout") in pair.server_events


def test_a_registration_with_the_same_token_ends_the_earlier_one() -> None:
    pair, mine, theirs = _observing()
    sent = pair.client._requester.find(mine)
    assert sent is not None
    again = Message(CON, codes.GET, 9, sent.token, ((6, b"\x01"), (11, b"3303"), (11, b"0")))
    pair.network.inject(encode_message(again), pair.CLIENT, pair.SERVER)
    pair.run_for(1.0)
    assert ExchangeFailed(pair.CLIENT, theirs, "cancelled") in pair.server_events


def test_an_error_ends_an_observation() -> None:
    pair, mine, theirs = _observing()
    pair.server.notify(theirs, Response(codes.NOT_FOUND), pair.network.now, confirmable=True)
    pair.run_for(1.0)
    assert pair.client_events == [ResponseReceived(pair.SERVER, mine, Response(codes.NOT_FOUND))]
    with pytest.raises(UnknownExchange):
        pair.server.notify(theirs, _value(3), pair.network.now)


def test_a_server_that_does_not_observe_answers_once() -> None:
    pair = ConnectedPair(lambda event: Response(codes.CONTENT, b"v"))
    mine = pair.request(OBSERVE)
    pair.run_for(1.0)
    assert pair.client_events == [
        ResponseReceived(pair.SERVER, mine, Response(codes.CONTENT, b"v"))
    ]
    with pytest.raises(UnknownExchange):
        pair.server.notify(pair.requests[0].exchange, _value(2), pair.network.now)


def test_an_observation_may_begin_with_a_separate_response() -> None:
    pair = ConnectedPair(lambda event: None)
    mine = pair.request(OBSERVE)
    pair.run_for(1.0)
    [asked] = pair.requests
    assert isinstance(asked, RequestReceived)
    pair.server.respond(asked.exchange, _value(1), pair.network.now)
    pair.run_for(1.0)
    pair.server.notify(asked.exchange, _value(2), pair.network.now)
    pair.run_for(1.0)
    assert [e.response.observe for e in pair.client_events if isinstance(e, ResponseReceived)] == [
        1,
        2,
    ]
    assert mine == pair.client_events[0].exchange  # type: ignore[union-attr]  # a response, see above


@pytest.mark.parametrize(
    ("number", "now", "last", "last_at", "newer"),
    [
        (2, 1.0, 1, 0.0, True),
        (1, 1.0, 2, 0.0, False),
        (1, 1.0, 1, 0.0, False),
        (0, 1.0, (1 << 24) - 1, 0.0, True),
        ((1 << 24) - 1, 1.0, 0, 0.0, False),
        (1, 129.0, 2, 0.0, True),
        ((1 << 23) + 1, 1.0, 1, 0.0, False),
    ],
)
def test_order_of_notifications_wraps_and_ages(
    number: int, now: float, last: int, last_at: float, newer: bool
) -> None:
    assert is_newer(number, now, last, last_at) is newer


def test_the_encoded_request_carries_the_observe_option() -> None:
    pair, mine, _ = _observing()
    datagram = pair.client.datagram_of(mine)
    assert datagram is not None
    assert decode_message(datagram).options[0] == (6, b"")
