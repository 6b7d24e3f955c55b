"""Axes: round ticks that cover the values, and places within the chart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting.scale import Scale, linear_ticks, log_ticks, milliseconds, plain


@given(high=st.floats(1e-3, 1e9), about=st.integers(2, 10))
def test_linear_ticks_begin_at_zero_and_cover_the_highest(high: float, about: int) -> None:
    ticks = linear_ticks(high, about, plain)
    assert ticks[0].value == 0.0
    assert ticks[-1].value >= high * (1 - 1e-9)
    assert 2 <= len(ticks) <= about + 2


@given(low=st.floats(1e-2, 1e6), ratio=st.floats(1.0, 1e6))
def test_log_ticks_are_powers_of_ten_around_the_values(low: float, ratio: float) -> None:
    ticks = [tick.value for tick in log_ticks(low, low * ratio, plain)]
    assert ticks[0] <= low * (1 + 1e-6)
    assert ticks[-1] >= low * ratio * (1 - 1e-6)
    assert len(ticks) >= 2


@given(value=st.floats(-1e9, 1e9), is_log=st.booleans())
def test_places_stay_within_the_axis(value: float, is_log: bool) -> None:
    scale = Scale(1.0, 1000.0, 50.0, 900.0, is_log=is_log)
    assert 50.0 <= scale.place(value) <= 900.0


def test_an_axis_may_run_downwards_and_by_logarithm() -> None:
    assert Scale(0.0, 10.0, 200.0, 0.0).place(2.5) == 150.0
    assert Scale(1.0, 100.0, 0.0, 10.0, is_log=True).place(10.0) == 5.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 ms"),
        (0.25, "0.25 ms"),
        (3.14159, "3.14 ms"),
        (123.4, "123 ms"),
        (4_560.0, "4.56 s"),
    ],
)
def test_latencies_are_written_for_people(value: float, text: str) -> None:
    assert milliseconds(value) == text
