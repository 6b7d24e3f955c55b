"""The wheel fires what is due, never early, in order, and forgets what was cleared."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from lwm2m.coap.timers import TICKS_PER_S, TimerWheel


def test_nothing_fires_early_and_all_fires_within_a_tick() -> None:
    wheel: TimerWheel[str] = TimerWheel()
    wheel.schedule(1, "a", 1.001)
    assert wheel.take_due(1.001) == []
    due = wheel.next_deadline()
    assert due is not None
    assert 1.001 <= due <= 1.001 + 1 / TICKS_PER_S
    assert wheel.take_due(due) == ["a"]
    assert wheel.next_deadline() is None


def test_what_was_cleared_does_not_fire_and_wakes_nobody() -> None:
    wheel: TimerWheel[str] = TimerWheel()
    tick = wheel.schedule(1, "a", 1.0)
    wheel.schedule(2, "b", 2.0)
    wheel.cancel(1, tick)
    wheel.cancel(1, tick)
    wheel.cancel(9, 12_345)
    assert wheel.next_deadline() == 2.0
    assert wheel.take_due(5.0) == ["b"]


_STEPS = st.lists(
    st.tuples(st.integers(0, 20), st.floats(0, 10), st.booleans()), min_size=1, max_size=60
)


@given(_STEPS)
@settings(max_examples=60, deadline=None)
def test_the_wheel_agrees_with_a_plain_heap(steps: list[tuple[int, float, bool]]) -> None:
    wheel: TimerWheel[int] = TimerWheel()
    plain: list[tuple[int, int]] = []
    ticks: dict[int, int] = {}
    for order, (key, deadline, clear) in enumerate(steps):
        if clear and key in ticks:
            wheel.cancel(key, ticks[key])
            plain = [entry for entry in plain if entry[1] != key]
            heapq.heapify(plain)
            del ticks[key]
        elif key not in ticks:
            ticks[key] = wheel.schedule(key, key, deadline)
            heapq.heappush(plain, (ticks[key], key))
        assert (wheel.next_deadline() or 0) * TICKS_PER_S == (plain[0][0] if plain else 0)
        assert order < len(steps)
    assert sorted(wheel.take_due(11.0)) == sorted(key for _, key in plain)
