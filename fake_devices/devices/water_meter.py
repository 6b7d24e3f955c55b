"""A household's water meter: volume is the integral of a flow that comes and goes with the day.

The meter suspects a leak when the flow has not returned to zero for long, and detects one when
more runs than a household's taps can draw. Flow itself has no resource: what the object offers is
the lowest and highest flow since the last measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fake_devices.behaviours.noise import between, mix, stream_key
from fake_devices.behaviours.occasions import Occasion, Pattern, at_time, overlapping
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
from lwm2m.objects import ObjectPath

NAME = "water_meter"
INCIDENT = "leak"

VOLUME_M3 = ObjectPath(3424, 0, 1)
METER_TYPE = ObjectPath(3424, 0, 3)
PULSES = ObjectPath(3424, 0, 4)
PULSES_PER_M3 = ObjectPath(3424, 0, 6)
FLOW_MIN = ObjectPath(3424, 0, 7)
FLOW_MAX = ObjectPath(3424, 0, 8)
LEAK_SUSPECTED = ObjectPath(3424, 0, 9)
LEAK_DETECTED = ObjectPath(3424, 0, 10)

_DRAWS = Pattern(
    slot_s=600.0,
    gap_s=15.0,
    shortest_s=8.0,
    longest_s=420.0,
    likelihood=(
        *(0.10, 0.06, 0.04, 0.04, 0.06, 0.20, 0.55, 0.75, 0.65, 0.45, 0.35, 0.40),
        *(0.50, 0.42, 0.32, 0.32, 0.38, 0.52, 0.70, 0.72, 0.60, 0.48, 0.32, 0.18),
    ),
)
# Taps draw 0.02 to 0.35 l/s; a burst pipe 1.1 l/s on top.
_DRAW_MIN_M3_S, _DRAW_MAX_M3_S = 0.000_02, 0.000_35
BURST_M3_S = 0.001_1
# Detected above, cleared below: nothing between, so no flapping.
_DETECT_M3_S, _CLEAR_M3_S = 0.000_9, 0.000_6
NEVER_ZERO_S = 7_200.0
_AGE = 1


class WaterMemory(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """When it measured last, and when no water ran for the last time."""

    t_s: float
    key: int
    zero_at_s: float


def _draw_m3_s(draw: Occasion) -> float:
    return _DRAW_MIN_M3_S + (_DRAW_MAX_M3_S - _DRAW_MIN_M3_S) * draw.size


def flow_m3_s(
    identity: DeviceIdentity, key: int, t_s: float, incidents: Sequence[Incident]
) -> float:
    """The flow at `t_s`: at most one draw at a time, and the leak."""
    draw = at_time(key, _DRAWS, identity.longitude, t_s)
    drawn = 0.0 if draw is None else _draw_m3_s(draw)
    return drawn + (BURST_M3_S if lasting(incidents, INCIDENT, t_s) else 0.0)


def drawn_m3(
    identity: DeviceIdentity,
    key: int,
    from_s: float,
    until_s: float,
    incidents: Sequence[Incident],
) -> float:
    """The exact integral of the flow from `from_s` to `until_s`."""
    taps = sum(
        _draw_m3_s(draw) * (min(draw.ends_s, until_s) - max(draw.begins_s, from_s))
        for draw in overlapping(key, _DRAWS, identity.longitude, from_s, until_s)
    )
    leaks = sum(
        BURST_M3_S * max(0.0, min(leak.ends_s, until_s) - max(leak.begins_s, from_s))
        for leak in incidents
        if leak.kind == INCIDENT
    )
    return taps + leaks


def new_memory(identity: DeviceIdentity, t_s: float) -> WaterMemory:
    """A meter that is switched on starts its watch for a flow that never ends."""
    return WaterMemory(t_s=t_s, key=stream_key(identity.seed, identity.endpoint), zero_at_s=t_s)


def initial(identity: DeviceIdentity, t_s: float) -> Changes:
    """All values of a meter that is switched on at `t_s`."""
    values = basic_values(identity, t_s, model_number="LL-WM4", device_type="water meter")
    memory = new_memory(identity, t_s)
    values |= {
        VOLUME_M3: between(mix(memory.key, _AGE), 0, 20.0, 900.0),
        METER_TYPE: "cold water, household",
        PULSES_PER_M3: 1_000,
        LEAK_DETECTED: False,
    }
    first, _ = sense(identity, t_s, values, memory, ())
    return values | first


def sense(
    identity: DeviceIdentity,
    t_s: float,
    values: Values,
    memory: WaterMemory,
    incidents: Sequence[Incident],
) -> tuple[Changes, WaterMemory]:
    """See `DeviceModel`."""
    now_s = max(t_s, memory.t_s)
    flow = flow_m3_s(identity, memory.key, now_s, incidents)
    before = flow_m3_s(identity, memory.key, memory.t_s, incidents)
    ran = drawn_m3(identity, memory.key, memory.t_s, now_s, incidents)
    mean = ran / (now_s - memory.t_s) if now_s > memory.t_s else flow
    volume = number(values, VOLUME_M3) + ran
    zero_at_s = now_s if min(flow, before) == 0.0 else memory.zero_at_s
    after: Changes = {
        VOLUME_M3: volume,
        PULSES: int(volume * number(values, PULSES_PER_M3)),
        FLOW_MIN: min(flow, before, mean),
        FLOW_MAX: max(flow, before, mean),
        LEAK_SUSPECTED: now_s - zero_at_s > NEVER_ZERO_S,
        LEAK_DETECTED: flow > (_CLEAR_M3_S if values[LEAK_DETECTED] is True else _DETECT_M3_S),
    }
    return changed(values, after), WaterMemory(t_s=now_s, key=memory.key, zero_at_s=zero_at_s)


WATER_METER = DeviceModel(
    name=NAME,
    objects=(*BASIC_OBJECTS, ObjectPath(3424, 0)),
    reported=(VOLUME_M3, PULSES, FLOW_MAX),
    alarm_rules=(
        flag_alarm(
            "leak_detected", LEAK_DETECTED, "critical", value_path=FLOW_MAX, threshold=_DETECT_M3_S
        ),
        flag_alarm("leak_suspected", LEAK_SUSPECTED, "minor", value_path=FLOW_MIN, threshold=0.0),
    ),
    demonstration_incident=INCIDENT,
    new_memory=new_memory,
    initial=initial,
    sense=sense,
)
