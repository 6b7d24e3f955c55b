"""The sun's place and light, against published positions."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.behaviours.sun import (
    clear_sky_illuminance_lx,
    daylight_lx,
    solar_elevation_deg,
)


def test_elevation_agrees_with_the_published_example_of_the_nrel_algorithm() -> None:
    # NREL/TP-560-34302, table A5.1: 2003-10-17 12:30:30 at UTC-7, topocentric elevation without
    # refraction 39.872046 degrees.
    assert solar_elevation_deg(39.742476, -105.1786, 1_066_419_030) == pytest.approx(
        39.872, abs=0.05
    )


@pytest.mark.parametrize(
    ("latitude", "t_s", "elevation"),
    [
        (23.44, 1_718_884_800 + 110, 90.0),  # June solstice 2024
        (0.0, 1_710_936_000 + 440, 90.0),  # March equinox 2024, solar noon at Greenwich
        (90.0, 1_718_884_800, 23.44),  # the pole in June: the declination itself
        (-90.0, 1_718_884_800, -23.44),
    ],
)
def test_elevation_at_places_that_geometry_knows(
    latitude: float, t_s: float, elevation: float
) -> None:
    assert solar_elevation_deg(latitude, 0.0, t_s) == pytest.approx(elevation, abs=0.35)


@given(
    latitude=st.floats(-90.0, 90.0),
    longitude=st.floats(-180.0, 180.0),
    t_s=st.floats(1.5e9, 2.2e9),
)
def test_elevation_is_an_angle_and_repeats_after_a_turn(
    latitude: float, longitude: float, t_s: float
) -> None:
    here = solar_elevation_deg(latitude, longitude, t_s)
    assert -90.0 <= here <= 90.0
    assert solar_elevation_deg(latitude, longitude + 360.0, t_s) == pytest.approx(here, abs=1e-6)


def test_light_grows_with_the_sun_from_starlight_to_noon() -> None:
    lux = [clear_sky_illuminance_lx(tenth / 10) for tenth in range(-400, 950)]
    assert all(before <= now for before, now in pairwise(lux))
    assert lux[0] == pytest.approx(0.001)
    assert lux[-1] == pytest.approx(120_000)


@given(elevation=st.floats(-90, 90), clouds=st.floats(0, 1))
def test_clouds_take_light_but_never_all_of_it(elevation: float, clouds: float) -> None:
    clear = daylight_lx(elevation, 0.0)
    assert 0.24 * clear < daylight_lx(elevation, clouds) <= clear
