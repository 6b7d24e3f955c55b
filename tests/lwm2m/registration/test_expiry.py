"""The wheel of lifetimes: exact within a second, bounded, and as a sorted list would have it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lwm2m.registration.expiry import ExpiryWheel


class Kept:
    """A wheel beside the times that are in it."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self.wheel = ExpiryWheel(self.times.__getitem__)

    def add(self, key: str, due: float) -> None:
        before = self.times.get(key)
        if before is None:
            self.wheel.add(key, due)
        elif math.isfinite(before) and math.isfinite(due):
            self.wheel.move(key, before, due)
        else:
            self.wheel.remove(key, before)
            self.wheel.add(key, due)
        self.times[key] = due

    def take(self, now: float) -> list[str]:
        """What is due, without what was removed or moved in the meantime."""
        found = []
        while True:
            due, key = self.wheel.take_due(now)
            if key is None:
                return found
            if self.times.get(key) == due:
                del self.times[key]
                found.append(key)


def test_within_a_second_the_exact_times_count() -> None:
    kept = Kept()
    kept.add("late", 10.75)
    kept.add("early", 10.25)
    assert kept.wheel.next_timer() == 10.0
    assert kept.take(10.0) == []
    assert kept.wheel.next_timer() == 10.25
    assert kept.take(10.5) == ["early"]
    assert kept.take(11.0) == ["late"]
    assert kept.wheel.next_timer() is None


def test_what_is_added_to_a_second_that_has_come_is_due_in_its_turn() -> None:
    kept = Kept()
    kept.add("a", 10.9)
    assert kept.take(10.1) == []
    kept.add("b", 10.5)
    assert kept.take(10.95) == ["b", "a"]
    kept.add("past", 3.0)
    assert kept.take(10.95) == ["past"]


def test_what_is_never_due_is_not_kept() -> None:
    kept = Kept()
    kept.add("a", math.inf)
    assert kept.wheel.next_timer() is None
    kept.add("a", 5.0)
    kept.add("a", math.inf)
    assert kept.wheel.next_timer() is None
    assert kept.take(1e9) == []


def test_keys_that_move_all_the_time_leave_nothing_behind() -> None:
    kept = Kept()
    for now in range(10_000):
        kept.add("a", 86_400.0 + now % 2)
        kept.add("b", 86_400.0 + now)
    assert len(kept.wheel._ticks) < 200
    assert len(kept.wheel._buckets) <= 2


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.floats(0, 30, allow_nan=False) | st.just(math.inf),
            st.floats(0, 3, allow_nan=False),
        ),
        max_size=40,
    )
)
def test_keys_come_when_they_are_due_in_the_order_of_their_times(
    steps: list[tuple[str, float, float]],
) -> None:
    kept = Kept()
    now = 0.0
    for key, delay_s, wait_s in steps:
        kept.add(key, now + delay_s)
        now += wait_s
        expected = sorted((due, each) for each, due in kept.times.items() if due <= now)
        timer = kept.wheel.next_timer()
        finite = [due for due in kept.times.values() if due < math.inf]
        assert not finite or (timer is not None and timer <= min(finite))
        assert kept.take(now) == [each for _, each in expected]


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 99), unique=True, max_size=6),
            st.floats(0, 30, allow_nan=False) | st.just(math.inf),
            st.floats(0, 3, allow_nan=False),
        ),
        max_size=12,
    )
)
def test_keys_that_are_added_together_come_as_those_added_one_by_one(
    steps: list[tuple[list[int], float, float]],
) -> None:
    together, by_one = Kept(), Kept()
    now = 0.0
    for number, (keys, delay_s, wait_s) in enumerate(steps):
        names = [f"{number}-{key}" for key in keys]
        together.times |= dict.fromkeys(names, now + delay_s)
        together.wheel.add_all(names, now + delay_s)
        for name in names:
            by_one.add(name, now + delay_s)
        now += wait_s
        assert together.wheel.next_timer() == by_one.wheel.next_timer()
        assert together.take(now) == by_one.take(now)
