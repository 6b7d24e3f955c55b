"""Percentiles and rates, against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checks.figures import backlog_grew, peak_per_s, percentile, slope_per_s

S = 1_000_000_000


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(n) for n in range(1, 1_001)]
    assert [percentile(values, p) for p in (0.5, 0.9, 0.99, 0.999, 1.0)] == [
        500,
        900,
        990,
        999,
        1000,
    ]
    assert percentile([7.0], 0.5) == percentile([7.0], 0.999) == 7.0
    assert percentile([1.0, 2.0], 0.5) == 1.0


@given(st.lists(st.floats(0, 1e9), min_size=1).map(sorted), st.floats(0.01, 1.0))
def test_a_percentile_is_one_of_the_values_with_enough_at_or_below(
    values: list[float], ratio: float
) -> None:
    found = percentile(values, ratio)
    assert found in values
    assert sum(value <= found for value in values) >= ratio * len(values) - 1e-6


def test_slope_is_the_rate_of_the_middle() -> None:
    steady = [n * S // 100 for n in range(1_001)]
    assert slope_per_s(steady) == pytest.approx(100.0)
    assert slope_per_s([0, *(t + 60 * S for t in steady)]) == pytest.approx(100.0, rel=0.01)
    assert slope_per_s(steady[:9]) is None
    assert slope_per_s([5] * 20) is None


def test_peak_is_the_busiest_second_wherever_it_begins() -> None:
    times = [0, S // 2, S - 1, S, S + S // 4, S + S // 3, 9 * S]
    assert peak_per_s(times) == 5.0
    assert peak_per_s([]) == 0.0


def test_a_backlog_grows_when_arrivals_outrun_completions() -> None:
    arrivals = [n * S // 200 for n in range(400)]
    assert not backlog_grew(arrivals, [t + S // 10 for t in arrivals])
    assert backlog_grew(arrivals, [t * 2 for t in arrivals])
    assert not backlog_grew([], [])
