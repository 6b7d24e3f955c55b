"""Water meters: they look on their own grid, and report when water ran, which it does most in the
morning. How much is what the simulated meters themselves measure."""

from __future__ import annotations

from fake_devices.behaviours.noise import stream_key
from fake_devices.devices.water_meter import drawn_m3
from harness.city_day.city import CityDevice
from harness.city_day.world import Process, World

# A report is worth its battery from this volume on.
_REPORTED_M3 = 0.02
# Without water running it is one look in so many that is reported, to say that the meter lives.
_SILENT_LOOKS = 24


def start_meters(world: World) -> None:
    """Begin the process of each meter."""
    for device in world.city.of_model("water_meter"):
        world.env.process(_look(world, device))


def _look(world: World, device: CityDevice) -> Process:
    every_s = world.life.meter_report_every_s
    key = stream_key(world.city.seed, device.endpoint)
    for turn, moment in world.grid(device, every_s):
        yield moment
        ran_m3 = drawn_m3(device.identity, key, world.now - every_s, world.now, ())
        if ran_m3 >= _REPORTED_M3 or (turn + key) % _SILENT_LOOKS == 0:
            world.diary.report(device)
