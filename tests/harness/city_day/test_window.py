"""City time and the run's time: from what a user writes to seconds, and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.city_day import make_window
from harness.errors import ScenarioError

CLOCKS = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))


def test_a_window_of_an_evening() -> None:
    window = make_window("2026-11-21", "16:00", "20:00", 60.0, 8.57, "+01:00")
    assert window.from_s == 1_795_273_200.0  # 2026-11-21 15:00 UTC
    assert window.duration_s == 240.0
    assert window.at_s(window.from_s + 90.0) == 1.5
    assert window.clock(window.from_s) == "16:00"
    assert window.hour(window.from_s) == 16.0
    assert window.next_hour_s(7.0, window.from_s) == window.from_s + 15 * 3_600.0


def test_without_an_offset_the_clock_shows_mean_solar_time_to_the_minute() -> None:
    assert make_window("2026-11-21", "16:00", "20:00", 60.0, 8.5701).utc_offset_s == 34 * 60.0
    assert make_window("2026-11-21", "16:00", "20:00", 60.0, -74.0).utc_offset_s == -296 * 60.0


@given(
    begins=CLOCKS,
    ends=CLOCKS,
    speed=st.floats(0.01, 10_000.0),
    longitude=st.floats(-180.0, 180.0),
)
def test_any_two_times_are_a_window_of_at_most_a_day(
    begins: str, ends: str, speed: float, longitude: float
) -> None:
    window = make_window("2026-11-21", begins, ends, speed, longitude)
    assert 60.0 <= window.to_s - window.from_s <= 86_400.0
    assert window.clock(window.from_s) == begins
    assert window.clock(window.to_s) == ends
    assert 43_200.0 <= window.from_s - window.begins_s <= 129_600.0
    assert window.at_s(window.from_s) == 0.0
    assert math.isclose(window.at_s(window.to_s), window.duration_s, abs_tol=0.001)
    for hour in (0.0, 6.5, 23.9):
        found_s = window.next_hour_s(hour, window.from_s)
        assert 0.0 < found_s - window.from_s <= 86_400.0
        assert abs((window.hour(found_s) - hour + 12.0) % 24.0 - 12.0) < 1e-6


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"day": "21.11.2026"}, "--date '21.11.2026': write it as 2026-11-21"),
        ({"day": "1890-01-01"}, "--date 1890-01-01: the sun is known from 1951 to 2049"),
        ({"begins": "4 pm"}, "--from '4 pm': write it as 16:00"),
        ({"ends": "25:00"}, "--to '25:00': write it as 16:00"),
        ({"ends": "24:01"}, "--to '24:01': write it as 16:00"),
        ({"ends": "12:60"}, "--to '12:60': write it as 16:00"),
        ({"speed": 0.0}, "--speed 0: a number above 0"),
        ({"speed": math.nan}, "--speed nan: a number above 0"),
        ({"speed": math.inf}, "--speed inf: a number above 0"),
        ({"utc_offset": "CET"}, "--utc-offset 'CET': write it as +01:00"),
        ({"utc_offset": "+99:00"}, "--utc-offset '+99:00': write it as +01:00"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_option(changed: dict[str, object], told: str) -> None:
    right: dict[str, object] = {
        "day": "2026-11-21",
        "begins": "16:00",
        "ends": "20:00",
        "speed": 60.0,
        "longitude": 8.57,
        "utc_offset": None,
    }
    with pytest.raises(ScenarioError) as caught:
        make_window(**(right | changed))  # type: ignore[arg-type]  # some are wrong, on purpose
    assert str(caught.value).startswith(told)


@given(text=st.text(max_size=12))
def test_any_text_is_a_clock_or_an_error_of_ours(text: str) -> None:
    for fields in ((text, "20:00", None), ("16:00", text, None), ("16:00", "20:00", text)):
        told = _refused(*fields)
        assert told is None or repr(text) in told


def _refused(begins: str, ends: str, utc_offset: str | None) -> str | None:
    """Why a window is refused, None when it is not; only errors of ours count."""
    try:
        make_window("2026-11-21", begins, ends, 60.0, 0.0, utc_offset)
    except ScenarioError as error:
        return str(error)
    return None
