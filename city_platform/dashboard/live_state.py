"""What is known of every device just now, and what of it changed since a revision. Pure.

A reader keeps nothing but the revision that it has seen: however slow it is, it costs no memory,
and what it gets next is each device's latest state, not every step on the way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal, NamedTuple, get_args

import msgspec

Presence = Literal["unknown", "offline", "online"]
AlarmLevel = Literal["none", "warning", "critical"]
Scalar = float | int | bool | str

PRESENCES: Final[tuple[Presence, ...]] = get_args(Presence)
ALARM_LEVELS: Final[tuple[AlarmLevel, ...]] = get_args(AlarmLevel)
TEXT_LENGTH_MAX: Final = 1_024


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One device's change as ingestion tells it. What is None has not changed."""

    endpoint: str
    tenant: str = ""
    at: int | None = None
    values: dict[str, Scalar] = {}
    presence: Presence | None = None
    alarm: AlarmLevel | None = None


class LatestValue(NamedTuple):
    """A path's latest value, when it was told, and at which revision."""

    value: Scalar
    at_us: int | None
    revision: int


class DeviceState:
    """What is known of one device."""

    __slots__ = (
        "alarm", "alarm_revision", "at_us", "presence", "presence_revision", "revision",
        "tenant", "values",
    )  # fmt: skip

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.at_us: int | None = None
        self.presence: Presence = "unknown"
        self.presence_revision = 0
        self.alarm: AlarmLevel = "none"
        self.alarm_revision = 0
        self.values: dict[str, LatestValue] = {}
        self.revision = 0


class Sight(NamedTuple):
    """What somebody may see: devices of `tenants`, telemetry of `telemetry_of`; None: of all."""

    tenants: Collection[str] | None
    telemetry_of: Collection[str] | None

    def sees(self, tenant: str) -> bool:
        """Whether devices of the tenant are theirs to see."""
        return self.tenants is None or tenant in self.tenants

    def sees_telemetry(self, tenant: str) -> bool:
        """Whether values and alarms of these devices are, too."""
        return self.telemetry_of is None or tenant in self.telemetry_of


class LiveState:
    """All devices by their last change. At most `devices_max`: the longest unheard one is dropped,
    and of a device's paths those that came first stay."""

    def __init__(self, epoch: str, devices_max: int, paths_max: int) -> None:
        self.epoch = epoch
        self.revision = 0
        self._devices_max = devices_max
        self._paths_max = paths_max
        self._devices: OrderedDict[str, DeviceState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._devices)

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def get(self, endpoint: str) -> DeviceState | None:
        """What is known of a device."""
        return self._devices.get(endpoint)

    def apply(self, change: Change) -> None:
        """Take a change in."""
        self.revision += 1
        device = self._devices.get(change.endpoint)
        if device is None:
            device = self._devices[change.endpoint] = DeviceState(change.tenant)
            if len(self._devices) > self._devices_max:
                self._devices.popitem(last=False)
        self._devices.move_to_end(change.endpoint)
        device.revision = self.revision
        if change.tenant:
            device.tenant = change.tenant
        if change.at is not None and (device.at_us is None or change.at > device.at_us):
            device.at_us = change.at
        if change.presence is not None and change.presence != device.presence:
            device.presence, device.presence_revision = change.presence, self.revision
        if change.alarm is not None and change.alarm != device.alarm:
            device.alarm, device.alarm_revision = change.alarm, self.revision
        self._apply_values(device, change)

    def _apply_values(self, device: DeviceState, change: Change) -> None:
        for name, value in change.values.items():
            # As in packs of readings: pages know one form of a path.
            path = name.removeprefix("/")
            known = device.values.get(path)
            if known is None and len(device.values) >= self._paths_max:
                continue
            if isinstance(value, str):
                value = value[:TEXT_LENGTH_MAX]
            # Readings that waited in a device come late: they do not replace newer ones.
            if (
                known is None
                or known.at_us is None
                or change.at is None
                or change.at >= known.at_us
            ):
                device.values[path] = LatestValue(value, change.at, self.revision)

    def changed_since(self, revision: int, devices_max: int) -> list[str] | None:
        """The devices that changed after `revision`, oldest change first; None: too many."""
        found: list[str] = []
        for endpoint in reversed(self._devices):
            if self._devices[endpoint].revision <= revision:
                break
            if len(found) == devices_max:
                return None
            found.append(endpoint)
        found.reverse()
        return found

    def told(self, endpoint: str, after: int, sight: Sight) -> Mapping[str, object] | None:
        """What a reader is told of a device that changed after a revision; None: nothing."""
        device = self._devices[endpoint]
        if not sight.sees(device.tenant):
            return None
        found: dict[str, object] = {"endpoint": endpoint, "at_us": device.at_us}
        if device.presence_revision > after:
            found["presence"] = device.presence
        if sight.sees_telemetry(device.tenant):
            if device.alarm_revision > after:
                found["alarm"] = device.alarm
            changed = {
                path: latest.value
                for path, latest in device.values.items()
                if latest.revision > after
            }
            if changed:
                found["values"] = changed
        return found
