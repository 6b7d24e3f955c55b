"""Nothing is there twice, nothing gets lost: what must be true of any city's day."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from fake_devices.devices.parking_spot import OCCUPANCY
from fake_devices.devices.waste_bin import FILLING_PERCENT
from harness.city_day import CityLife

pytestmark = pytest.mark.slow


def test_a_spot_is_never_taken_twice_nor_left_twice(troubled: Any) -> None:
    changes = {
        endpoint: [event.value for event in events if event.path == str(OCCUPANCY)]
        for endpoint, events in troubled.by_endpoint("set", "report").items()
        if endpoint.startswith("spot")
    }
    assert sum(map(len, changes.values())) > 200
    for values in changes.values():
        assert all(before is not after for before, after in pairwise(values))
    assert all(spot.place.count <= 1 for spot in troubled.day.parking.spots)


def test_every_driver_parks_gives_up_or_still_looks(troubled: Any) -> None:
    parking = troubled.day.parking
    assert parking.gave_up > 0
    assert 0 <= parking.arrived - parking.parked - parking.gave_up <= 3 * len(parking.spots)


def test_a_bin_is_never_below_empty_nor_above_full(troubled: Any) -> None:
    fillings = [event.value for event in troubled.events if event.path == str(FILLING_PERCENT)]
    assert len(fillings) > 50
    assert all(0.0 <= filling <= 100.0 for filling in fillings)
    assert 0.0 in fillings, "the collection came"


def test_a_lorry_is_never_over_its_capacity_and_loses_nothing(troubled: Any) -> None:
    collection = troubled.day.collection
    assert len(collection.lorries) == 4
    for lorry in collection.lorries:
        assert lorry.heaviest_litres <= lorry.load.capacity
    aboard = sum(lorry.load.level for lorry in collection.lorries)
    assert collection.collected_litres == pytest.approx(collection.tipped_litres + aboard)
    assert collection.tipped_litres > 150.0, "somebody had to drive to the depot between"


def test_a_failure_is_repaired_at_most_once(troubled: Any) -> None:
    repaired = troubled.day.repairs.repaired
    failures = {lamp.device.endpoint: lamp.failures for lamp in troubled.day.lamps}
    assert sum(repaired.values()) > 5
    for lamp in troubled.day.lamps:
        count = repaired.get(lamp.device.endpoint, 0)
        assert failures[lamp.device.endpoint] - count in (0, 1)
        assert lamp.has_failed or failures[lamp.device.endpoint] == count


def test_every_power_off_has_its_power_on(troubled: Any) -> None:
    by_endpoint = troubled.by_endpoint("power_off", "power_on")
    assert len(by_endpoint) > 30
    for events in by_endpoint.values():
        kinds = [event.kind for event in events]
        assert kinds == ["power_off", "power_on"] * (len(kinds) // 2)


def test_every_incident_that_begins_ends(troubled: Any) -> None:
    found: dict[tuple[str, Any], list[str]] = {}
    for event in troubled.of_kind("incident_begins", "incident_ends"):
        found.setdefault((event.endpoint, event.value), []).append(event.kind)
    assert {kind for _, kind in found} == {"lamp_failure", "overstay", "overfilled", "rain"}
    for kinds in found.values():
        assert kinds == ["incident_begins", "incident_ends"] * (len(kinds) // 2)


def test_a_device_without_power_reports_nothing(troubled: Any) -> None:
    dark: set[str] = set()
    for event in troubled.events:
        if event.kind == "power_off":
            dark.add(event.endpoint)
        elif event.kind == "power_on":
            dark.remove(event.endpoint)
        elif event.kind == "report":
            assert event.endpoint not in dark
    assert not dark


def test_a_feeder_is_cut_at_once_and_returns_within_its_window(city: Any, live: Any) -> None:
    life = CityLife(
        power_cuts_per_feeder_day=3.0, lamp_failure_ratio=0.0, power_return_within_s=60.0
    )
    town = live(city(40, life=life), "12:00", "23:59", speed=1.0)
    feeder = max(town.day.feeders, key=lambda feeder: len(feeder.lamps))
    names = {lamp.device.endpoint for lamp in feeder.lamps}
    ends_s = town.events[-1].at_s
    off = [event for event in town.of_kind("power_off") if event.endpoint in names]
    on = [event for event in town.of_kind("power_on") if event.endpoint in names]
    assert len(off) == len(on) > 0
    first_off = {event.at_s for event in off[: len(names)]}
    assert len(first_off) == 1
    first_on = [event.at_s for event in on[: len(names)]]
    assert ends_s in first_on or 1.0 < max(first_on) - min(first_on) <= 60.0


def test_what_is_too_much_for_any_lorry_stays_where_it_is(city: Any, live: Any) -> None:
    town = live(city(40, life=CityLife(lorry_litres=10.0)), "04:00", "12:00")
    assert town.day.collection.collected_litres == 0.0
    assert all(its.percent > 5.0 for its in town.day.bins)


def test_without_drivers_the_spots_only_empty(city: Any, live: Any) -> None:
    town = live(city(40, life=CityLife(parking_demand=0.0)))
    changes = [event.value for event in town.of_kind("report") if event.path == str(OCCUPANCY)]
    assert True not in changes


def test_a_bin_whose_volume_nobody_knows_has_a_usual_one(city: Any, live: Any) -> None:
    town = city(20)
    for device in town.of_model("waste_bin"):
        device.attributes["volume_l"] = "a lot"
    assert {its.waste.capacity for its in live(town, "10:00", "11:00").day.bins} == {120.0}


def test_what_was_off_before_is_off_when_the_schedule_begins(city: Any, live: Any) -> None:
    life = CityLife(power_cuts_per_feeder_day=40.0, power_cut_mean_s=7_200.0, feeder_lamps=5)
    town = live(city(60, life=life), "16:00", "16:10")
    off = [event for event in town.of_kind("power_off") if event.at_s == 0.0]
    assert len(off) > 5
    ends_s = max(event.at_s for event in town.events)
    assert {e.endpoint for e in off} <= {e.endpoint for e in town.of_kind("power_on")}
    assert ends_s == 10.0
