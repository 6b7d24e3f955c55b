"""Parking spots: drivers come with the hours, look for a free spot nearby, wait a little, or leave.

A spot is a resource for one. Whoever finds the wanted one taken drives on to the next nearest, and
after a few waits in the last place for a while. What residents and visitors do differs by the kind
of bay.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, hypot, sqrt
from typing import NamedTuple

import simpy

from fake_devices.behaviours.rhythm import Profile
from fake_devices.devices.parking_spot import INCIDENT, OCCUPANCY, STAY_MAX_S
from harness.city_day.chance import Chance
from harness.city_day.city import CityDevice
from harness.city_day.rain import Rain
from harness.city_day.world import Process, World

_HOUR_S = 3_600.0
_SEARCHED_WITHIN_M = 250.0
_SPOTS_TRIED = 5
# How fast somebody drives who is looking, and how long a look takes.
_SEARCH_M_S, _LOOK_S = 4.0, 8.0
_PATIENCE_S = 300.0
# More people take the car when it rains.
_RAIN_RATIO = 1.15
_RESIDENTS_LEAVE_HOUR = (6.25, 9.0)


class _Bay(NamedTuple):
    """How a kind of bay is used: drivers an hour who want one, and how long they stay."""

    arrivals_per_hour: Profile
    shortest_s: float
    longest_s: float
    taken_at_noon_ratio: float
    stays_overnight: bool = False
    may_overstay: bool = False


_SHORT_STAY = _Bay(
    (
        *(0.03, 0.02, 0.01, 0.01, 0.02, 0.12, 0.45, 1.00, 1.20, 0.85, 0.75, 0.85),
        *(1.00, 0.85, 0.70, 0.75, 1.00, 1.25, 1.10, 0.70, 0.45, 0.30, 0.15, 0.08),
    ),
    600.0,
    5_400.0,
    0.8,
    may_overstay=True,
)
_RESIDENTS = _Bay(
    (
        *(0.02, 0.01, 0.01, 0.01, 0.01, 0.01, 0.02, 0.04, 0.06, 0.06, 0.06, 0.08),
        *(0.10, 0.10, 0.12, 0.10, 0.18, 0.32, 0.30, 0.18, 0.10, 0.08, 0.06, 0.04),
    ),
    1_800.0,
    7_200.0,
    0.25,
    stays_overnight=True,
)
_LOADING = _Bay(
    (
        *(0.00, 0.00, 0.00, 0.02, 0.15, 0.60, 1.40, 2.00, 2.20, 2.00, 1.60, 1.20),
        *(0.80, 0.90, 1.00, 0.90, 0.70, 0.40, 0.20, 0.10, 0.05, 0.02, 0.00, 0.00),
    ),
    240.0,
    1_500.0,
    0.3,
)
_DISABLED = _Bay(
    (
        *(0.00, 0.00, 0.00, 0.00, 0.00, 0.02, 0.06, 0.15, 0.30, 0.35, 0.35, 0.30),
        *(0.25, 0.30, 0.30, 0.30, 0.25, 0.20, 0.12, 0.08, 0.05, 0.02, 0.01, 0.00),
    ),
    1_200.0,
    7_000.0,
    0.4,
)
_BAYS = {"residents": _RESIDENTS, "loading": _LOADING, "disabled": _DISABLED}
_RESIDENTS_IN_THE_EVENING_FROM_HOUR = 15.5


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """One spot; `place` has room for one car. `nearby`: where its drivers look next."""

    device: CityDevice
    place: simpy.Resource
    bay: _Bay
    nearby: list[Spot]


class Parking:
    """All spots. `arrived`, `parked` and `gave_up` count drivers."""

    def __init__(self, world: World, rain: Rain) -> None:
        self._world = world
        self._rain = rain
        self.spots = make_spots(world)
        self.arrived = self.parked = self.gave_up = 0

    def start(self) -> None:
        """Begin with the cars that are there already, and with those that come."""
        for spot in self.spots:
            is_taken = self._chance(spot, "first car").happens(spot.bay.taken_at_noon_ratio)
            self._world.diary.set(spot.device, OCCUPANCY, is_taken)
            if is_taken:
                self.arrived += 1
                self._world.env.process(self._drive(spot, self._chance(spot, "first stay")))
            self._world.env.process(self._attract(spot))

    def _chance(self, spot: Spot, purpose: str) -> Chance:
        return self._world.chance(spot.device.endpoint, purpose)

    def _attract(self, spot: Spot) -> Process:
        """Drivers who want this spot; a thinned stream, so that rain only adds to it."""
        world, chance = self._world, self._chance(spot, "drivers")
        most = max(spot.bay.arrivals_per_hour) * _RAIN_RATIO
        demand = world.life.parking_demand
        if demand <= 0.0:
            return
        while True:
            yield world.env.timeout(chance.pause_s(_HOUR_S / (most * demand)))
            wanted = world.hourly(spot.bay.arrivals_per_hour)
            wanted *= _RAIN_RATIO if self._rain.falls_in_the_middle() else 1.0
            if chance.happens(wanted / most):
                self.arrived += 1
                world.env.process(self._drive(spot, self._chance(spot, f"driver {self._when()}")))

    def _when(self) -> str:
        return f"{self._world.now:.3f}"

    def _drive(self, wanted: Spot, chance: Chance) -> Process:
        """One driver, from the first look to the departure."""
        here = wanted
        for spot in (wanted, *wanted.nearby):
            if spot is not here:
                way_s = here.device.distance_m(spot.device) / _SEARCH_M_S
                yield self._world.env.timeout(way_s + _LOOK_S)
                here = spot
            if here.place.count == 0:
                break
        with here.place.request() as turn:
            patience = self._world.env.timeout(_PATIENCE_S)
            yield turn | patience
            if not turn.triggered:
                self.gave_up += 1
                return
            self.parked += 1
            yield from self._park(here, chance)

    def _park(self, spot: Spot, chance: Chance) -> Process:
        """The car stands on the spot; whoever stays too long is an incident until it leaves."""
        world, device = self._world, spot.device
        overstays = spot.bay.may_overstay and chance.happens(world.life.overstay_ratio)
        stay_s = self._stay_s(spot.bay, chance)
        world.diary.report(device, OCCUPANCY, True)
        if overstays:
            yield world.env.timeout(STAY_MAX_S)
            world.diary.incident_begins(device, INCIDENT)
            world.diary.report(device)
        yield world.env.timeout(stay_s)
        world.diary.incident_ends(device, INCIDENT)
        world.diary.report(device, OCCUPANCY, False)

    def _stay_s(self, bay: _Bay, chance: Chance) -> float:
        world = self._world
        # The shorter the likelier.
        share = chance.share()
        stay_s = bay.shortest_s + (bay.longest_s - bay.shortest_s) * share * sqrt(share)
        hour = world.window.hour(world.now)
        is_evening = hour >= _RESIDENTS_IN_THE_EVENING_FROM_HOUR or hour < 5.0
        if bay.stays_overnight and is_evening:
            leaves = chance.between(*_RESIDENTS_LEAVE_HOUR)
            stay_s = world.window.next_hour_s(leaves, world.now) - world.now
        return stay_s


def make_spots(world: World) -> list[Spot]:
    """All spots of the city, each with its nearest, which are found by tiles of the plan."""
    spots = [
        Spot(
            device,
            simpy.Resource(world.env, capacity=1),
            _BAYS.get(device.attributes.get("kind", ""), _SHORT_STAY),
            [],
        )
        for device in world.city.of_model("parking_spot")
    ]
    tiles: dict[tuple[int, int], list[Spot]] = {}
    for spot in spots:
        tiles.setdefault(_tile(spot), []).append(spot)
    for spot in spots:
        east, north = _tile(spot)
        around = (
            other
            for tile_east in (east - 1, east, east + 1)
            for tile_north in (north - 1, north, north + 1)
            for other in tiles.get((tile_east, tile_north), ())
            if other is not spot and other.bay is spot.bay
        )
        ranked = sorted((_metres(spot, other), other.device.endpoint, other) for other in around)
        near = [other for metres, _, other in ranked if metres <= _SEARCHED_WITHIN_M]
        spot.nearby.extend(near[: _SPOTS_TRIED - 1])
    return spots


def _tile(spot: Spot) -> tuple[int, int]:
    return (
        floor(spot.device.east_m / _SEARCHED_WITHIN_M),
        floor(spot.device.north_m / _SEARCHED_WITHIN_M),
    )


def _metres(spot: Spot, other: Spot) -> float:
    return hypot(
        spot.device.east_m - other.device.east_m, spot.device.north_m - other.device.north_m
    )
