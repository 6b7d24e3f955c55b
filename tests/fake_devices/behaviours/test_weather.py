"""The weather of a district: in range, seasonal, and the same for all who share the key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fake_devices.behaviours.noise import stream_key
from fake_devices.behaviours.weather import air_temperature_cel, cloud_cover, haze

JANUARY, JULY = 1_768_824_000.0, 1_784_462_400.0


@given(city=st.integers(0, 2**64 - 1), t_s=st.floats(1.5e9, 2.2e9))
def test_clouds_and_haze_are_shares(city: int, t_s: float) -> None:
    assert 0.0 <= cloud_cover(city, t_s) <= 1.0
    assert 0.0 <= haze(city, t_s) <= 1.0


@given(city=st.integers(0, 2**64 - 1))
def test_summer_is_warmer_than_winter_on_either_side_of_the_equator(city: int) -> None:
    north = [air_temperature_cel(city, 54.0, 9.0, t_s) for t_s in (JANUARY, JULY)]
    south = [air_temperature_cel(city, -54.0, 9.0, t_s) for t_s in (JANUARY, JULY)]
    assert north[0] < north[1]
    assert south[0] > south[1]


@given(
    city=st.integers(0, 2**64 - 1),
    latitude=st.floats(-70, 70),
    longitude=st.floats(-180, 180),
    t_s=st.floats(1.5e9, 2.2e9),
)
def test_temperatures_are_those_of_inhabited_places(
    city: int, latitude: float, longitude: float, t_s: float
) -> None:
    assert -35.0 < air_temperature_cel(city, latitude, longitude, t_s) < 48.0


def test_the_sky_clouds_over_and_clears() -> None:
    city = stream_key(3, "weather")
    covers = [cloud_cover(city, JULY + 3_600.0 * hour) for hour in range(240)]
    assert min(covers) < 0.2
    assert max(covers) > 0.8
