"""A fleet's part of a schedule file: read once before the run, to know that it can be followed, and
again, as a stream, while it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from contracts.errors import ContractError
from contracts.schedule import ScheduleHeader, ScheduleReader
from fake_devices.device import Device
from fake_devices.devices import Changes
from fake_devices.fleet.arrivals import Intended
from lwm2m.objects import ObjectPath
from runtime.component import ConfigError


class FleetSchedule:
    """What is to happen to the devices in `numbers` (by endpoint name); others are another
    fleet's. Raises `ConfigError` when the file cannot be read or breaks its contract."""

    def __init__(self, path: Path, numbers: Mapping[str, int]) -> None:
        self._path = path
        self._numbers = numbers
        self._switched_on: set[int] = set()
        self.events = 0
        try:
            with path.open("rb") as lines:
                reader = ScheduleReader(lines, str(path))
                self.header: ScheduleHeader = reader.header
                for event in reader:
                    number = numbers.get(event.endpoint)
                    if number is None:
                        continue
                    self.events += 1
                    if event.kind == "switch_on":
                        self._switched_on.add(number)
        except OSError as error:
            raise ConfigError(f"cannot read the schedule {path}: {error.strerror}") from error
        except ContractError as error:
            raise ConfigError(str(error)) from None

    @property
    def duration_s(self) -> float:
        """Seconds that it takes to follow."""
        return self.header.duration_s

    def is_there_from_the_start(self, number: int) -> bool:
        """Whether nothing in it switches this device on."""
        return number not in self._switched_on

    def intended(self) -> Iterator[Intended]:
        """Its events, in order of time."""
        numbers = self._numbers
        with self._path.open("rb") as lines:
            for event in ScheduleReader(lines, str(self._path)):
                number = numbers.get(event.endpoint)
                if number is not None:
                    at_ns = round(event.at_s * 1e9)
                    yield Intended(at_ns, event.kind, number, event.path, event.value)


def changes_of(device: Device, path: str, value: float | str | bool) -> Changes:
    """What a schedule's event sets: in JSON a whole number may be either kind of number."""
    found = ObjectPath.parse(path)
    if isinstance(value, float) and type(device.tree.get(found)) is int:
        return {found: round(value)}
    return {found: value}
