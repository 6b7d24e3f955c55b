"""A day follows from its city, its seed and its hours, and from nothing else."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from fake_devices.behaviours.sun import solar_elevation_deg
from fake_devices.city import Place
from fake_devices.devices.street_lamp import (
    PHOTOCELL,
    PHOTOCELL_OFF_LX,
    PHOTOCELL_ON_LX,
    STREET_LAMP,
)
from harness.city_day import CityLife, make_window
from harness.city_day.rain import fronts
from lwm2m.objects import ObjectPath

# timeanddate.com for London, kept as reference data in the test suite of the package astral:
# sunset and the end of civil twilight, UTC, on three days of 2015.
LONDON = Place("test", "greenwich", 51.4733, -0.0008, 0.0)
LONDON_EVENINGS = [
    ("2015-12-01", 1_448_928_000, (15, 55), (16, 34)),
    ("2015-12-12", 1_449_878_400, (15, 51), (16, 31)),
    ("2015-12-25", 1_451_001_600, (15, 56), (16, 36)),
]
QUIET = CityLife(lamp_failure_ratio=0.0, power_cuts_per_feeder_day=0.0)


def _clock_s(clock: tuple[int, int]) -> float:
    return 3_600.0 * clock[0] + 60.0 * clock[1]


@pytest.mark.slow
def test_the_same_day_is_the_same_day(city: Any, live: Any) -> None:
    assert live(city(), "15:00", "19:00").events == live(city(), "15:00", "19:00").events


@pytest.mark.slow
def test_the_order_of_the_manifest_changes_nothing(city: Any, live: Any) -> None:
    turned = live(city(backwards=True), "15:00", "19:00")
    assert live(city(), "15:00", "19:00").events == turned.events


@pytest.mark.slow
def test_another_seed_is_another_day(city: Any, live: Any) -> None:
    assert live(city(), "15:00", "16:00").events != live(city(seed=2), "15:00", "16:00").events


@pytest.mark.slow
def test_an_hour_is_the_same_whichever_hours_are_asked_for(city: Any, live: Any) -> None:
    whole, part = live(city(), speed=1.0), live(city(), "16:00", "18:00", speed=1.0)
    begins_s, ends_s = 16 * 3_600.0, 18 * 3_600.0
    expected = [
        (round(event.at_s - begins_s, 3), event.endpoint, event.kind, event.path, event.value)
        for event in whole.events
        if begins_s < event.at_s < ends_s
    ]
    found = [
        (event.at_s, event.endpoint, event.kind, event.path, event.value)
        for event in part.events
        if 0.0 < event.at_s < 7_200.0
    ]
    assert len(found) > 100
    assert found == expected


@pytest.mark.slow
def test_speed_only_divides_the_times(city: Any, live: Any) -> None:
    slow, fast = live(city(), "06:00", "08:00", 1.0), live(city(), "06:00", "08:00", 100.0)
    assert [(e.endpoint, e.kind) for e in slow.events] == [
        (e.endpoint, e.kind) for e in fast.events
    ]
    for before, after in zip(slow.events, fast.events, strict=True):
        assert after.at_s == pytest.approx(before.at_s / 100.0, abs=0.0011)


@pytest.mark.slow
def test_events_come_in_order_and_within_the_window(city: Any, live: Any) -> None:
    events = live(city(), "22:00", "02:00", 60.0).events
    assert events[0].at_s == 0.0
    assert events[-1].at_s <= 240.0
    assert all(before.at_s <= after.at_s for before, after in pairwise(events))


@pytest.mark.parametrize(("date", "midnight_s", "sunset", "dusk"), LONDON_EVENINGS)
def test_the_sun_goes_when_the_almanac_says(
    date: str, midnight_s: int, sunset: tuple[int, int], dusk: tuple[int, int]
) -> None:
    # Sunset: the upper limb at the horizon, 50' below with refraction; civil twilight ends at 6
    # degrees. A minute is up to 0.13 degrees there.
    for clock, elevation in ((sunset, -0.833), (dusk, -6.0)):
        found = solar_elevation_deg(51.4733, -0.0008, midnight_s + _clock_s(clock))
        assert found == pytest.approx(elevation, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("date", "midnight_s", "sunset", "dusk"), LONDON_EVENINGS)
def test_lamps_go_on_between_sunset_and_the_end_of_civil_twilight(
    city: Any,
    live: Any,
    date: str,
    midnight_s: int,
    sunset: tuple[int, int],
    dusk: tuple[int, int],
) -> None:
    london = city(20, life=QUIET, place=LONDON)
    town = live(london, "12:00", "18:00", 1.0, date=date, utc_offset="+00:00")
    lit_s = [
        12 * 3_600.0 + event.at_s
        for event in town.of_kind("report")
        if event.path == str(PHOTOCELL) and event.value is True
    ]
    assert len(lit_s) == 11, "each lamp once"
    assert all(_clock_s(sunset) < at_s < _clock_s(dusk) for at_s in lit_s)
    assert len(set(lit_s)) > 8, "by its own photocell and place"


@pytest.mark.slow
def test_the_simulated_lamps_switch_when_the_schedule_says(city: Any, live: Any) -> None:
    here = city(20, life=QUIET)
    town = live(here, speed=1.0)
    begins_s = make_window("2026-11-21", "00:00", "24:00", 1.0, here.longitude).from_s
    devices = {device.endpoint: device for device in here.devices}
    given: dict[str, dict[ObjectPath, Any]] = {}
    switched = 0
    for event in town.events:
        path = None if event.path is None else ObjectPath(*map(int, event.path.split("/")[1:]))
        if path in (PHOTOCELL, PHOTOCELL_ON_LX, PHOTOCELL_OFF_LX):
            given.setdefault(event.endpoint, {})[path] = event.value
        if path != PHOTOCELL or event.kind != "report":
            continue
        identity, t_s = devices[event.endpoint].identity, begins_s + event.at_s
        values = STREET_LAMP.initial(identity, t_s - 60.0)
        values |= given[event.endpoint] | {PHOTOCELL: not event.value}
        memory = STREET_LAMP.new_memory(identity, t_s - 60.0)
        before, _ = STREET_LAMP.sense(identity, t_s - 2.0, values, memory, ())
        after, _ = STREET_LAMP.sense(identity, t_s + 2.0, values, memory, ())
        assert PHOTOCELL not in before
        assert after[PHOTOCELL] is event.value
        switched += 1
    assert switched >= 22


@pytest.mark.slow
def test_dusk_comes_later_in_the_west(city: Any, live: Any) -> None:
    def median_dusk_s(longitude: float) -> float:
        # The same weather, and so the same clouds, over both.
        there = city(20, life=QUIET, place=Place("test", "there", 50.0, longitude, 0.0))
        town = live(there, "14:00", "20:00", 1.0, utc_offset="+00:00")
        found = sorted(e.at_s for e in town.of_kind("report") if e.path == str(PHOTOCELL))
        return float(found[len(found) // 2])

    later_s = median_dusk_s(-2.0) - median_dusk_s(2.0)
    # 4 degrees are 960 s of the sun's way; clouds may change a little meanwhile.
    assert later_s == pytest.approx(960.0, abs=240.0)


@pytest.mark.slow
def test_under_the_midnight_sun_no_lamp_is_lit(city: Any, live: Any) -> None:
    north = city(20, life=QUIET, place=Place("test", "north", 69.65, 18.96, 0.0))
    town = live(north, date="2026-06-21")
    photocells = [event.value for event in town.events if event.path == str(PHOTOCELL)]
    assert photocells == [False] * 11
    town = live(north, date="2026-12-21")
    lit = [event.value for event in town.events if event.path == str(PHOTOCELL)]
    assert lit.count(True) >= 11


@pytest.mark.slow
def test_a_schedule_begins_with_what_devices_cannot_know(city: Any, live: Any) -> None:
    town = live(city(), "10:00", "10:10")
    begin = [event for event in town.events if event.at_s == 0.0 and event.kind == "set"]
    counts = Counter(event.path for event in begin)
    assert counts[str(PHOTOCELL_ON_LX)] == counts[str(PHOTOCELL)] == 33
    assert counts["/3431/0/1"] == 9
    assert counts["/3435/0/2"] == 6


@pytest.mark.slow
def test_water_and_cars_have_their_rush_hours(city: Any, live: Any) -> None:
    town = live(city(200, life=QUIET), speed=3_600.0)
    reports = town.of_kind("report")
    hours = Counter(int(e.at_s) for e in reports if e.endpoint.startswith("meter"))
    assert hours[7] > 3 * hours[3]
    hours = Counter(int(e.at_s) for e in reports if e.endpoint.startswith("spot"))
    assert hours[8] > 4 * hours[3]
    assert hours[17] > 2 * hours[22]


def test_rain_reaches_the_streets_it_comes_from_first(city: Any) -> None:
    town = city(400)
    monitors = town.of_model("air_monitor")
    found = fronts(town, 1_795_200_000.0, 1_795_200_000.0 + 30 * 86_400.0)
    assert len(found) > 10
    west, east = (pick(monitors, key=lambda device: device.east_m) for pick in (min, max))
    from_west = [front for front in found if 250.0 < front.from_deg < 290.0]
    assert from_west
    assert all(front.reaches_s(west) < front.reaches_s(east) for front in from_west)


def test_which_fronts_come_does_not_depend_on_the_time_asked_for(city: Any) -> None:
    begins_s, day_s = 1_795_200_000.0, 86_400.0
    whole = fronts(city(), begins_s, begins_s + 10 * day_s)
    later = fronts(city(), begins_s + 3 * day_s, begins_s + 10 * day_s)
    assert later == [front for front in whole if front.begins_s >= begins_s + 3 * day_s]
