"""What one fleet process was told to do and when: its profile, its schedule, and who is switched.

Files are read before the run, so that their faults show then.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from pathlib import Path

from fake_devices.fleet.arrivals import (
    Intended,
    arrival_order,
    at_rate,
    of_power_cut,
    of_profile,
)
from fake_devices.fleet.commands import CutPower, Follow, Move, Start, SwitchOff, SwitchOn
from fake_devices.fleet.config import FleetConfig, read_load
from fake_devices.fleet.fleet import Fleet
from fake_devices.fleet.schedule import FleetSchedule
from fake_devices.load_profiles import PowerCut
from runtime.clock import Clock

_log = logging.getLogger(__name__)


class FleetLoad:
    """Tells a fleet what is intended; `endpoints` are its devices' names by number.

    Raises `ConfigError`.
    """

    def __init__(
        self, config: FleetConfig, fleet: Fleet, clock: Clock, endpoints: Sequence[str]
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._clock = clock
        self._devices = len(endpoints)
        self._profile = read_load(Path(config.profile_file)) if config.profile_file else None
        self._schedule: FleetSchedule | None = None
        if config.schedule_file:
            numbers = {endpoint: number for number, endpoint in enumerate(endpoints)}
            self._schedule = FleetSchedule(Path(config.schedule_file), numbers)
        self._has_started = self._is_following = False
        self._cuts = 0
        # By position in the devices file: the device's number, made when first needed, and whether
        # it was told to be switched on.
        self._numbers: array[int] | None = None
        self._was_switched_on = bytearray(self._devices)
        # Positions that were switched off before anybody had switched them on.
        self._never_on: set[int] = set()

    def start(self, command: Start) -> None:
        """Begin. A second call changes nothing."""
        if self._has_started:
            return
        self._has_started = True
        began_ns = command.began_ns or self._clock.now_ns()
        profile, schedule, config = self._profile, self._schedule, self._config
        if profile is None or not profile.registrations:
            first: Sequence[int] = range(self._devices)
            if schedule is not None:
                first = [each for each in first if schedule.is_there_from_the_start(each)]
            self._fleet.follow(at_rate(first, command.rate_per_s), began_ns)
        if profile is not None:
            work = of_profile(profile, self._devices, config.seed, config.share)
            self._fleet.follow(work, began_ns)

    def follow(self, command: Follow) -> None:
        """Follow the schedule. A second call changes nothing, nor one without a schedule."""
        if self._schedule is None or self._is_following:
            _log.warning("there is no schedule to follow, or it is followed already")
            return
        self._is_following = True
        self._fleet.follow_schedule(self._schedule, command.began_ns or self._clock.now_ns())

    def cut_power(self, command: CutPower) -> None:
        """Everyone whom the cut hits goes silent at once, and comes back within its window."""
        self._cuts += 1
        cut = PowerCut(
            outage_s=command.outage_s,
            return_within_s=command.return_within_s,
            ratio=command.ratio,
        )
        seed = f"{self._config.seed}/cut_power/{self._cuts}"
        work = of_power_cut(cut, self._devices, seed, self._config.share)
        self._fleet.follow(work, command.began_ns or self._clock.now_ns())

    def switch_on(self, command: SwitchOn) -> None:
        """Plan the starts of these devices, for the first time or again."""
        gap_ns = command.over_s * 1e9 / max(1, len(command.positions))
        work: list[Intended] = []
        for place, position in enumerate(command.positions):
            number, at_ns = self._number_of(position), round(place * gap_ns)
            was_on = self._was_on(position)
            if was_on or position in self._never_on:
                self._never_on.discard(position)
                work.append(Intended(at_ns, "power_on", number))
            if not was_on:
                self._was_switched_on[position] = 1
                work.append(Intended(at_ns, "switch_on", number))
        self._fleet.follow(iter(work), self._clock.now_ns())

    def switch_off(self, command: SwitchOff) -> None:
        """Cut the power of these devices until they are switched on again."""
        self._never_on.update(each for each in command.positions if not self._was_on(each))
        work = [Intended(0, "power_off", self._number_of(each)) for each in command.positions]
        self._fleet.follow(iter(work), self._clock.now_ns())

    def move(self, command: Move) -> None:
        """Give those of these devices that are on another server."""
        for position in command.positions:
            number = self._number_of(position)
            if self._was_on(position) and self._fleet.has_power(number):
                self._fleet.move(number, command.server)

    def _was_on(self, position: int) -> bool:
        # The fleet's own start may have been before.
        return bool(self._was_switched_on[position]) or self._fleet.was_on(
            self._number_of(position)
        )

    def _number_of(self, position: int) -> int:
        if self._numbers is None:
            numbers = array("I", bytes(4 * self._devices))
            order = arrival_order(range(self._devices), self._config.seed)
            for number, place in enumerate(order):
                numbers[place] = number
            self._numbers = numbers
        return self._numbers[position]
