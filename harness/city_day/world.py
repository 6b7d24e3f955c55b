"""What every process of a city's day works with."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import simpy

from fake_devices.behaviours.rhythm import Profile, at_hour
from harness.city_day.chance import Chance
from harness.city_day.city import City, CityDevice
from harness.city_day.diary import Diary
from harness.city_day.life import CityLife
from harness.city_day.sky import Sky
from harness.city_day.window import Window

Process: TypeAlias = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class World:
    """The simulation's clock and queue, the city, the window, the sky, and the diary."""

    env: simpy.Environment
    city: City
    window: Window
    sky: Sky
    diary: Diary

    @property
    def life(self) -> CityLife:
        """How the city lives."""
        return self.city.life

    @property
    def now(self) -> float:
        """City time, Unix seconds."""
        return float(self.env.now)

    def chance(self, *names: str) -> Chance:
        """Chance of one purpose."""
        return Chance(self.city.seed, *names)

    def until(self, t_s: float) -> simpy.Timeout:
        """An event at city time `t_s`, or at once when that is past."""
        return self.env.timeout(max(0.0, t_s - self.now))

    def hourly(self, profile: Profile) -> float:
        """The profile's value at this hour of the city's clock."""
        return at_hour(profile, self.window.hour(self.now))

    def grid(self, device: CityDevice, every_s: float) -> Iterator[tuple[int, simpy.Timeout]]:
        """Moments of a device's own grid from the window's begin on: their numbers, and events to
        wait for. Grid and numbers are fixed in time, whenever the window begins."""
        phase_s = every_s * self.chance(device.endpoint, "phase").share()
        begins_s = max(self.now, self.window.from_s)
        turn = int((begins_s - phase_s) // every_s) + 1
        while True:
            yield turn, self.until(phase_s + turn * every_s)
            turn += 1
