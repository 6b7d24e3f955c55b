"""One IPSO sensor object (3301, 3303, 3304, 3325, 3330): its value and the extremes it has seen."""

from __future__ import annotations

from typing import NamedTuple

from fake_devices.devices.model import Changes, Values, number
from lwm2m.objects import ObjectPath


class Sensor(NamedTuple):
    """The resources of one sensor instance, and what it is for."""

    value: ObjectPath
    lowest: ObjectPath
    highest: ObjectPath
    fixed: tuple[tuple[ObjectPath, str | float], ...]


def sensor(object_id: int, *, units: str, application: str, low: float, high: float) -> Sensor:
    """Instance 0 of a sensor object that measures from `low` to `high` in `units`."""
    return Sensor(
        ObjectPath(object_id, 0, 5700),
        ObjectPath(object_id, 0, 5601),
        ObjectPath(object_id, 0, 5602),
        (
            (ObjectPath(object_id, 0, 5603), low),
            (ObjectPath(object_id, 0, 5604), high),
            (ObjectPath(object_id, 0, 5701), units),
            (ObjectPath(object_id, 0, 5750), application),
        ),
    )


def measured(sensor: Sensor, values: Values, value: float) -> Changes:
    """The sensor's resources after it measured `value`; extremes begin with the first one."""
    if sensor.lowest not in values:
        return {sensor.value: value, sensor.lowest: value, sensor.highest: value}
    return {
        sensor.value: value,
        sensor.lowest: min(value, number(values, sensor.lowest)),
        sensor.highest: max(value, number(values, sensor.highest)),
    }
