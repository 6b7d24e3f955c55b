"""A parking spot with a sensor in the ground: whether it is taken, for how long, and overstays."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fake_devices.behaviours.noise import between, mix, stream_key
from fake_devices.behaviours.occasions import Occasion, Pattern, at_time
from fake_devices.behaviours.rhythm import local_day
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
from lwm2m.objects import ObjectPath

NAME = "parking_spot"
INCIDENT = "overstay"

OCCUPANCY = ObjectPath(3431, 0, 1)
DURATION_S = ObjectPath(3431, 0, 2)
DAILY_DURATION_S = ObjectPath(3431, 0, 3)
FORBIDDEN_PARKING = ObjectPath(3431, 0, 4)
SENSOR_TYPE = ObjectPath(3431, 0, 5)
PRESENCE = ObjectPath(3302, 0, 5500)
PRESENCE_COUNTER = ObjectPath(3302, 0, 5501)

# Cars by day, empty kerbs at night; a car stays within its slot, so none overstays by itself.
_CARS = Pattern(
    slot_s=2_700.0,
    gap_s=60.0,
    shortest_s=300.0,
    longest_s=2_500.0,
    likelihood=(
        *(0.15, 0.10, 0.08, 0.08, 0.10, 0.20, 0.40, 0.65, 0.80, 0.85, 0.88, 0.90),
        *(0.92, 0.90, 0.86, 0.85, 0.86, 0.90, 0.88, 0.75, 0.60, 0.45, 0.32, 0.22),
    ),
)
STAY_MAX_S = 7_200.0
_PAST = 1


class ParkingMemory(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Since when the spot is as it is, and how long it was taken today."""

    t_s: float
    key: int
    is_occupied: bool
    since_s: float
    day: int
    taken_today_s: float


def _car(identity: DeviceIdentity, key: int, t_s: float) -> Occasion | None:
    return at_time(key, _CARS, identity.longitude, t_s)


def _is_occupied(
    identity: DeviceIdentity, key: int, t_s: float, incidents: Sequence[Incident]
) -> bool:
    """A car of the daily traffic, or the one that overstays; when that leaves, nobody is there."""
    if lasting(incidents, INCIDENT, t_s):
        return True
    car = _car(identity, key, t_s)
    return car is not None and car.begins_s >= last_end_s(incidents, INCIDENT, t_s)


def new_memory(identity: DeviceIdentity, t_s: float) -> ParkingMemory:
    """A sensor that is switched on knows the car above it since its arrival."""
    key = stream_key(identity.seed, identity.endpoint)
    car = _car(identity, key, t_s)
    return ParkingMemory(
        t_s=t_s,
        key=key,
        is_occupied=car is not None,
        since_s=t_s if car is None else car.begins_s,
        day=local_day(identity.longitude, t_s),
        taken_today_s=0.0,
    )


def initial(identity: DeviceIdentity, t_s: float) -> Changes:
    """All values of a sensor that is switched on at `t_s`."""
    values = basic_values(identity, t_s, model_number="LL-PS1", device_type="parking sensor")
    key = stream_key(identity.seed, identity.endpoint)
    values |= {
        SENSOR_TYPE: "magnetic and radar",
        PRESENCE_COUNTER: int(between(mix(key, _PAST), 0, 100.0, 20_000.0)),
        ObjectPath(3302, 0, 5750): "Parking",
        ObjectPath(3302, 0, 5751): "magnetic and radar",
    }
    first, _ = sense(identity, t_s, values, new_memory(identity, t_s), ())
    return values | first


def sense(
    identity: DeviceIdentity,
    t_s: float,
    values: Values,
    memory: ParkingMemory,
    incidents: Sequence[Incident],
) -> tuple[Changes, ParkingMemory]:
    """See `DeviceModel`."""
    is_occupied = _is_occupied(identity, memory.key, t_s, incidents)
    has_arrived = is_occupied and not memory.is_occupied
    memory = _remember(identity, t_s, memory, is_occupied=is_occupied)
    duration_s = max(0, int(t_s - memory.since_s)) if is_occupied else 0
    after: Changes = {
        OCCUPANCY: is_occupied,
        PRESENCE: is_occupied,
        PRESENCE_COUNTER: int(number(values, PRESENCE_COUNTER)) + has_arrived,
        DURATION_S: duration_s,
        DAILY_DURATION_S: int(memory.taken_today_s),
        FORBIDDEN_PARKING: lasting(incidents, INCIDENT, t_s) or duration_s > STAY_MAX_S,
    }
    return changed(values, after), memory


def _remember(
    identity: DeviceIdentity, t_s: float, memory: ParkingMemory, *, is_occupied: bool
) -> ParkingMemory:
    day = local_day(identity.longitude, t_s)
    elapsed_s = max(0.0, t_s - memory.t_s) if memory.is_occupied else 0.0
    return msgspec.structs.replace(
        memory,
        t_s=max(t_s, memory.t_s),
        is_occupied=is_occupied,
        since_s=memory.since_s if is_occupied == memory.is_occupied else t_s,
        day=day,
        taken_today_s=memory.taken_today_s + elapsed_s if day == memory.day else 0.0,
    )


PARKING_SPOT = DeviceModel(
    name=NAME,
    objects=(*BASIC_OBJECTS, ObjectPath(3302, 0), ObjectPath(3431, 0)),
    reported=(OCCUPANCY, DURATION_S, PRESENCE, PRESENCE_COUNTER),
    alarm_rules=(
        flag_alarm("forbidden_parking", FORBIDDEN_PARKING, "minor", value_path=DURATION_S),
    ),
    demonstration_incident=INCIDENT,
    new_memory=new_memory,
    initial=initial,
    sense=sense,
)
