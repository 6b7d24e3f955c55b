"""Requests, observations and the end of a connection: CoAP over TCP, without a socket."""

from __future__ import annotations

import pytest

from lwm2m.coap import (
    Request,
    Response,
    ResponseReceived,
    TransmissionParameters,
    UnknownExchange,
    codes,
)
from lwm2m.coap import options as opt
from lwm2m.transport.reliable import ConnectionGone
from tests.lwm2m.transport.reliable_pair import Pair


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_both_sides_ask_and_answer_over_one_connection(piece: int) -> None:
    pair = Pair(piece=piece)
    assert pair.client.endpoint.is_open(pair.client.peer)
    request = Request(codes.POST, ("rd",), ("ep=lamp", "lt=60"), 40, payload=b"</3/0>")
    pair.ask(request, Response(codes.CREATED, location_path=("rd", "1")))
    assert pair.server.requests[0].request == request
    assert pair.client.responses == [Response(codes.CREATED, location_path=("rd", "1"))]
    down = pair.server.endpoint.send_request(
        pair.server.peer, Request(codes.GET, ("3", "0")), pair.now
    )
    pair.settle()
    [asked] = pair.client.requests
    pair.client.endpoint.respond(asked.exchange, Response(codes.CONTENT, b"tlv"), pair.now)
    pair.settle()
    assert pair.server.told[-1] == ResponseReceived(
        pair.server.peer, down, Response(codes.CONTENT, b"tlv")
    )


def test_an_observation_is_notified_cancelled_and_over() -> None:
    pair = Pair()
    request = Request(codes.GET, ("3303", "0", "5700"), observe=0)
    handle = pair.ask(request, Response(codes.CONTENT, b"1", observe=1))
    exchange = pair.server.requests[0].exchange
    pair.server.endpoint.notify(exchange, Response(codes.CONTENT, b"2", observe=2), pair.now)
    pair.settle()
    assert [response.payload for response in pair.client.responses] == [b"1", b"2"]
    ending = pair.client.endpoint.end_observation(handle, pair.now)
    pair.settle()
    assert pair.server.failures == ["cancelled"]
    cancelling = pair.server.requests[-1]
    assert cancelling.request.observe == 1
    pair.server.endpoint.respond(cancelling.exchange, Response(codes.CONTENT, b"3"), pair.now)
    pair.settle()
    assert pair.client.told[-1] == ResponseReceived(
        pair.client.peer, ending, Response(codes.CONTENT, b"3")
    )
    with pytest.raises(UnknownExchange):
        pair.server.endpoint.notify(exchange, Response(codes.CONTENT), pair.now)
    with pytest.raises(UnknownExchange):
        pair.client.endpoint.end_observation(handle, pair.now)


def test_an_error_as_notification_ends_the_observation() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",), observe=0), Response(codes.CONTENT, b"1", observe=1))
    exchange = pair.server.requests[0].exchange
    pair.server.endpoint.notify(exchange, Response(codes.NOT_FOUND), pair.now)
    pair.settle()
    assert pair.client.responses[-1] == Response(codes.NOT_FOUND)
    with pytest.raises(UnknownExchange):
        pair.server.endpoint.notify(exchange, Response(codes.CONTENT), pair.now)


def test_a_lost_connection_fails_what_is_open_and_takes_nothing_more() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",)))
    pair.ask(Request(codes.GET, ("4",), observe=0), None)
    pair.server.endpoint.respond(
        pair.server.requests[1].exchange, Response(codes.CONTENT, observe=1), 0.0
    )
    pair.settle()
    pair.client.endpoint.disconnect(pair.client.peer, pair.now)
    pair.server.endpoint.disconnect(pair.server.peer, pair.now)
    pair.settle()
    assert pair.client.failures == ["timeout", "timeout"]
    assert pair.server.failures == ["cancelled", "cancelled"]
    with pytest.raises(ConnectionGone):
        pair.client.endpoint.send_request(pair.client.peer, Request(codes.GET), pair.now)
    with pytest.raises(UnknownExchange):
        pair.server.endpoint.respond(pair.server.requests[0].exchange, Response(codes.CONTENT), 0.0)


def test_a_request_that_nobody_answers_fails_in_time() -> None:
    pair = Pair(client=TransmissionParameters(response_timeout_s=10))
    pair.ask(Request(codes.GET, ("3",)))
    due = pair.client.endpoint.next_timer()
    assert due is not None
    assert 10 <= due <= 10.1
    pair.client.endpoint.handle_timer(due)
    pair.settle()
    assert pair.client.failures == ["timeout"]
    # Its answer comes too late, and is counted.
    pair.server.endpoint.respond(pair.server.requests[0].exchange, Response(codes.CONTENT), due)
    pair.settle()
    assert pair.client.rejections == ["a response to nothing that was asked"]


def test_release_lets_what_is_asked_be_answered_first() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",)))
    pair.client.endpoint.release(pair.client.peer, pair.now)
    pair.settle()
    assert not pair.server.closed
    with pytest.raises(ConnectionGone):
        pair.client.endpoint.send_request(pair.client.peer, Request(codes.GET), pair.now)
    pair.server.endpoint.respond(pair.server.requests[0].exchange, Response(codes.CONTENT), 0.0)
    pair.settle()
    assert pair.client.responses == [Response(codes.CONTENT)]
    assert pair.server.closed or pair.client.closed


def test_an_abort_says_why_and_fails_everything() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",)))
    pair.server.endpoint.abort(pair.server.peer, "out of order", pair.now)
    pair.settle()
    assert pair.server.closed
    assert pair.client.failures == ["timeout"]
    assert "Abort: out of order" in pair.client.rejections


def test_a_critical_option_that_is_unknown_is_answered_bad_option() -> None:
    pair = Pair()
    pair.ask(Request(codes.GET, ("3",), options=((65_001, b""),)))
    assert pair.client.responses == [Response(codes.BAD_OPTION)]
    pair.ask(Request(codes.GET, ("3",), options=((opt.PROXY_URI, b"coap://a"),)))
    assert pair.client.responses[-1] == Response(codes.PROXYING_NOT_SUPPORTED)
    assert pair.server.requests == []


def test_cancelled_exchanges_say_so_on_either_side() -> None:
    pair = Pair()
    handle = pair.ask(Request(codes.GET, ("3",)))
    pair.client.endpoint.cancel(handle, pair.now)
    pair.server.endpoint.cancel(pair.server.requests[0].exchange, pair.now)
    pair.client.endpoint.cancel(99, pair.now)
    pair.settle()
    assert (pair.client.failures, pair.server.failures) == (["cancelled"], ["cancelled"])
