"""Street lamps: each follows its own photocell at its own place, and tells of it.

At each switching the lamp reports; between, it reports on its own grid, more often while lit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fake_devices.behaviours.noise import mix, stream_key
from fake_devices.devices.street_lamp import (
    INCIDENT,
    PHOTOCELL,
    PHOTOCELL_OFF_LX,
    PHOTOCELL_ON_LX,
)
from harness.city_day.city import CityDevice
from harness.city_day.repairs import RepairService
from harness.city_day.sky import OFF_TO_ON_RATIO, ON_LX_MAX, ON_LX_MIN, Photocell
from harness.city_day.world import Process, World

# Of the lamps that fail in a night, those that do when the cold driver starts.
_FAILS_AT_START_RATIO = 0.6
_FAILS_WITHIN_S = 6.0 * 3600.0
_BOOTS_WITHIN_S = 20.0


@dataclass(slots=True)
class Lamp:
    """One lamp as the day finds it."""

    device: CityDevice
    photocell: Photocell
    is_lit: bool
    has_failed: bool = False
    failures: int = field(default=0)


def make_lamps(world: World) -> list[Lamp]:
    """All lamps of the city, each lit or not as its photocell says now."""
    lamps = []
    for device in world.city.of_model("street_lamp"):
        on_lx = round(world.chance(device.endpoint, "photocell").between(ON_LX_MIN, ON_LX_MAX), 1)
        cell = Photocell(
            device.identity.latitude,
            device.identity.longitude,
            on_lx,
            round(on_lx * OFF_TO_ON_RATIO, 1),
        )
        lamps.append(Lamp(device, cell, world.sky.says_night(cell, world.now)))
    return lamps


def start_lamps(world: World, lamps: list[Lamp], repairs: RepairService) -> None:
    """Begin the processes of all lamps."""
    for lamp in lamps:
        world.diary.set(lamp.device, PHOTOCELL_ON_LX, lamp.photocell.on_lx)
        world.diary.set(lamp.device, PHOTOCELL_OFF_LX, lamp.photocell.off_lx)
        world.diary.set(lamp.device, PHOTOCELL, lamp.is_lit)
        world.env.process(_follow_photocell(world, lamp, repairs))
        world.env.process(_report_now_and_then(world, lamp))


def tell(world: World, lamp: Lamp) -> None:
    """The lamp reports what its photocell says."""
    world.diary.report(lamp.device, PHOTOCELL, lamp.is_lit)


def boot(world: World, lamp: Lamp) -> Process:
    """A lamp that has its power back reports when it has booted."""
    yield world.env.timeout(world.chance(lamp.device.endpoint, "boot").between(2, _BOOTS_WITHIN_S))
    tell(world, lamp)


def _follow_photocell(world: World, lamp: Lamp, repairs: RepairService) -> Process:
    chance = world.chance(lamp.device.endpoint, "failure")
    while True:
        changes_s = world.sky.next_change_s(lamp.photocell, world.now, is_night=lamp.is_lit)
        if changes_s is None:
            return
        yield world.until(changes_s)
        lamp.is_lit = not lamp.is_lit
        tell(world, lamp)
        if lamp.is_lit and chance.happens(world.life.lamp_failure_ratio):
            at_start = chance.happens(_FAILS_AT_START_RATIO)
            after_s = 0.0 if at_start else chance.between(60.0, _FAILS_WITHIN_S)
            world.env.process(_fail(world, lamp, after_s, repairs))


def _fail(world: World, lamp: Lamp, after_s: float, repairs: RepairService) -> Process:
    """A lit lamp with power fails, says so, and waits for a crew."""
    yield world.env.timeout(after_s)
    device = lamp.device
    if lamp.has_failed or not lamp.is_lit or not world.diary.has_power(device):
        return
    lamp.has_failed = True
    lamp.failures += 1
    world.diary.incident_begins(device, INCIDENT)
    world.diary.report(device)
    yield from repairs.repair(device)
    lamp.has_failed = False
    world.diary.incident_ends(device, INCIDENT)
    yield from boot(world, lamp)


def _report_now_and_then(world: World, lamp: Lamp) -> Process:
    """On one grid: at each of its moments while lit, at some of them while dark."""
    lit_s = world.life.lamp_lit_report_every_s
    dark_turns = max(1, round(world.life.lamp_dark_report_every_s / lit_s))
    own_turn = mix(stream_key(world.city.seed, lamp.device.endpoint), 0) % dark_turns
    for turn, moment in world.grid(lamp.device, lit_s):
        yield moment
        if lamp.is_lit or turn % dark_turns == own_turn:
            world.diary.report(lamp.device)
