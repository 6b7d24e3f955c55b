"""Small towns and what happens in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from contracts.schedule import ScheduledEvent
from fake_devices.city import HARBOUR, Place, generate
from harness.city_day import City, CityDevice, CityLife, Day, city_of, make_window, simulate


class Town(NamedTuple):
    """A day as it was, with its events."""

    city: City
    day: Day
    events: list[ScheduledEvent]

    def of_kind(self, *kinds: str) -> list[ScheduledEvent]:
        return [event for event in self.events if event.kind in kinds]

    def by_endpoint(self, *kinds: str) -> dict[str, list[ScheduledEvent]]:
        found: dict[str, list[ScheduledEvent]] = {}
        for event in self.of_kind(*kinds):
            found.setdefault(event.endpoint, []).append(event)
        return found


def make_city(
    count: int = 60,
    seed: int = 1,
    life: CityLife | None = None,
    place: Place = HARBOUR,
    *,
    backwards: bool = False,
) -> City:
    """A town of `count` devices at a place."""
    rows = generate(place, 7, 0, count)
    return city_of(rows[::-1] if backwards else rows, seed, life or CityLife())


def live_a_day(
    city: City,
    begins: str = "00:00",
    ends: str = "24:00",
    speed: float = 60.0,
    date: str = "2026-11-21",
    utc_offset: str | None = None,
) -> Town:
    """Let a day happen."""
    events: list[ScheduledEvent] = []

    def take(device: CityDevice, event: ScheduledEvent) -> None:
        assert device.endpoint == event.endpoint
        events.append(event)

    window = make_window(date, begins, ends, speed, city.longitude, utc_offset)
    return Town(city, simulate(city, window, take), events)


@pytest.fixture
def city() -> Callable[..., City]:
    return make_city


@pytest.fixture
def live() -> Callable[..., Town]:
    return live_a_day


# A town in which everything goes wrong often enough to be seen in a day of sixty devices.
TROUBLED = CityLife(
    lamp_failure_ratio=0.5,
    repair_crews=1,
    power_cuts_per_feeder_day=8.0,
    feeder_lamps=11,
    power_cut_mean_s=3_000.0,
    overstay_ratio=0.5,
    parking_demand=2.0,
    lorry_litres=150.0,
    bins_per_lorry=3,
    bin_collected_above_ratio=0.1,
)


@pytest.fixture(scope="session")
def troubled() -> Town:
    """A day of that town."""
    return live_a_day(make_city(120, life=TROUBLED))
