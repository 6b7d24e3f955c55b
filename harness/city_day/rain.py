"""Rain fronts that cross the city: they come when the sky of the devices is covered, from the west
more than from elsewhere, and reach one street after the other.

An air monitor reports when the rain begins and when it has passed, and measures washed air between;
drivers come in greater number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import cos, floor, radians, sin
from typing import NamedTuple

from fake_devices.behaviours.weather import cloud_cover
from fake_devices.devices.air_monitor import RAIN
from harness.city_day.chance import Chance
from harness.city_day.city import City, CityDevice
from harness.city_day.world import Process, World

_SLOT_S = 2.0 * 3600.0
# A covered sky brings a front in most slots, one that is open less than this in none.
_COVER_LEAST = 0.5


class Front(NamedTuple):
    """One front. It moves towards (`east`, `north`), and is over the city's middle at
    `begins_s`; at any place it rains for `lasts_s`."""

    begins_s: float
    lasts_s: float
    speed_m_s: float
    east: float
    north: float
    from_deg: float

    def reaches_s(self, device: CityDevice) -> float:
        """When the first drop falls on a device."""
        ahead_m = device.east_m * self.east + device.north_m * self.north
        return self.begins_s + ahead_m / self.speed_m_s


def fronts(city: City, from_s: float, until_s: float) -> list[Front]:
    """The fronts that come in this time; which they are does not depend on the time asked for."""
    slots = range(floor(from_s / _SLOT_S), floor(until_s / _SLOT_S) + 1)
    found = (_front_in(city, slot) for slot in slots)
    return [front for front in found if front is not None and front.begins_s >= from_s]


def _front_in(city: City, slot: int) -> Front | None:
    chance = Chance(city.seed, "rain", str(slot))
    begins_s = (slot + chance.share()) * _SLOT_S
    cover = cloud_cover(city.weather, begins_s)
    if not chance.happens((cover - _COVER_LEAST) / (1.0 - _COVER_LEAST)):
        return None
    # Where it comes from, degrees from north by east: 270 is the west.
    from_deg = 270.0 + 60.0 * (chance.share() + chance.share() - 1.0)
    towards = radians(from_deg + 180.0)
    lasts_s, speed_m_s = chance.between(900.0, 4_800.0), chance.between(4.0, 14.0)
    return Front(begins_s, lasts_s, speed_m_s, sin(towards), cos(towards), from_deg % 360.0)


class Rain:
    """What falls while the model goes on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fronts = fronts(world.city, world.now, world.window.to_s)
        # Fronts above each monitor that is rained upon: two may overlap.
        self._above: Counter[str] = Counter()

    def start(self, monitors: Sequence[CityDevice]) -> None:
        """Begin a process for each front, which reaches these monitors."""
        for front in self._fronts:
            self._world.env.process(self._cross(front, monitors))

    def falls_in_the_middle(self) -> bool:
        """Whether it rains at the city's middle."""
        now_s = self._world.now
        return any(f.begins_s <= now_s < f.begins_s + f.lasts_s for f in self._fronts)

    def _cross(self, front: Front, monitors: Sequence[CityDevice]) -> Process:
        world = self._world
        reached = [(front.reaches_s(device), n, True) for n, device in enumerate(monitors)]
        left = [(reaches_s + front.lasts_s, number, False) for reaches_s, number, _ in reached]
        moments = sorted(reached + left)
        yield world.until(moments[0][0] if moments else front.begins_s)
        side = ("north", "east", "south", "west")[round(front.from_deg / 90.0) % 4]
        world.diary.note("rain", f"rain from the {side} for {front.lasts_s / 60:.0f} min")
        for moment_s, number, begins in moments:
            yield world.until(moment_s)
            # No value goes with it: what rain does to the air is the monitor's to measure.
            self._tell(monitors[number], begins=begins)
            world.diary.report(monitors[number])

    def _tell(self, monitor: CityDevice, *, begins: bool) -> None:
        self._above[monitor.endpoint] += 1 if begins else -1
        above = self._above[monitor.endpoint]
        if begins and above == 1:
            self._world.diary.incident_begins(monitor, RAIN)
        elif not begins and above == 0:
            self._world.diary.incident_ends(monitor, RAIN)
