"""What changed of each device, for who draws it: kept while somebody watches, one entry a device.

A reader keeps a cursor and nothing else. However slow it is it costs no memory: it gets each
device's latest values, not every step on the way. A cursor that goes further back than what is kept
is answered from the beginning, with the state of all devices in pages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from city_platform.stores.alarm_states import AlarmLevel
from city_platform.stores.telemetry_records import ReadingRecord, UniformPack, outward_value
from contracts.telemetry import ReadingValue

# Own choices: a device has some dozen resources, and a reader comes more often than a device.
PATHS_MAX: Final = 256
UNREAD_MAX: Final = 4

PresenceShown = Literal["online", "offline"]


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changed of a device: `values` by path, and where they changed presence and alarm.

    `at` is when ingestion stored the newest of it, in Unix microseconds; in a page of the state
    of all devices it is when the device was last heard.
    """

    endpoint: str
    tenant: str
    at: int
    values: dict[str, ReadingValue] = {}
    presence: PresenceShown | None = None
    alarm: AlarmLevel | None = None


# Of one device; what is uniform is also a sequence, but not of readings.
_Readings = UniformPack | Sequence[ReadingRecord]


class _Value(NamedTuple):
    number: int
    time_us: int
    value: ReadingValue


class _Entry:
    """One device; a number says at which change a thing became what it is, 0: not in here."""

    __slots__ = (
        "alarm", "alarm_number", "at_us", "number", "presence", "presence_number", "tenant",
        "unread", "values",
    )  # fmt: skip

    def __init__(self) -> None:
        self.tenant = ""
        self.at_us = self.number = self.presence_number = self.alarm_number = 0
        self.presence: PresenceShown | None = None
        self.alarm: AlarmLevel = "none"
        self.values: dict[str, _Value] = {}
        # Packs that nobody has read yet, each with its number: whoever reads pays for the reading.
        self.unread: list[tuple[int, _Readings]] = []


class Changes:
    """Changes by number. `newest` is the last; those up to `forgotten` are not all there."""

    def __init__(self, devices_max: int) -> None:
        self._devices_max = devices_max
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.newest = self.forgotten = 0

    def forget(self) -> None:
        """Nobody watches: keep nothing."""
        self._entries.clear()
        self.forgotten = self.newest

    def read_pack(self, readings: _Readings, at_us: int) -> None:
        """Readings of one device that were stored. One that is older than its path's newest, as
        after an outage, is no change."""
        first = readings if isinstance(readings, UniformPack) else readings[0]
        entry = self._touch(first.endpoint, first.tenant, at_us)
        entry.unread.append((self.newest, readings))
        if len(entry.unread) > UNREAD_MAX:
            self._read(entry)

    def set_presence(self, endpoint: str, tenant: str, presence: PresenceShown, at_us: int) -> None:
        """A device went online or offline."""
        entry = self._touch(endpoint, tenant, at_us)
        entry.presence, entry.presence_number = presence, self.newest

    def set_alarm(self, endpoint: str, tenant: str, level: AlarmLevel, at_us: int) -> None:
        """The standing alarms of a device changed."""
        entry = self._touch(endpoint, tenant, at_us)
        entry.alarm, entry.alarm_number = level, self.newest

    def values(self, endpoint: str) -> dict[str, ReadingValue]:
        """The values of a device that are kept."""
        entry = self._entries.get(endpoint)
        if entry is None:
            return {}
        self._read(entry)
        return {path: one.value for path, one in entry.values.items()}

    def after(
        self, number: int, tenants: Iterable[str] | None, limit: int
    ) -> tuple[list[DeviceChange], int]:
        """At most so many changes behind a number, oldest first, and the number to go on from."""
        allowed: Mapping[str, None] | None = None if tenants is None else dict.fromkeys(tenants)
        found: list[tuple[str, _Entry]] = []
        for endpoint in reversed(self._entries):
            entry = self._entries[endpoint]
            if entry.number <= number:
                break
            if allowed is None or entry.tenant in allowed:
                found.append((endpoint, entry))
        found.reverse()
        shown = found[:limit]
        for _, entry in shown:
            self._read(entry)
        goes_on = shown[-1][1].number if len(found) > limit else self.newest
        return [_change(endpoint, entry, number) for endpoint, entry in shown], goes_on

    def _touch(self, endpoint: str, tenant: str, at_us: int) -> _Entry:
        self.newest += 1
        entry = self._entries.get(endpoint)
        if entry is None:
            entry = self._entries[endpoint] = _Entry()
            if len(self._entries) > self._devices_max:
                _, gone = self._entries.popitem(last=False)
                self.forgotten = max(self.forgotten, gone.number)
        else:
            self._entries.move_to_end(endpoint)
        entry.tenant, entry.at_us, entry.number = tenant, at_us, self.newest
        return entry

    def _read(self, entry: _Entry) -> None:
        values = entry.values
        for number, unread in entry.unread:
            readings = unread.readings() if isinstance(unread, UniformPack) else unread
            for _, path, time_us, value, kind, _, _, _ in readings:
                known = values.get(path)
                if known is None or time_us >= known.time_us:
                    shown = value if kind == "number" else outward_value(value, kind)
                    values[path] = _Value(number, time_us, shown)
        entry.unread.clear()
        while len(values) > PATHS_MAX:
            self._drop_value(entry)

    def _drop_value(self, entry: _Entry) -> None:
        path = min(entry.values, key=lambda one: entry.values[one].number)
        self.forgotten = max(self.forgotten, entry.values.pop(path).number)


def _change(endpoint: str, entry: _Entry, after: int) -> DeviceChange:
    return DeviceChange(
        endpoint=endpoint,
        tenant=entry.tenant,
        at=entry.at_us,
        values={path: one.value for path, one in entry.values.items() if one.number > after},
        presence=entry.presence if entry.presence_number > after else None,
        alarm=entry.alarm if entry.alarm_number > after else None,
    )
