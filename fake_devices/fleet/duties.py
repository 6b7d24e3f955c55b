"""Who does what a load intends: the next device in turn, the one that is named, or nobody."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, Protocol

from fake_devices.device import Device, Moment
from fake_devices.fleet.arrivals import WHOEVER_IS_NEXT, Intended
from fake_devices.fleet.loop_health import LagBook
from fake_devices.fleet.schedule import changes_of
from runtime.clock import Clock

# So many devices are asked whether they can do what anyone could.
_ASKED_MAX: Final = 64


class Hands(Protocol):
    """What can be done to one device, as its load intends it at `at_ns`."""

    def switch_on(self, number: int, at_ns: int) -> None:
        """For the first time."""

    def has_power(self, number: int) -> bool:
        """Whether the device can do anything."""

    def power_off(self, number: int, at_ns: int) -> None:
        """Without a word to anybody."""

    def power_on(self, number: int, at_ns: int) -> None:
        """Boot."""

    def attend(self, number: int) -> None:
        """Carry out what the device wants done."""


class Duties:
    """Hands out the work of a load and writes down how late each piece was.

    Work that nobody can do is counted as missed: a report when no device has an account, an
    arrival when all are there.
    """

    def __init__(self, hands: Hands, devices: Sequence[Device], clock: Clock) -> None:
        self.lags = LagBook()
        self._hands = hands
        self._devices = devices
        self._clock = clock
        self._is_on = bytearray(len(devices))
        self._first_off = 0
        # Power was cut before they were ever switched on; those of them that are to be since.
        self._dark_and_off: set[int] = set()
        self._on_when_power_is_back: set[int] = set()
        # Devices that had a connection, in the order of their first: they report in turn.
        self._reporters = array("I")
        self._is_reporter = bytearray(len(devices))
        self._turn = {"report": 0, "reconnect": 0}

    def connected(self, number: int) -> None:
        """The device has an account and a connection: it can report."""
        if not self._is_reporter[number]:
            self._is_reporter[number] = 1
            self._reporters.append(number)

    def was_on(self, number: int) -> bool:
        """Whether the device was ever switched on."""
        return bool(self._is_on[number])

    def issue(self, intended: Intended, at_ns: int) -> None:
        """Have one thing done that is due now."""
        number, kind = intended.number, intended.kind
        if number == WHOEVER_IS_NEXT:
            number = self._next_off() if kind == "switch_on" else self._next_in_turn(kind)
        lag_ns = self._clock.now_ns() - at_ns
        if number >= 0 and self._do(intended, number, at_ns):
            self.lags.add(kind, lag_ns)
        else:
            self.lags.miss(kind)

    # ---- inside ----

    def _do(self, intended: Intended, number: int, at_ns: int) -> bool:
        match intended.kind:
            case "switch_on":
                return self._switch_on(number, at_ns)
            case "power_off":
                return self._power_off(number, at_ns)
            case "power_on":
                return self._power_on(number, at_ns)
            case "reconnect":
                return self._power_off(number, at_ns) and self._power_on(number, at_ns)
            case "incident_begins":
                self._devices[number].begin_incident(str(intended.value), self._moment())
            case "incident_ends":
                self._devices[number].end_incident(str(intended.value), self._moment())
            case "set" | "report":
                return self._set_or_report(intended, number, at_ns)
        return True

    def _set_or_report(self, intended: Intended, number: int, at_ns: int) -> bool:
        device, moment, is_done = self._devices[number], self._moment(), True
        if intended.path is not None and intended.value is not None:
            device.set_values(changes_of(device, intended.path, intended.value), moment)
        if intended.kind == "report":
            is_done = self._hands.has_power(number) and device.report(at_ns, moment)
        self._hands.attend(number)
        return is_done

    def _switch_on(self, number: int, at_ns: int) -> bool:
        if self._is_on[number]:
            return False
        if number in self._dark_and_off:
            self._on_when_power_is_back.add(number)
            return True
        self._is_on[number] = 1
        self._hands.switch_on(number, at_ns)
        return True

    def _power_off(self, number: int, at_ns: int) -> bool:
        if not self._is_on[number]:
            self._dark_and_off.add(number)
        elif self._hands.has_power(number):
            self._hands.power_off(number, at_ns)
        return True

    def _power_on(self, number: int, at_ns: int) -> bool:
        self._dark_and_off.discard(number)
        if number in self._on_when_power_is_back:
            self._on_when_power_is_back.remove(number)
            return self._switch_on(number, at_ns)
        if not self._hands.has_power(number):
            self._hands.power_on(number, at_ns)
        return True

    def _next_off(self) -> int:
        """The first device that was never switched on, in order; -1 when all were."""
        while self._first_off >= 0:
            self._first_off = self._is_on.find(0, self._first_off)
            if self._first_off not in self._on_when_power_is_back:
                break
            self._first_off += 1
        return self._first_off

    def _next_in_turn(self, kind: str) -> int:
        """The next device with an account that has power; -1 when none is found soon."""
        reporters = self._reporters
        for _ in range(min(_ASKED_MAX, len(reporters))):
            number = reporters[self._turn[kind] % len(reporters)]
            self._turn[kind] += 1
            if self._hands.has_power(number):
                return number
        return -1

    def _moment(self) -> Moment:
        return Moment(self._clock.now_ns(), self._clock.wall_us())
