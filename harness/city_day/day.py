"""A city's day: starts every process, and lets it go on until the window's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import simpy

from harness.city_day.air import start_air_monitors
from harness.city_day.bins import Bin, start_bins
from harness.city_day.city import City
from harness.city_day.collection import Collection
from harness.city_day.diary import Diary, Happening, Take
from harness.city_day.lamps import Lamp, make_lamps, start_lamps
from harness.city_day.meters import start_meters
from harness.city_day.parking import Parking
from harness.city_day.power import Feeder, lay_feeders, start_feeders
from harness.city_day.rain import Rain
from harness.city_day.repairs import RepairService
from harness.city_day.sky import Sky
from harness.city_day.window import Window
from harness.city_day.world import World

Progress = Callable[[float], None]
_LOOK_UP_EVERY_S = 1_800.0


@dataclass(frozen=True, slots=True)
class Day:
    """A day as it ended: what happened, and the parts of the city as they were then."""

    happenings: list[Happening]
    lamps: list[Lamp]
    feeders: list[Feeder]
    repairs: RepairService
    parking: Parking
    bins: list[Bin]
    collection: Collection


def no_progress(_done_ratio: float) -> None:
    """Nobody wants to know."""


def simulate(city: City, window: Window, take: Take, progress: Progress = no_progress) -> Day:
    """Let a day happen; `take(device, event)` gets each event of the window, in order of time.

    `progress` is told now and then which part of the time is over, 0 to 1.

    The same city, seed and window give the same events, and the hours of a day the same whichever
    of them are asked for (but for what is open when a window begins or ends, which begins and ends
    with it).
    """
    env = simpy.Environment(initial_time=window.begins_s)
    sky = Sky(city.weather, window.begins_s, window.to_s)
    world = World(env, city, window, sky, Diary(env, window, take))
    day = _start(world)
    length_s = window.to_s - window.begins_s
    for until_s in _stops(window):
        env.run(until=until_s)
        progress((until_s - window.begins_s) / length_s)
        if until_s == window.from_s:
            world.diary.open()
    world.diary.close()
    return day


def _stops(window: Window) -> list[float]:
    """Moments to look up at: the window's begin and end, and every half hour."""
    steps = range(1, int((window.to_s - window.begins_s) // _LOOK_UP_EVERY_S) + 1)
    looks = {window.begins_s + step * _LOOK_UP_EVERY_S for step in steps}
    return sorted(looks | {window.from_s, window.to_s})


def _start(world: World) -> Day:
    lamps = make_lamps(world)
    repairs = RepairService(world)
    feeders = lay_feeders(world, lamps)
    bins = start_bins(world)
    rain = Rain(world)
    parking = Parking(world, rain)
    collection = Collection(world, bins)
    start_lamps(world, lamps, repairs)
    start_feeders(world, feeders)
    rain.start(start_air_monitors(world))
    start_meters(world)
    parking.start()
    collection.start()
    return Day(world.diary.happenings, lamps, feeders, repairs, parking, bins, collection)
