"""Observations under OSCORE: notified in order, cancelled, replayed, ended by an error."""

from __future__ import annotations

import pytest

from lwm2m.coap import (
    ExchangeFailed,
    Message,
    Request,
    Response,
    ResponseReceived,
    UnknownExchange,
    codes,
    decode_message,
    encode_message,
)
from lwm2m.coap import options as opt

from .oscore_pair import SERVER, OscorePair


def test_notifications_arrive_in_order_and_end_when_cancelled() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    handle = pair.send(Request(codes.GET, ("3303", "0", "5700"), observe=0))
    pair.run(5)
    [received] = pair.requests
    assert received.request.observe == 0
    for number in (2, 3):
        confirmable = number == 3
        body = str(number).encode() * 700
        note = Response(codes.CONTENT, body, observe=number)
        pair.server.notify(received.exchange, note, pair.network.now, confirmable=confirmable)
        pair.run(5)
    assert [response.payload for response in pair.responses] == [b"0", b"2" * 700, b"3" * 700]
    numbers = [response.observe for response in pair.responses]
    assert numbers == sorted(numbers, key=lambda number: number or 0)
    pair.client.end_observation(handle, pair.network.now)
    pair.run(5)
    assert pair.responses[-1].observe is None
    ended = [event for event in pair.heard if isinstance(event, ExchangeFailed)]
    assert [(event.exchange, event.reason) for event in ended] == [(received.exchange, "cancelled")]
    assert not [event for event in pair.told if isinstance(event, ExchangeFailed)]
    with pytest.raises(UnknownExchange):
        pair.server.notify(received.exchange, Response(codes.CONTENT), pair.network.now)


def test_an_observation_may_be_cancelled_silently_and_is_then_reset() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    handle = pair.send(Request(codes.GET, ("3",), observe=0))
    pair.run(5)
    pair.client.cancel(handle, pair.network.now)
    note = Response(codes.CONTENT, b"1", observe=2)
    pair.server.notify(pair.requests[0].exchange, note, pair.network.now)
    pair.run(5)
    assert [event.reason for event in pair.told if isinstance(event, ExchangeFailed)] == [
        "cancelled"
    ]
    assert [event.reason for event in pair.heard if isinstance(event, ExchangeFailed)] == ["reset"]


def test_a_notification_that_was_kept_and_sent_again_is_not_told() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    pair.send(Request(codes.GET, ("3",), observe=0))
    pair.run(5)
    exchange = pair.requests[0].exchange
    kept: list[Message] = []
    for number in (2, 3):
        note = Response(codes.CONTENT, str(number).encode(), observe=number)
        pair.server.notify(exchange, note, pair.network.now)
        [(datagram, _)] = pair.server.datagrams_to_send()
        kept.append(decode_message(datagram))
        pair.client.receive_datagram(datagram, SERVER, pair.network.now)
    old = kept[0]
    # The outer Observe is for proxies, and anybody can write it (RFC 8613 §4.1.3.5.2).
    options = tuple(
        (number, b"\x09" if number == opt.OBSERVE else value) for number, value in old.options
    )
    again = Message(old.type, old.code, 777, old.token, options, old.payload)
    pair.client.receive_datagram(encode_message(again), SERVER, pair.network.now)
    spoiled = Message(old.type, old.code, 778, old.token, options, old.payload[:-1] + b"?")
    pair.client.receive_datagram(encode_message(spoiled), SERVER, pair.network.now)
    pair.told += pair.client.events()
    assert [response.payload for response in pair.responses] == [b"0", b"2", b"3"]
    # RFC 8613 §8.4.2: an error does not cancel the observation.
    note = Response(codes.CONTENT, b"4", observe=10)
    pair.server.notify(exchange, note, pair.network.now)
    pair.run(5)
    assert pair.responses[-1].payload == b"4"


def test_an_error_inside_a_notification_ends_the_observation() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    pair.send(Request(codes.GET, ("3",), observe=0))
    pair.run(5)
    pair.server.notify(pair.requests[0].exchange, Response(codes.NOT_FOUND), pair.network.now)
    pair.run(5)
    assert pair.responses[-1] == Response(codes.NOT_FOUND)
    assert not [event for event in pair.told if isinstance(event, ExchangeFailed)]


def test_an_observation_by_a_large_body_is_cancelled_too() -> None:
    pair = OscorePair(lambda event: Response(codes.CONTENT, b"0", observe=1))
    paths = bytes(2_000)
    handle = pair.send(Request(codes.FETCH, content_format=112, observe=0, payload=paths))
    pair.run(5)
    [received] = pair.requests
    assert (received.request.payload, received.request.observe) == (paths, 0)
    pair.server.notify(
        received.exchange, Response(codes.CONTENT, b"1", observe=2), pair.network.now
    )
    pair.run(5)
    assert [response.payload for response in pair.responses] == [b"0", b"1"]
    ending = pair.client.end_observation(handle, pair.network.now)
    pair.run(5)
    assert [event.exchange for event in pair.heard if isinstance(event, ExchangeFailed)] == [
        received.exchange
    ]
    assert pair.told[-1] == ResponseReceived(pair.peer, ending, Response(codes.CONTENT, b"0"))
    assert not [event for event in pair.told if isinstance(event, ExchangeFailed)]
