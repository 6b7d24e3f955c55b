"""A street lamp: lamp controller, luminaire, electrical monitor, photocell, light control and sky
sensor, which hang together as they do on a pole.

By itself the lamp follows its photocell. A level written to `/3416/0/1` (or to `/3311/0/5851` and
`/3311/0/5850`) overrides that for `/3416/0/53` seconds, by day too. A level that is written when it
is the automatic one already changes nothing and overrides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import acos, sin, sqrt, tan
from typing import NamedTuple

import msgspec

from fake_devices.behaviours.noise import (
    between,
    mix,
    shared_key,
    shared_smooth,
    smooth,
    stream_key,
)
from fake_devices.behaviours.rhythm import local_hour
from fake_devices.behaviours.sun import daylight_lx, solar_elevation_deg
from fake_devices.behaviours.weather import air_temperature_cel, cloud_cover
from fake_devices.devices.basics import BASIC_OBJECTS, basic_values
from fake_devices.devices.model import (
    Changes,
    DeviceIdentity,
    DeviceModel,
    Incident,
    Values,
    changed,
    flag_alarm,
    lasting,
    number,
)
from fake_devices.devices.sensor import measured, sensor
from lwm2m.objects import ObjectPath

NAME = "street_lamp"
INCIDENT = "lamp_failure"

COMMAND = ObjectPath(3416, 0, 1)
COMMAND_IN_ACTION = ObjectPath(3416, 0, 2)
DIMMING_LEVEL = ObjectPath(3416, 0, 3)
DEFAULT_LEVEL = ObjectPath(3416, 0, 4)
LAMP_FAILURE = ObjectPath(3416, 0, 5)
LAMP_FAILURE_REASON = ObjectPath(3416, 0, 6)
OPERATING_HOURS = ObjectPath(3416, 0, 15)
ON_TIMESTAMP = ObjectPath(3416, 0, 17)
SWITCH_COUNTER = ObjectPath(3416, 0, 18)
GEAR_TEMPERATURE = ObjectPath(3416, 0, 21)
LIGHT_POWER = ObjectPath(3416, 0, 46)
LIGHT_ENERGY_KWH = ObjectPath(3416, 0, 47)
DEFAULT_FADE_S = ObjectPath(3416, 0, 49)
OVERRIDE_START = ObjectPath(3416, 0, 50)
OVERRIDE_END = ObjectPath(3416, 0, 51)
OVERRIDE_FADE_S = ObjectPath(3416, 0, 52)
OVERRIDE_DURATION_S = ObjectPath(3416, 0, 53)
OVERRIDE_ACTIVE = ObjectPath(3416, 0, 54)
VOLTAGE = ObjectPath(3418, 0, 1)
CURRENT = ObjectPath(3418, 0, 2)
FREQUENCY = ObjectPath(3418, 0, 3)
POWER = ObjectPath(3418, 0, 4)
POWER_FACTOR = ObjectPath(3418, 0, 5)
ENERGY_WH = ObjectPath(3418, 0, 6)
REACTIVE_POWER = ObjectPath(3418, 0, 29)
REACTIVE_ENERGY = ObjectPath(3418, 0, 30)
MONITOR_LEVEL = ObjectPath(3418, 0, 35)
PHOTOCELL_ON_LX = ObjectPath(3419, 0, 1)
PHOTOCELL_OFF_LX = ObjectPath(3419, 0, 2)
PHOTOCELL = ObjectPath(3419, 0, 3)
LIGHT_ENERGY_WH = ObjectPath(3311, 0, 5805)
LIGHT_POWER_FACTOR = ObjectPath(3311, 0, 5820)
ON_OFF = ObjectPath(3311, 0, 5850)
DIMMER = ObjectPath(3311, 0, 5851)
ON_TIME_S = ObjectPath(3311, 0, 5852)
ILLUMINANCE = sensor(3301, units="lx", application="Sky and street light", low=0.0, high=150_000.0)

NOMINAL_POWERS_W = (38, 54, 73, 96)
STANDBY_W = 0.6
_POWER_FACTOR_STANDBY = 0.45
# What the driver passes on to the light source.
_DRIVER_EFFICIENCY = 0.91
_NIGHT_BELOW_LX, _DAY_ABOVE_LX = 20.0, 40.0
# What of its own light reaches the lamp's sensor at full level.
_OWN_LIGHT_LX = 6.0
# /3416/0/6: our own number, the registry has no list.
_REASON_OPEN_CIRCUIT = 1
_WATTAGE, _AGE, _MAINS, _FREQUENCY, _LUMINAIRE = 1, 2, 3, 4, 5


class LampMemory(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the lamp itself last wrote into its writable resources, and the fade under way."""

    t_s: float
    key: int
    city: int
    command: int
    dimmer: int
    is_on: bool
    fade_from: int
    fade_begins_s: float
    fade_s: float


class _Sky(NamedTuple):
    daylight_lx: float
    ambient_cel: float


class _Order(NamedTuple):
    """What level is wanted, why, and within which time."""

    level: int
    is_override: bool
    is_new_override: bool
    fade_s: float


def _sky(identity: DeviceIdentity, city: int, t_s: float) -> _Sky:
    elevation = solar_elevation_deg(identity.latitude, identity.longitude, t_s)
    return _Sky(
        daylight_lx(elevation, cloud_cover(city, t_s)),
        air_temperature_cel(city, identity.latitude, identity.longitude, t_s),
    )


def nominal_power_w(identity: DeviceIdentity) -> int:
    """The wattage of this pole's luminaire."""
    return _nominal_power_w(stream_key(identity.seed, identity.endpoint))


def _nominal_power_w(key: int) -> int:
    return NOMINAL_POWERS_W[mix(key, _WATTAGE) % len(NOMINAL_POWERS_W)]


def new_memory(identity: DeviceIdentity, t_s: float) -> LampMemory:
    """A lamp that was just switched on has been following its photocell."""
    city = stream_key(identity.seed, "weather")
    level = 100 if _sky(identity, city, t_s).daylight_lx < _NIGHT_BELOW_LX else 0
    return LampMemory(
        t_s=t_s,
        key=stream_key(identity.seed, identity.endpoint),
        city=city,
        command=level,
        dimmer=level,
        is_on=level > 0,
        fade_from=level,
        fade_begins_s=t_s,
        fade_s=0.0,
    )


def initial(identity: DeviceIdentity, t_s: float) -> Changes:
    """All values of a lamp that is switched on at `t_s`; its counters tell of earlier years."""
    memory = new_memory(identity, t_s)
    values = basic_values(identity, t_s, model_number="LL-SL2", device_type="street lamp")
    values |= _luminaire(identity) | _settings(identity) | _past(identity, memory, t_s)
    first, _ = sense(identity, t_s, values, memory, ())
    return values | first


def _luminaire(identity: DeviceIdentity) -> Changes:
    key = mix(stream_key(identity.seed, identity.endpoint), _LUMINAIRE)
    watts = nominal_power_w(identity)
    return {
        ObjectPath(3417, 0, 1): f"0400{mix(key, 0) % 10**10:010d}",
        ObjectPath(3417, 0, 2): 2017 + mix(key, 1) % 8,
        ObjectPath(3417, 0, 3): 1 + mix(key, 2) % 52,
        ObjectPath(3417, 0, 4): watts * 140,
        ObjectPath(3417, 0, 6): "graphite grey",
        ObjectPath(3417, 0, 7): float(watts),
        ObjectPath(3417, 0, 8): round(power_w(1, watts), 2),
        ObjectPath(3417, 0, 9): 264,
        ObjectPath(3417, 0, 10): 198,
        ObjectPath(3417, 0, 11): 70,
        ObjectPath(3417, 0, 12): (2700, 3000, 4000)[mix(key, 3) % 3],
        ObjectPath(3417, 0, 13): f"Quayside {watts}",
        ObjectPath(3417, 0, 14): identity.serial,
    }


def _settings(identity: DeviceIdentity) -> Changes:
    fixed: Changes = dict(ILLUMINANCE.fixed)
    return fixed | {
        DEFAULT_LEVEL: 100,
        ObjectPath(3416, 0, 36): nominal_power_w(identity),
        ObjectPath(3416, 0, 37): 1,
        DEFAULT_FADE_S: 3.0,
        OVERRIDE_FADE_S: 1.0,
        OVERRIDE_DURATION_S: 28_800,
        PHOTOCELL_ON_LX: _NIGHT_BELOW_LX,
        PHOTOCELL_OFF_LX: _DAY_ABOVE_LX,
    }


def _past(identity: DeviceIdentity, memory: LampMemory, t_s: float) -> Changes:
    hours = between(memory.key, _AGE, 400.0, 21_000.0)
    energy_wh = hours * nominal_power_w(identity) * 0.8
    return {
        COMMAND: memory.command,
        COMMAND_IN_ACTION: memory.command,
        DIMMING_LEVEL: memory.command,
        DIMMER: memory.dimmer,
        ON_OFF: memory.is_on,
        PHOTOCELL: memory.is_on,
        OVERRIDE_ACTIVE: False,
        OVERRIDE_START: 0,
        OVERRIDE_END: 0,
        LAMP_FAILURE: False,
        OPERATING_HOURS: hours,
        SWITCH_COUNTER: round(hours / 10.5),
        ON_TIMESTAMP: int(t_s) if memory.is_on else int(t_s) - 40_000,
        ENERGY_WH: energy_wh,
        LIGHT_ENERGY_KWH: energy_wh * _DRIVER_EFFICIENCY / 1000.0,
        REACTIVE_ENERGY: energy_wh * 0.26,
    }


def sense(
    identity: DeviceIdentity,
    t_s: float,
    values: Values,
    memory: LampMemory,
    incidents: Sequence[Incident],
) -> tuple[Changes, LampMemory]:
    """See `DeviceModel`."""
    sky = _sky(identity, memory.city, t_s)
    is_night = _photocell(values, sky.daylight_lx)
    order = _order(values, memory, t_s, is_night=is_night)
    memory, level = _fade(values, memory, order, t_s)
    has_failed = lasting(incidents, INCIDENT, t_s)
    after = _control(values, order, level, t_s, has_failed=has_failed)
    after[PHOTOCELL] = is_night
    after |= _electricity(identity, memory, t_s, 0 if has_failed else level, level)
    after |= _integrals(values, after, max(0.0, t_s - memory.t_s))
    after[GEAR_TEMPERATURE] = round(sky.ambient_cel + 0.3 * number(after, POWER), 1)
    own_light = 0.0 if has_failed else _OWN_LIGHT_LX * level / 100
    after |= measured(ILLUMINANCE, values, round(sky.daylight_lx + own_light, 2))
    memory = msgspec.structs.replace(
        memory, t_s=max(t_s, memory.t_s), command=order.level, dimmer=level, is_on=level > 0
    )
    return changed(values, after), memory


def _photocell(values: Values, daylight_lx: float) -> bool:
    """Whether the photocell says night; between its two levels it keeps what it said."""
    if values[PHOTOCELL] is True:
        return daylight_lx <= number(values, PHOTOCELL_OFF_LX)
    return daylight_lx < number(values, PHOTOCELL_ON_LX)


def _order(values: Values, memory: LampMemory, t_s: float, *, is_night: bool) -> _Order:
    written = _written_level(values, memory)
    if written is not None:
        return _Order(written, True, True, number(values, OVERRIDE_FADE_S))
    if values[OVERRIDE_ACTIVE] is True and t_s < number(values, OVERRIDE_END):
        return _Order(memory.command, True, False, 0.0)
    automatic = int(number(values, DEFAULT_LEVEL)) if is_night else 0
    return _Order(automatic, False, False, number(values, DEFAULT_FADE_S))


def _written_level(values: Values, memory: LampMemory) -> int | None:
    """The level that someone wrote since the last time, by either object; None when nobody did."""
    if values[COMMAND] != memory.command:
        return _clamped(number(values, COMMAND))
    if values[DIMMER] != memory.dimmer:
        return _clamped(number(values, DIMMER))
    if values[ON_OFF] != memory.is_on:
        return int(number(values, DEFAULT_LEVEL)) if values[ON_OFF] else 0
    return None


def _clamped(level: float) -> int:
    return max(0, min(100, int(level)))


def _fade(values: Values, memory: LampMemory, order: _Order, t_s: float) -> tuple[LampMemory, int]:
    """The memory with a fade begun when the wanted level is new, and the level at `t_s`."""
    if order.level != memory.command:
        memory = msgspec.structs.replace(
            memory, fade_from=memory.dimmer, fade_begins_s=t_s, fade_s=order.fade_s
        )
    share = 1.0
    if memory.fade_s > 0.0:
        share = min(1.0, max(0.0, (t_s - memory.fade_begins_s) / memory.fade_s))
    return memory, round(memory.fade_from + (order.level - memory.fade_from) * share)


def _control(values: Values, order: _Order, level: int, t_s: float, *, has_failed: bool) -> Changes:
    was_lit = number(values, DIMMING_LEVEL) > 0
    is_lit = level > 0
    after: Changes = {
        COMMAND: order.level,
        COMMAND_IN_ACTION: order.level,
        DIMMING_LEVEL: level,
        MONITOR_LEVEL: level,
        DIMMER: level,
        ON_OFF: is_lit,
        OVERRIDE_ACTIVE: order.is_override,
        LAMP_FAILURE: has_failed,
        LAMP_FAILURE_REASON: _REASON_OPEN_CIRCUIT if has_failed else 0,
    }
    if order.is_new_override:
        after[OVERRIDE_START] = int(t_s)
        after[OVERRIDE_END] = int(t_s + number(values, OVERRIDE_DURATION_S))
    if is_lit and not was_lit:
        after[ON_TIMESTAMP] = int(t_s)
        after[SWITCH_COUNTER] = int(number(values, SWITCH_COUNTER)) + 1
    lit_since = number(after if ON_TIMESTAMP in after else values, ON_TIMESTAMP)
    after[ON_TIME_S] = max(0, int(t_s - lit_since)) if is_lit else 0
    return after


def power_w(level: int, nominal_w: float) -> float:
    """Active power at a dimming level of 0 to 100: it grows with the level, standby when dark."""
    if level <= 0:
        return STANDBY_W
    return STANDBY_W + (nominal_w - STANDBY_W) * (0.06 + 0.94 * level / 100)


def _power_factor(level: int) -> float:
    """The driver's power factor, best at full level."""
    return _POWER_FACTOR_STANDBY if level <= 0 else 0.70 + 0.27 * sqrt(level / 100)


def _electricity(
    identity: DeviceIdentity, memory: LampMemory, t_s: float, shining: int, level: int
) -> Changes:
    """What the monitor measures; `shining` is the level of the light source, 0 when it failed."""
    watts = round(power_w(shining, _nominal_power_w(memory.key)), 2)
    voltage = round(_mains_v(identity, memory, t_s), 1)
    factor = round(_power_factor(shining), 3)
    return {
        VOLTAGE: voltage,
        CURRENT: round(watts / (voltage * factor), 5),
        FREQUENCY: round(
            50.0 + 0.03 * shared_smooth(shared_key(memory.city, _FREQUENCY), t_s, 30.0), 3
        ),
        POWER: watts,
        POWER_FACTOR: factor,
        LIGHT_POWER_FACTOR: factor,
        LIGHT_POWER: round((watts - STANDBY_W) * _DRIVER_EFFICIENCY, 2) if shining else 0.0,
        REACTIVE_POWER: round(watts * tan(acos(factor)), 3),
    }


def _mains_v(identity: DeviceIdentity, memory: LampMemory, t_s: float) -> float:
    """Mains voltage: it sags in the evening, when the district cooks."""
    evening = max(0.0, sin((local_hour(identity.longitude, t_s) - 15.0) / 9.0 * 3.14159))
    return 231.5 - 3.0 * evening + 2.5 * smooth(mix(memory.key, _MAINS), t_s, 240.0)


def _integrals(values: Values, after: Changes, elapsed_s: float) -> Changes:
    """Counters that grow with time: trapezia under the power, hours while it was lit."""
    hours = elapsed_s / 3600.0
    active = _mean(values, after, POWER) * hours
    light = _mean(values, after, LIGHT_POWER) * hours
    was_shining = LIGHT_POWER in values and number(values, LIGHT_POWER) > 0.0
    energy_kwh = number(values, LIGHT_ENERGY_KWH) + light / 1000.0
    return {
        ENERGY_WH: number(values, ENERGY_WH) + active,
        REACTIVE_ENERGY: number(values, REACTIVE_ENERGY)
        + _mean(values, after, REACTIVE_POWER) * hours,
        LIGHT_ENERGY_KWH: energy_kwh,
        LIGHT_ENERGY_WH: energy_kwh * 1000.0,
        OPERATING_HOURS: number(values, OPERATING_HOURS) + (hours if was_shining else 0.0),
    }


def _mean(before: Values, after: Values, path: ObjectPath) -> float:
    now = number(after, path)
    return (number(before, path) + now) / 2.0 if path in before else now


STREET_LAMP = DeviceModel(
    name=NAME,
    objects=(
        *BASIC_OBJECTS,
        ObjectPath(3301, 0),
        ObjectPath(3311, 0),
        ObjectPath(3416, 0),
        ObjectPath(3417, 0),
        ObjectPath(3418, 0),
        ObjectPath(3419, 0),
    ),
    reported=(DIMMING_LEVEL, POWER, ENERGY_WH, PHOTOCELL, ILLUMINANCE.value),
    alarm_rules=(flag_alarm(INCIDENT, LAMP_FAILURE, "major", value_path=POWER),),
    demonstration_incident=INCIDENT,
    new_memory=new_memory,
    initial=initial,
    sense=sense,
)
