"""A waste bin with a sensor in its lid: it fills bag by bag and is emptied by the collection."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fake_devices.behaviours.noise import between, mix, stream_key, uniform
from fake_devices.behaviours.occasions import Pattern, overlapping
from fake_devices.behaviours.rhythm import DAY_S, local_day
from fake_devices.devices.basics import BASIC_OBJECTS, basic_values
from fake_devices.devices.model import (
    Changes,
    DeviceIdentity,
    DeviceModel,
    Incident,
    Values,
    changed,
    flag_alarm,
    last_end_s,
    lasting,
    number,
)
from fake_devices.devices.sensor import measured, sensor
from lwm2m.objects import ObjectPath

NAME = "waste_bin"
INCIDENT = "overfilled"

HEIGHT_CM = ObjectPath(3435, 0, 1)
FILLING_PERCENT = ObjectPath(3435, 0, 2)
LEVEL_CM = ObjectPath(3435, 0, 3)
HIGH_THRESHOLD = ObjectPath(3435, 0, 4)
IS_FULL = ObjectPath(3435, 0, 5)
LOW_THRESHOLD = ObjectPath(3435, 0, 6)
IS_EMPTY = ObjectPath(3435, 0, 7)
COLLECTIONS = ObjectPath(3435, 0, 19)
DISTANCE = sensor(3330, units="cm", application="Lid to waste", low=0.0, high=400.0)

_BAGS = Pattern(
    slot_s=900.0,
    gap_s=0.0,
    shortest_s=1.0,
    longest_s=2.0,
    likelihood=(
        *(0.04, 0.03, 0.02, 0.02, 0.03, 0.08, 0.20, 0.32, 0.36, 0.34, 0.34, 0.42),
        *(0.52, 0.50, 0.42, 0.38, 0.38, 0.42, 0.46, 0.42, 0.32, 0.22, 0.14, 0.08),
    ),
)
_BAG_MIN_PERCENT, _BAG_MAX_PERCENT = 0.8, 5.0
# Heaped up: what the sensor sees while somebody leaves more than fits.
_OVERFILLED_PERCENT = 98.0
# The alarm clears this far below the threshold that raised it.
_HYSTERESIS_PERCENT = 10.0
_HEIGHTS_CM = (90, 120, 150)
_ROUND_HOUR, _ROUND_DAY, _PAST, _HEIGHT = 1, 2, 3, 4


class BinMemory(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When the bin was emptied, and what has been thrown into it since."""

    t_s: float
    key: int
    emptied_at_s: float
    filled_percent: float


def collected_at_s(identity: DeviceIdentity, key: int, t_s: float) -> float:
    """When the lorry came last: every second day, at this bin's place on the morning round."""
    day = local_day(identity.longitude, t_s)
    hour = between(key, _ROUND_HOUR, 5.0, 9.0)
    parity = int(2 * uniform(key, _ROUND_DAY))
    for tried in range(day, day - 4, -1):
        came_s = tried * DAY_S + hour * 3600.0 - identity.longitude * 240.0
        if tried % 2 == parity and came_s <= t_s:
            return came_s
    raise AssertionError("a lorry comes every second day")


def _thrown_percent(identity: DeviceIdentity, key: int, from_s: float, until_s: float) -> float:
    """What was thrown in at `from_s` or later and before `until_s`: a bag counts when it falls."""
    return sum(
        _BAG_MIN_PERCENT + (_BAG_MAX_PERCENT - _BAG_MIN_PERCENT) * bag.size
        for bag in overlapping(key, _BAGS, identity.longitude, from_s, until_s)
        if from_s <= bag.begins_s < until_s
    )


def new_memory(identity: DeviceIdentity, t_s: float) -> BinMemory:
    """A sensor that is switched on sees what has been thrown in since the last collection."""
    key = stream_key(identity.seed, identity.endpoint)
    emptied_at_s = collected_at_s(identity, key, t_s)
    filled = _thrown_percent(identity, key, emptied_at_s, t_s)
    return BinMemory(t_s=t_s, key=key, emptied_at_s=emptied_at_s, filled_percent=filled)


def initial(identity: DeviceIdentity, t_s: float) -> Changes:
    """All values of a bin's sensor that is switched on at `t_s`."""
    memory = new_memory(identity, t_s)
    values = basic_values(identity, t_s, model_number="LL-WB2", device_type="waste bin sensor")
    values.update(DISTANCE.fixed)
    values |= {
        HEIGHT_CM: _HEIGHTS_CM[mix(memory.key, _HEIGHT) % len(_HEIGHTS_CM)],
        HIGH_THRESHOLD: 85.0,
        LOW_THRESHOLD: 5.0,
        COLLECTIONS: int(between(memory.key, _PAST, 10.0, 900.0)),
        IS_FULL: False,
        ObjectPath(3435, 0, 18): "residual waste",
    }
    first, _ = sense(identity, t_s, values, memory, ())
    return values | first


def sense(
    identity: DeviceIdentity,
    t_s: float,
    values: Values,
    memory: BinMemory,
    incidents: Sequence[Incident],
) -> tuple[Changes, BinMemory]:
    """See `DeviceModel`."""
    was_emptied_at_s = memory.emptied_at_s
    memory = _fill(identity, max(t_s, memory.t_s), memory, incidents)
    filling = min(100.0, memory.filled_percent)
    if lasting(incidents, INCIDENT, t_s):
        filling = max(filling, _OVERFILLED_PERCENT)
    height_cm = int(number(values, HEIGHT_CM))
    level_cm = round(height_cm * filling / 100.0)
    after: Changes = {
        FILLING_PERCENT: round(filling, 2),
        LEVEL_CM: level_cm,
        IS_FULL: filling >= number(values, HIGH_THRESHOLD) - _slack(values),
        IS_EMPTY: filling <= number(values, LOW_THRESHOLD),
        COLLECTIONS: int(number(values, COLLECTIONS)) + (memory.emptied_at_s > was_emptied_at_s),
    }
    after |= measured(DISTANCE, values, float(height_cm - level_cm))
    return changed(values, after), memory


def _slack(values: Values) -> float:
    return _HYSTERESIS_PERCENT if values[IS_FULL] is True else 0.0


def _fill(
    identity: DeviceIdentity, t_s: float, memory: BinMemory, incidents: Sequence[Incident]
) -> BinMemory:
    """What is in the bin at `t_s`; whoever left too much is followed by an extra collection."""
    emptied_at_s = max(
        memory.emptied_at_s,
        collected_at_s(identity, memory.key, t_s),
        last_end_s(incidents, INCIDENT, t_s),
    )
    kept, since_s = memory.filled_percent, memory.t_s
    if emptied_at_s > memory.emptied_at_s:
        kept, since_s = 0.0, emptied_at_s
    thrown = _thrown_percent(identity, memory.key, since_s, t_s)
    return BinMemory(
        t_s=t_s, key=memory.key, emptied_at_s=emptied_at_s, filled_percent=kept + thrown
    )


WASTE_BIN = DeviceModel(
    name=NAME,
    objects=(*BASIC_OBJECTS, ObjectPath(3330, 0), ObjectPath(3435, 0)),
    reported=(FILLING_PERCENT, LEVEL_CM, DISTANCE.value),
    alarm_rules=(
        flag_alarm(
            "container_full",
            IS_FULL,
            "minor",
            value_path=FILLING_PERCENT,
            threshold=HIGH_THRESHOLD,
        ),
    ),
    demonstration_incident=INCIDENT,
    new_memory=new_memory,
    initial=initial,
    sense=sense,
)
