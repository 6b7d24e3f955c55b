"""What happens in the city, written down as it happens: the events of a window, in order of time.

Keeps who is without power and which incidents go on, so that every schedule is whole: what had
begun before the window begins with it, and what would end after it ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import simpy

from contracts.schedule import EventKind, EventValue, ScheduledEvent
from harness.city_day.city import CityDevice
from harness.city_day.window import Window
from lwm2m.objects import ObjectPath

Take = Callable[[CityDevice, ScheduledEvent], None]


class Happening(NamedTuple):
    """What a reader of the schedule wants to know beside its events. `t_s` is city time."""

    t_s: float
    kind: str
    text: str


class Diary:
    """Hands events of the window to `take` and keeps `happenings`; what lies outside is dropped."""

    def __init__(self, env: simpy.Environment, window: Window, take: Take) -> None:
        self._env = env
        self._window = window
        self._take = take
        self._is_open = False
        # Devices without power, with how many reasons they have for that.
        self._dark: dict[str, tuple[CityDevice, int]] = {}
        self._incidents: dict[tuple[str, str], CityDevice] = {}
        self._state: dict[tuple[str, str], tuple[CityDevice, EventValue]] = {}
        self.happenings: list[Happening] = []

    # ---- the window ----

    def open(self) -> None:
        """The window begins: values that the city has made, then what is off and goes on."""
        self._is_open = True
        for (_, path), (device, value) in self._state.items():
            self._write(device, "set", path, value)
        self._state.clear()
        for device, _ in self._dark.values():
            self._write(device, "power_off")
        for (_, kind), device in self._incidents.items():
            self._write(device, "incident_begins", value=kind)

    def close(self) -> None:
        """The window ends: all power is back, and all incidents are over."""
        for (_, kind), device in self._incidents.items():
            self._write(device, "incident_ends", value=kind)
        for device, _ in self._dark.values():
            self._write(device, "power_on")
        self._is_open = False

    # ---- what happens ----

    def set(self, device: CityDevice, path: ObjectPath, value: EventValue) -> None:
        """A resource has another value, and nobody is told."""
        self._keep(device, str(path), value)
        self._write(device, "set", str(path), value)

    def report(
        self, device: CityDevice, path: ObjectPath | None = None, value: EventValue = None
    ) -> None:
        """A device reports, because of what has changed or because it is time. Without power it
        cannot: what has changed is then only set."""
        if path is None:
            if self.has_power(device):
                self._write(device, "report")
            return
        text = str(path)
        self._keep(device, text, value)
        self._write(device, "report" if self.has_power(device) else "set", text, value)

    def power_off(self, device: CityDevice) -> None:
        """A device loses its power, or has one more reason to be without."""
        _, reasons = self._dark.get(device.endpoint, (device, 0))
        self._dark[device.endpoint] = (device, reasons + 1)
        if reasons == 0:
            self._write(device, "power_off")

    def power_on(self, device: CityDevice) -> None:
        """One reason is gone; with the last the device is back. Needs an earlier `power_off`."""
        _, reasons = self._dark[device.endpoint]
        if reasons > 1:
            self._dark[device.endpoint] = (device, reasons - 1)
            return
        del self._dark[device.endpoint]
        self._write(device, "power_on")

    def has_power(self, device: CityDevice) -> bool:
        """Whether a device can do anything."""
        return device.endpoint not in self._dark

    def incident_begins(self, device: CityDevice, kind: str) -> None:
        """An incident that the device knows by this name."""
        if (device.endpoint, kind) not in self._incidents:
            self._incidents[device.endpoint, kind] = device
            self._write(device, "incident_begins", value=kind)

    def incident_ends(self, device: CityDevice, kind: str) -> None:
        """It is over; nothing when there was none."""
        if self._incidents.pop((device.endpoint, kind), None) is not None:
            self._write(device, "incident_ends", value=kind)

    def note(self, kind: str, text: str) -> None:
        """Something for people to read."""
        if self._is_open:
            self.happenings.append(Happening(self._env.now, kind, text))

    def _keep(self, device: CityDevice, path: str, value: EventValue) -> None:
        if not self._is_open:
            self._state[device.endpoint, path] = (device, value)

    def _write(
        self,
        device: CityDevice,
        kind: EventKind,
        path: str | None = None,
        value: EventValue = None,
    ) -> None:
        if self._is_open:
            at_s = self._window.at_s(self._env.now)
            self._take(device, ScheduledEvent(at_s, device.endpoint, kind, path, value))
