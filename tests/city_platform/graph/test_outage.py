"""When an absent graph is looked for, and when somebody is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_platform.graph.outage import RETRY_S_MAX, RETRY_S_MIN, Outage, retry_s

S = 1_000_000_000


@pytest.mark.parametrize(
    ("failures", "longest_s"),
    [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (8, 25.6), (9, 30.0), (10_000, 30.0)],
)
def test_the_first_tries_are_quick_and_the_later_ones_bounded(
    failures: int, longest_s: float
) -> None:
    assert retry_s(failures, 0.0) == pytest.approx(longest_s)
    assert retry_s(failures, 0.5) == pytest.approx(longest_s * 0.75)


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_chance_takes_half_of_it_at_most(failures: int, chance: float) -> None:
    assert RETRY_S_MIN / 2 <= retry_s(failures, chance) <= RETRY_S_MAX


def test_a_restart_of_ten_seconds_is_over_two_and_a_half_seconds_after_it() -> None:
    at_s, failures = 0.0, 0
    while at_s < 10.0:
        failures += 1
        at_s += retry_s(failures, 0.0)
    assert at_s < 13.0
    assert failures == 6


def test_somebody_is_told_after_a_minute_and_each_ten() -> None:
    outage = Outage()
    assert not outage.is_notice_due(1_000 * S)
    told = []
    for second in range(0, 1_300, 10):
        outage.failed(second * S)
        if outage.is_notice_due(second * S):
            told.append(second)
    assert told == [60, 660, 1260]
    assert outage.lasts_s(1_300 * S) == 1_300.0


def test_what_is_over_is_forgotten() -> None:
    outage = Outage()
    outage.failed(5 * S)
    outage.ended()
    assert (outage.failures, outage.lasts_s(100 * S)) == (0, 0.0)
    outage.failed(100 * S)
    assert not outage.is_notice_due(120 * S)
    assert outage.is_notice_due(160 * S)
