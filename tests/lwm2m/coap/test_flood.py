"""Storms: of forged addresses, of observations, of blocks. What is kept is bounded."""

from __future__ import annotations

import tracemalloc

import pytest

from lwm2m.coap import (
    CON,
    NON,
    ExchangeFailed,
    Message,
    Request,
    RequestReceived,
    Response,
    UnknownExchange,
    codes,
    encode_message,
    find_option,
    options,
)
from tests.lwm2m.coap.by_hand import PEER, ByHand, block1


def _flood(talk: ByHand, type_: int, count: int) -> None:
    """One request of each of many addresses, each answered by the application."""
    data = encode_message(Message(type_, codes.GET, 1, b"tokn", ((11, b"rd"),)))
    endpoint = talk.endpoint
    for number in range(count):
        peer = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5683)
        endpoint.receive_datagram(data, peer, talk.now)
        for event in endpoint.events():
            if isinstance(event, RequestReceived):
                endpoint.respond(event.exchange, Response(codes.NOT_FOUND), talk.now)
        endpoint.datagrams_to_send()


@pytest.mark.slow
@pytest.mark.parametrize("type_", [CON, NON])
def test_forged_addresses_leave_no_more_than_is_allowed(type_: int) -> None:
    talk = ByHand(remembered_max=10_000, peers_max=10_000)
    # Three times as many as there is room for.
    _flood(talk, type_, 30_000)
    core = talk.endpoint._core
    assert talk.endpoint.peers_known <= 10_000
    assert talk.endpoint.messages_remembered <= 10_000
    assert len(core.peers._check_order) <= 10_000
    assert not core.peers._validated
    assert not talk.endpoint._responder._by_handle
    talk.wait(1_000.0)
    assert (talk.endpoint.peers_known, talk.endpoint.messages_remembered) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("type_", [CON, NON])
def test_an_address_that_asked_once_costs_less_than_1_200_bytes(type_: int) -> None:
    talk = ByHand()
    tracemalloc.start()
    _flood(talk, type_, 5_000)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / 5_000 < 1_200


def test_a_peer_with_something_open_outlives_a_flood() -> None:
    talk = ByHand(peers_max=50)
    for number in range(20):
        talk.send(Request(codes.GET), ("ours", number))
    sent = talk.sent()
    _flood(talk, NON, 500)
    talk.told()
    for number, asked in enumerate(sent):
        talk.answer(asked, peer=("ours", number))
    assert len(talk.told()) == 20


def test_peers_that_all_have_something_open_may_be_more_than_the_limit() -> None:
    talk = ByHand(peers_max=3)
    for number in range(10):
        talk.send(Request(codes.GET), ("ours", number))
    talk.endpoint.forget_peer(("ours", 0))
    talk.send(Request(codes.GET), ("ours", 10))
    assert talk.endpoint.peers_known == 10


def _observe(talk: ByHand, number: int, peer: object = PEER) -> RequestReceived:
    talk.ask(codes.GET, (options.OBSERVE, b""), token=b"%d" % number, peer=peer)
    return talk.respond(Response(codes.CONTENT, b"v", observe=1))


def _is_observed(talk: ByHand) -> bool:
    return find_option(talk.sent_one().options, options.OBSERVE) is not None


@pytest.mark.parametrize("limit", ["observations_per_peer_max", "observations_max"])
def test_one_observation_more_than_allowed_is_answered_plainly(limit: str) -> None:
    # RFC 7641 §4.1.
    talk = ByHand(**{limit: 3})
    handles = []
    for number in range(3):
        handles.append(_observe(talk, number).exchange)
        assert _is_observed(talk)
    refused = _observe(talk, 3)
    assert refused.request.observe is None
    assert not _is_observed(talk)
    with pytest.raises(UnknownExchange):
        talk.endpoint.notify(refused.exchange, Response(codes.CONTENT), 0.0)
    talk.endpoint.cancel(handles[0])
    talk.told()
    _observe(talk, 4)
    assert _is_observed(talk)


def test_the_same_token_again_takes_no_further_place() -> None:
    talk = ByHand(observations_per_peer_max=1)
    for _ in range(5):
        talk.ask(codes.GET, (options.OBSERVE, b""))
        *_, event = talk.told()
        assert isinstance(event, RequestReceived)
        talk.endpoint.respond(event.exchange, Response(codes.CONTENT, observe=1), 0.0)
        assert _is_observed(talk)


def test_when_two_wait_for_the_last_place_one_is_told_as_cancelled() -> None:
    talk = ByHand(observations_max=1)
    for number in range(2):
        talk.ask(codes.GET, (options.OBSERVE, b""), token=b"%d" % number)
    events = talk.told()
    for event in events:
        assert isinstance(event, RequestReceived)
        talk.endpoint.respond(event.exchange, Response(codes.CONTENT, observe=1), 0.0)
    first, second = talk.sent()
    assert find_option(first.options, options.OBSERVE) == b"\x01"
    assert find_option(second.options, options.OBSERVE) is None
    assert talk.told() == [ExchangeFailed(PEER, events[1].exchange, "cancelled")]  # type: ignore[union-attr]  # a request, see above


def test_a_storm_of_observations_is_bounded_and_plain_requests_are_served() -> None:
    talk = ByHand(observations_max=100)
    for number in range(1_000):
        _observe(talk, 0, peer=number)
    talk.sent()
    assert talk.endpoint._core.observations == 100
    talk.ask(codes.GET)
    talk.respond(Response(codes.CONTENT))
    assert talk.sent_one().code == codes.CONTENT


def test_a_storm_of_first_blocks_is_bounded_and_whole_requests_are_served() -> None:
    talk = ByHand(block_size=16, transfers_max=100)
    for number in range(1_000):
        talk.ask(codes.PUT, block1(0, True, 0), payload=bytes(16), peer=number)
    answers = [answer.code for answer in talk.sent()]
    assert answers.count(codes.CONTINUE) == 100
    assert answers.count(codes.REQUEST_ENTITY_TOO_LARGE) == 900
    talk.told()
    talk.ask(codes.PUT, payload=bytes(16))
    talk.respond(Response(codes.CHANGED))
    assert talk.sent_one().code == codes.CHANGED
    talk.wait(300.0)
    assert talk.endpoint.peers_known == 0


def test_a_device_that_rebooted_uses_its_ids_again_with_new_tokens() -> None:
    talk = ByHand()
    for boot in range(5):
        for message_id in range(20):
            talk.hear(Message(CON, codes.POST, message_id, b"boot%d" % boot))
            talk.respond(Response(codes.CHANGED))
    assert len(talk.sent()) == 100
