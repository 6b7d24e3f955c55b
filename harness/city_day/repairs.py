"""The crews that repair lamps: few, on duty by day, each at one lamp at a time."""

from __future__ import annotations

import simpy

from harness.city_day.city import CityDevice
from harness.city_day.world import Process, World

# A crew's way to the lamp and its work there, seconds.
_WAY_S = (300.0, 1_500.0)
_WORK_S = (600.0, 1_500.0)
# A lamp is isolated at its pole's fuse for the second half of the work.
_ISOLATED_RATIO = 0.5


class RepairService:
    """Takes failed lamps in the order in which they failed. `repaired` counts, by endpoint."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.crews = simpy.Resource(world.env, capacity=world.life.repair_crews)
        self.repaired: dict[str, int] = {}

    def repair(self, device: CityDevice) -> Process:
        """Goes on until this lamp is repaired and has its power again."""
        world = self._world
        chance = world.chance(device.endpoint, "repair")
        with self.crews.request() as crew:
            yield crew
            yield from self._on_duty()
            yield world.env.timeout(chance.between(*_WAY_S))
            work_s = chance.between(*_WORK_S)
            yield world.env.timeout(work_s * (1.0 - _ISOLATED_RATIO))
            world.diary.power_off(device)
            yield world.env.timeout(work_s * _ISOLATED_RATIO)
            world.diary.power_on(device)
            self.repaired[device.endpoint] = self.repaired.get(device.endpoint, 0) + 1
        world.diary.note("repair", f"{device.endpoint} repaired")

    def _on_duty(self) -> Process:
        """A crew does not set out at night."""
        world, life = self._world, self._world.life
        hour = world.window.hour(world.now)
        begins, ends = life.crews_begin_hour, life.crews_end_hour
        is_day = begins <= hour < ends if begins < ends else not ends <= hour < begins
        if not is_day:
            yield world.until(world.window.next_hour_s(begins, world.now))
