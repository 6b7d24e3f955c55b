"""The feeders that the lamps hang on: now and then one is cut, and its lamps return together."""

from __future__ import annotations

from typing import NamedTuple

from fake_devices.behaviours.rhythm import DAY_S
from harness.city_day.lamps import Lamp, boot
from harness.city_day.world import Process, World

_CUT_LEAST_S = 120.0


class Feeder(NamedTuple):
    """A cable with its lamps; its name is that of its first street."""

    name: str
    lamps: list[Lamp]


def lay_feeders(world: World, lamps: list[Lamp]) -> list[Feeder]:
    """Whole streets, one after the other, until a feeder has its lamps."""
    by_street: dict[str, list[Lamp]] = {}
    for lamp in lamps:
        by_street.setdefault(lamp.device.street, []).append(lamp)
    feeders: list[Feeder] = []
    for street, its_lamps in sorted(by_street.items()):
        if not feeders or len(feeders[-1].lamps) >= world.life.feeder_lamps:
            feeders.append(Feeder(street, []))
        feeders[-1].lamps.extend(its_lamps)
    return feeders


def start_feeders(world: World, feeders: list[Feeder]) -> None:
    """Begin the process of each feeder."""
    if world.life.power_cuts_per_feeder_day > 0.0:
        for feeder in feeders:
            world.env.process(_cut_now_and_then(world, feeder))


def _cut_now_and_then(world: World, feeder: Feeder) -> Process:
    chance = world.chance("feeder", feeder.name)
    mean_s = DAY_S / world.life.power_cuts_per_feeder_day
    while True:
        yield world.env.timeout(chance.pause_s(mean_s))
        lasts_s = _CUT_LEAST_S + chance.pause_s(world.life.power_cut_mean_s)
        yield from cut(world, feeder, lasts_s)


def cut(world: World, feeder: Feeder, lasts_s: float) -> Process:
    """All lamps are dark at once; after `lasts_s` each is back within the window of return."""
    lamps = feeder.lamps
    world.diary.note("power", f"{feeder.name} cut, {len(lamps)} lamps, {lasts_s / 60:.0f} min")
    for lamp in lamps:
        world.diary.power_off(lamp.device)
    yield world.env.timeout(lasts_s)
    restored_s = world.now
    within_s = world.life.power_return_within_s
    returns = sorted(
        (within_s * world.chance(lamp.device.endpoint, "return", f"{restored_s:.3f}").share(), n)
        for n, lamp in enumerate(lamps)
    )
    for delay_s, number in returns:
        yield world.until(restored_s + delay_s)
        world.diary.power_on(lamps[number].device)
        world.env.process(boot(world, lamps[number]))
