"""An air monitor on a street corner: dust, gases, temperature and humidity of one air.

Its dust value has a dead band: it moves only when the air has moved by more. What crosses the
threshold by a hair therefore stays there, and the alarm, judged by the value alone, cannot flap.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import msgspec

from fake_devices.behaviours.noise import mix, smooth, stream_key
from fake_devices.behaviours.rhythm import Profile, at_hour, local_hour
from fake_devices.behaviours.sun import solar_elevation_deg
from fake_devices.behaviours.weather import air_temperature_cel, haze
from fake_devices.devices.basics import BASIC_OBJECTS, basic_values
from fake_devices.devices.model import (
    AlarmRule,
    Changes,
    DeviceIdentity,
    DeviceModel,
    Incident,
    Values,
    changed,
    lasting,
    number,
)
from fake_devices.devices.sensor import measured, sensor
from lwm2m.objects import ObjectPath

NAME = "air_monitor"
INCIDENT = "smog"
# What a schedule says of the weather above this monitor; the alarm has nothing to do with it.
RAIN = "rain"

PM10 = ObjectPath(3428, 0, 1)
PM10_DAY = ObjectPath(3428, 0, 2)
PM25 = ObjectPath(3428, 0, 3)
PM25_DAY = ObjectPath(3428, 0, 4)
PM1 = ObjectPath(3428, 0, 5)
CO = ObjectPath(3428, 0, 7)
O3 = ObjectPath(3428, 0, 12)
NO2 = ObjectPath(3428, 0, 15)
CO2 = ObjectPath(3428, 0, 17)
TEMPERATURE = sensor(3303, units="Cel", application="Street air", low=-40.0, high=85.0)
HUMIDITY = sensor(3304, units="%RH", application="Street air", low=0.0, high=100.0)
CONCENTRATION = sensor(3325, units="ppm", application="Carbon dioxide", low=0.0, high=5_000.0)

PM25_THRESHOLD_UG_M3 = 35.0
_DEAD_BAND_UG_M3 = 1.5
_SMOG_UG_M3 = 70.0
# Rain washes most of the dust out of the air, cools it, and makes it nearly as damp as can be.
_RAIN_DUST_RATIO = 0.4
_RAIN_COOLS_CEL = 2.5
_RAIN_HUMIDITY_PERCENT = 94.0
_DAY_S = 86_400.0
_TRAFFIC: Profile = (
    *(0.08, 0.05, 0.04, 0.04, 0.08, 0.25, 0.60, 0.95, 1.00, 0.75, 0.60, 0.60),
    *(0.65, 0.65, 0.65, 0.75, 0.90, 1.00, 0.90, 0.65, 0.45, 0.32, 0.22, 0.14),
)
_DUST, _TRAFFIC_NOISE, _HUMIDITY, _CO2_NOISE = 1, 2, 3, 4


class AirMemory(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When it measured last; the rest is in its values."""

    t_s: float
    key: int
    city: int


def new_memory(identity: DeviceIdentity, t_s: float) -> AirMemory:
    """A monitor that is switched on knows nothing yet."""
    return AirMemory(
        t_s=t_s,
        key=stream_key(identity.seed, identity.endpoint),
        city=stream_key(identity.seed, "weather"),
    )


def initial(identity: DeviceIdentity, t_s: float) -> Changes:
    """All values of a monitor that is switched on at `t_s`; daily means begin with the moment."""
    values = basic_values(identity, t_s, model_number="LL-AM3", device_type="air monitor")
    for sensor_object in (TEMPERATURE, HUMIDITY, CONCENTRATION):
        values.update(sensor_object.fixed)
    first, _ = sense(identity, t_s, values, new_memory(identity, t_s), ())
    return values | first


def sense(
    identity: DeviceIdentity,
    t_s: float,
    values: Values,
    memory: AirMemory,
    incidents: Sequence[Incident],
) -> tuple[Changes, AirMemory]:
    """See `DeviceModel`."""
    traffic = _traffic(identity, memory.key, t_s)
    dust = fine_dust_ug_m3(identity, memory, t_s, incidents)
    after = _dust(values, dust, memory, t_s)
    after |= _gases(identity, traffic, t_s)
    after |= _climate(identity, values, memory, t_s, is_raining=lasting(incidents, RAIN, t_s))
    carbon_dioxide = 418.0 + 40.0 * traffic + 9.0 * smooth(mix(memory.key, _CO2_NOISE), t_s, 400.0)
    after |= measured(CONCENTRATION, values, round(carbon_dioxide, 1))
    after[CO2] = after[CONCENTRATION.value]
    return changed(values, after), msgspec.structs.replace(memory, t_s=max(t_s, memory.t_s))


def _traffic(identity: DeviceIdentity, key: int, t_s: float) -> float:
    """How busy the corner is, 0 to 1."""
    busy = at_hour(_TRAFFIC, local_hour(identity.longitude, t_s))
    return busy * (0.85 + 0.15 * smooth(mix(key, _TRAFFIC_NOISE), t_s, 900.0))


def fine_dust_ug_m3(
    identity: DeviceIdentity, memory: AirMemory, t_s: float, incidents: Sequence[Incident]
) -> float:
    """PM2.5 in the air, before the instrument's dead band."""
    local = 1.6 * smooth(mix(memory.key, _DUST), t_s, 1_200.0)
    traffic = 6.0 * _traffic(identity, memory.key, t_s)
    smog = _SMOG_UG_M3 if lasting(incidents, INCIDENT, t_s) else 0.0
    washed = _RAIN_DUST_RATIO if lasting(incidents, RAIN, t_s) else 1.0
    return washed * (4.0 + 11.0 * haze(memory.city, t_s) + traffic + local) + smog


def _dust(values: Values, dust: float, memory: AirMemory, t_s: float) -> Changes:
    fine = _dead_band(values, dust)
    coarse = 3.0 + 0.45 * fine + 1.5 * smooth(mix(memory.key, _DUST), -t_s, 700.0)
    return {
        PM1: round(0.68 * fine, 2),
        PM25: fine,
        PM10: round(fine + coarse, 2),
        PM25_DAY: _daily_mean(values, PM25_DAY, fine, t_s - memory.t_s),
        PM10_DAY: _daily_mean(values, PM10_DAY, fine + coarse, t_s - memory.t_s),
    }


def _dead_band(values: Values, dust: float) -> float:
    if PM25 not in values:
        return round(dust, 2)
    shown = number(values, PM25)
    if abs(dust - shown) <= _DEAD_BAND_UG_M3:
        return shown
    return round(dust - _DEAD_BAND_UG_M3 if dust > shown else dust + _DEAD_BAND_UG_M3, 2)


def _daily_mean(values: Values, path: ObjectPath, now: float, elapsed_s: float) -> float:
    """A mean that forgets with a time constant of a day."""
    if path not in values:
        return now
    kept = exp(-max(0.0, elapsed_s) / _DAY_S)
    return kept * number(values, path) + (1.0 - kept) * now


def _gases(identity: DeviceIdentity, traffic: float, t_s: float) -> Changes:
    """Exhaust brings nitrogen dioxide, which eats the ozone that the sun makes."""
    sun = max(0.0, solar_elevation_deg(identity.latitude, identity.longitude, t_s)) / 90.0
    nitrogen_dioxide = 0.006 + 0.034 * traffic
    return {
        NO2: round(nitrogen_dioxide, 5),
        O3: round(0.045 + 0.008 * sun - 0.95 * nitrogen_dioxide, 5),
        CO: round(0.15 + 0.5 * traffic, 4),
    }


def _climate(
    identity: DeviceIdentity, values: Values, memory: AirMemory, t_s: float, *, is_raining: bool
) -> Changes:
    """Warm air of the same water content is drier."""
    latitude, longitude = identity.latitude, identity.longitude
    temperature = air_temperature_cel(memory.city, latitude, longitude, t_s)
    yesterday = air_temperature_cel(memory.city, latitude, longitude, t_s - _DAY_S / 2.0)
    drift = 2.0 * smooth(mix(memory.key, _HUMIDITY), t_s, 3_600.0)
    humidity = 70.0 - 2.4 * (temperature - (temperature + yesterday) / 2.0) + drift
    if is_raining:
        temperature -= _RAIN_COOLS_CEL
        humidity = max(humidity, _RAIN_HUMIDITY_PERCENT + drift)
    return measured(TEMPERATURE, values, round(temperature, 2)) | measured(
        HUMIDITY, values, round(min(100.0, max(5.0, humidity)), 1)
    )


AIR_MONITOR = DeviceModel(
    name=NAME,
    objects=(
        *BASIC_OBJECTS,
        ObjectPath(3303, 0),
        ObjectPath(3304, 0),
        ObjectPath(3325, 0),
        ObjectPath(3428, 0),
    ),
    reported=(PM25, PM10, NO2, O3, TEMPERATURE.value, HUMIDITY.value, CONCENTRATION.value),
    alarm_rules=(
        AlarmRule(
            "fine_dust",
            PM25,
            "major",
            lambda values: number(values, PM25) >= PM25_THRESHOLD_UG_M3,
            value_path=PM25,
            threshold=PM25_THRESHOLD_UG_M3,
        ),
    ),
    demonstration_incident=INCIDENT,
    new_memory=new_memory,
    initial=initial,
    sense=sense,
)
