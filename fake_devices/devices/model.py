"""What a simulated device type is: its objects, what it reports, its alarms, and how it senses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from contracts.telemetry import Severity
from lwm2m.objects import ObjectPath, Value

Values: TypeAlias = Mapping[ObjectPath, Value]
Changes: TypeAlias = dict[ObjectPath, Value]
Memory: TypeAlias = Any
"""What a model remembers between two readings: a frozen struct that only the model looks into."""


class DeviceIdentity(msgspec.Struct, frozen=True, gc=False):
    """Who and where a device is. `seed` is the run's: devices of one seed share the weather."""

    endpoint: str
    serial: str
    model: str
    latitude: float
    longitude: float
    seed: int


class Incident(msgspec.Struct, frozen=True, gc=False):
    """Something that happens to a device from `begins_s` until `ends_s`, city time in Unix seconds.

    `kind`: lamp_failure, overstay, leak, smog or overfilled; models ignore kinds of others.
    """

    kind: str
    begins_s: float
    ends_s: float

    def lasts_at(self, t_s: float) -> bool:
        """Whether it goes on at `t_s`."""
        return self.begins_s <= t_s < self.ends_s


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """When an alarm stands, judged by the device's values alone.

    `path` is the alarm's source, `value_path` what crossed, `threshold` what it crossed: a
    resource, or a number where the object has none.
    """

    alarm: str
    path: ObjectPath
    severity: Severity
    is_raised: Callable[[Values], bool]
    value_path: ObjectPath | None = None
    threshold: ObjectPath | float | None = None

    def value(self, values: Values) -> float | None:
        """The number that crossed, None when the alarm has none."""
        return None if self.value_path is None else _number(values.get(self.value_path))

    def threshold_value(self, values: Values) -> float | None:
        """The number that was crossed, None when the alarm has none."""
        if isinstance(self.threshold, ObjectPath):
            return _number(values.get(self.threshold))
        return self.threshold


def flag_alarm(
    alarm: str,
    path: ObjectPath,
    severity: Severity,
    value_path: ObjectPath | None = None,
    threshold: ObjectPath | float | None = None,
) -> AlarmRule:
    """An alarm that stands while the boolean resource at `path` is true."""
    return AlarmRule(
        alarm, path, severity, lambda values: values.get(path) is True, value_path, threshold
    )


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One device type.

    `objects`: its object instances. `reported`: the resources of each state pack.
    `demonstration_incident`: the kind of `Incident` that raises its first alarm rule.
    `new_memory(identity, t_s)` and `initial(identity, t_s)` are what it is born with.
    `sense(identity, t_s, values, memory, incidents)` gives the resources whose values changed and
    the memory for the next time; it is pure, takes whatever was written into `values` meanwhile
    as commands, and a `t_s` that is not later changes no integral.
    """

    name: str
    objects: tuple[ObjectPath, ...]
    reported: tuple[ObjectPath, ...]
    alarm_rules: tuple[AlarmRule, ...]
    demonstration_incident: str
    new_memory: Callable[[DeviceIdentity, float], Memory]
    initial: Callable[[DeviceIdentity, float], Changes]
    sense: Callable[
        [DeviceIdentity, float, Values, Memory, Sequence[Incident]], tuple[Changes, Memory]
    ]


def changed(before: Values, after: Changes) -> Changes:
    """Those of `after` that differ from `before`."""
    get = before.get
    return {path: value for path, value in after.items() if get(path) != value}


def lasting(incidents: Sequence[Incident], kind: str, t_s: float) -> bool:
    """Whether an incident of this kind goes on at `t_s`."""
    return any(incident.kind == kind and incident.lasts_at(t_s) for incident in incidents)


def last_end_s(incidents: Sequence[Incident], kind: str, t_s: float) -> float:
    """When the latest incident of this kind that is over at `t_s` ended, minus infinity if none."""
    over = (i.ends_s for i in incidents if i.kind == kind and i.ends_s <= t_s)
    return max(over, default=float("-inf"))


def number(values: Values, path: ObjectPath) -> float:
    """The numeric value at `path`. Raises `TypeError` when a model keeps none there."""
    value = values.get(path)
    if type(value) is float:
        return value
    found = _number(value)
    if found is None:
        raise TypeError(f"{path} holds no number")
    return found


def _number(value: Value | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None
