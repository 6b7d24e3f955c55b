"""A hundred exchanges over a network that loses, delays, duplicates and reorders."""

from __future__ import annotations

import random

import pytest

from harness.testing import BAD_NETWORK, ConnectedPair, NetworkConditions
from lwm2m.coap import (
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)

_EXCHANGES = 100
_PARAMETERS = TransmissionParameters(block_size=256, queue_per_peer_max=_EXCHANGES)


def _answer(event: RequestReceived) -> Response:
    number = int(event.request.query[0])
    return Response(codes.CONTENT, event.request.payload[::-1] + b"%d" % number)


def _bodies(seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(chance.choice([0, 20, 255, 256, 600, 1500])) for _ in range(100)]


def _run(seed: int, conditions: NetworkConditions) -> tuple[ConnectedPair, dict[int, bytes]]:
    pair = ConnectedPair(
        _answer,
        seed=seed,
        conditions=conditions,
        client_parameters=_PARAMETERS,
        server_parameters=_PARAMETERS,
    )
    expected = {}
    for number, body in enumerate(_bodies(seed)):
        request = Request(codes.PUT, ("x",), (str(number),), payload=body)
        expected[pair.request(request)] = body[::-1] + b"%d" % number
    pair.run()
    return pair, expected


@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_exchanges_end_right_or_as_a_timeout_and_none_runs_twice(seed: int) -> None:
    pair, expected = _run(seed, BAD_NETWORK)
    ends = {}
    for event in pair.client_events:
        if isinstance(event, ResponseReceived):
            assert event.exchange not in ends
            assert event.response.payload == expected[event.exchange]
            ends[event.exchange] = "response"
        elif isinstance(event, ExchangeFailed):
            assert event.exchange not in ends
            assert event.reason == "timeout"
            ends[event.exchange] = "timeout"
    assert set(ends) == set(expected)
    executed = [event.request.query[0] for event in pair.requests]
    assert len(executed) == len(set(executed))
    # A CON is lost for good only when five copies, or five answers, are: few in a hundred.
    assert sum(end == "response" for end in ends.values()) >= 85


def test_on_a_good_network_every_exchange_is_answered() -> None:
    pair, expected = _run(1, NetworkConditions())
    told = {e.exchange: e.response.payload for e in pair.client_events
            if isinstance(e, ResponseReceived)}  # fmt: skip
    assert told == expected


def test_the_same_seed_gives_the_same_run() -> None:
    first, _ = _run(4, BAD_NETWORK)
    second, _ = _run(4, BAD_NETWORK)
    assert first.client_events == second.client_events
    assert (first.network.now, first.network.sent) == (second.network.now, second.network.sent)


def test_afterwards_both_sides_have_forgotten_each_other() -> None:
    pair, _ = _run(2, BAD_NETWORK)
    for endpoint in (pair.client, pair.server):
        assert (endpoint.peers_known, endpoint.messages_remembered) == (0, 0)
        assert endpoint.next_timer() is None
