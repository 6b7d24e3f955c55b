"""Air monitors report by the clock, each on its own grid."""

from __future__ import annotations

from harness.city_day.city import CityDevice
from harness.city_day.world import Process, World


def start_air_monitors(world: World) -> list[CityDevice]:
    """Begin the process of each monitor; gives the monitors."""
    monitors = world.city.of_model("air_monitor")
    for device in monitors:
        world.env.process(_report(world, device))
    return monitors


def _report(world: World, device: CityDevice) -> Process:
    for _, moment in world.grid(device, world.life.air_report_every_s):
        yield moment
        world.diary.report(device)
