"""Turns at a rate."""

from __future__ import annotations

import pytest

from city_platform.control.pacing import STEP_NS, Pace

S = 1_000_000_000


@pytest.mark.parametrize("rate_per_s", [0.5, 7.0, 200.0, 1_000.0])
def test_over_ten_seconds_the_rate_is_kept(rate_per_s: float) -> None:
    pace, now_ns, taken = Pace(rate_per_s, 0), 0, 0
    while now_ns <= 10 * S:
        count = pace.due(now_ns)
        pace.take(count)
        taken += count
        now_ns = pace.next_ns(now_ns)
    assert abs(taken - 10 * rate_per_s) <= 1 + rate_per_s * STEP_NS / S


def test_a_pause_does_not_end_in_a_burst() -> None:
    pace = Pace(100.0, 0)
    assert pace.due(60 * S) <= 1 + 100 * STEP_NS // S
