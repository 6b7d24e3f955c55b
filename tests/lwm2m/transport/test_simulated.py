"""The simulated network does what its conditions say, the same way every time."""

from __future__ import annotations

import pytest

from harness.testing import ConnectedPair, HandMovedClock, NetworkConditions
from lwm2m.coap import ExchangeFailed, Request, Response, ResponseReceived, codes


def _pair(conditions: NetworkConditions, seed: int = 1) -> ConnectedPair:
    return ConnectedPair(lambda event: Response(codes.CHANGED), seed=seed, conditions=conditions)


def test_time_passes_by_the_delay_of_each_datagram() -> None:
    pair = _pair(NetworkConditions(delay_s=0.25))
    pair.request(Request(codes.PUT))
    pair.run_for(0.6)
    assert len(pair.client_events) == 1
    assert pair.network.now == 0.6
    pair.run(0.1)
    assert pair.network.now == 0.6


def test_a_network_that_loses_all_ends_in_a_timeout() -> None:
    pair = _pair(NetworkConditions(loss_ratio=1.0))
    handle = pair.request(Request(codes.PUT))
    pair.run()
    assert pair.client_events == [ExchangeFailed(pair.SERVER, handle, "timeout")]
    assert (pair.network.sent, pair.network.lost) == (5, 5)


def test_every_datagram_may_come_twice() -> None:
    pair = _pair(NetworkConditions(duplication_ratio=1.0))
    pair.request(Request(codes.PUT))
    pair.run_for(1.0)
    assert len(pair.requests) == 1
    assert isinstance(pair.client_events[0], ResponseReceived)


def test_conditions_can_change_and_a_node_can_leave() -> None:
    pair = _pair(NetworkConditions(loss_ratio=1.0))
    pair.request(Request(codes.PUT))
    pair.run_for(1.0)
    pair.network.set_conditions(NetworkConditions())
    pair.run_for(5.0)
    assert isinstance(pair.client_events[0], ResponseReceived)
    pair.network.detach(pair.SERVER)
    handle = pair.request(Request(codes.PUT))
    pair.run_for(100.0)
    assert pair.client_events[1] == ExchangeFailed(pair.SERVER, handle, "timeout")


def test_what_never_ends_is_told() -> None:
    pair = _pair(NetworkConditions())
    pair.request(Request(codes.PUT))
    with pytest.raises(RuntimeError, match="still busy"):
        pair.network.run(steps_max=1)


def test_a_hand_moved_clock_moves_only_forward() -> None:
    clock = HandMovedClock(now_s=5.0, wall_s=100.0)
    clock.advance(1.5)
    assert (clock.now_s, clock.now_ns(), clock.wall_us()) == (6.5, 6_500_000_000, 101_500_000)
    clock.step_wall(-50.0)
    assert (clock.now_s, clock.wall_us()) == (6.5, 51_500_000)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1.0)
