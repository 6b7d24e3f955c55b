"""Waste bins fill bag by bag, and tell when they are noticeably fuller, or full.

A bin is a container: what does not fit is left beside it, which is an incident until the
collection comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import simpy

from fake_devices.behaviours.rhythm import Profile
from fake_devices.devices.waste_bin import FILLING_PERCENT, INCIDENT
from harness.city_day.city import CityDevice
from harness.city_day.world import Process, World

_HOUR_S = 3_600.0
_BAGS_PER_HOUR: Profile = (
    *(0.16, 0.12, 0.08, 0.08, 0.12, 0.32, 0.80, 1.30, 1.45, 1.35, 1.35, 1.70),
    *(2.10, 2.00, 1.70, 1.50, 1.50, 1.70, 1.85, 1.70, 1.30, 0.90, 0.55, 0.30),
)
_BAG_LITRES = (0.6, 4.5)
_VOLUME_LITRES = 120.0
# Bins have seen most of a day's bags when the model begins.
_FIRST_RATIO = (0.05, 0.65)
_REPORTED_STEP_PERCENT = 10.0
_FULL_PERCENT = 85.0


@dataclass(slots=True)
class Bin:
    """One bin: its waste in litres, and the filling that it reported last."""

    device: CityDevice
    waste: simpy.Container
    reported_percent: float

    @property
    def percent(self) -> float:
        """How full it is."""
        return round(100.0 * self.waste.level / self.waste.capacity, 2)


def start_bins(world: World) -> list[Bin]:
    """Begin the process of each bin; gives the bins."""
    bins = []
    for device in world.city.of_model("waste_bin"):
        volume = _litres(device)
        first = volume * world.chance(device.endpoint, "first waste").between(*_FIRST_RATIO)
        made = Bin(device, simpy.Container(world.env, capacity=volume, init=first), 0.0)
        made.reported_percent = made.percent
        world.diary.set(device, FILLING_PERCENT, made.percent)
        world.env.process(_fill(world, made))
        bins.append(made)
    return bins


def empty(world: World, full: Bin) -> Process:
    """Take everything out of a bin; it says so, and nothing lies beside it any more."""
    if full.waste.level > 0.0:
        yield full.waste.get(full.waste.level)
    world.diary.incident_ends(full.device, INCIDENT)
    _report(world, full)


def _litres(device: CityDevice) -> float:
    try:
        litres = float(device.attributes.get("volume_l", ""))
    except ValueError:
        return _VOLUME_LITRES
    return litres if 10.0 <= litres <= 10_000.0 else _VOLUME_LITRES


def _fill(world: World, its: Bin) -> Process:
    chance = world.chance(its.device.endpoint, "bags")
    most = max(_BAGS_PER_HOUR)
    while True:
        yield world.env.timeout(chance.pause_s(_HOUR_S / most))
        if not chance.happens(world.hourly(_BAGS_PER_HOUR) / most):
            continue
        litres = chance.between(*_BAG_LITRES)
        if its.waste.level + litres > its.waste.capacity:
            world.diary.incident_begins(its.device, INCIDENT)
            _report_when_moved(world, its)
            continue
        yield its.waste.put(litres)
        _report_when_moved(world, its)


def _report_when_moved(world: World, its: Bin) -> None:
    has_moved = its.percent >= its.reported_percent + _REPORTED_STEP_PERCENT
    became_full = its.reported_percent < _FULL_PERCENT <= its.percent
    if has_moved or became_full:
        _report(world, its)


def _report(world: World, its: Bin) -> None:
    its.reported_percent = its.percent
    world.diary.report(its.device, FILLING_PERCENT, its.percent)
