"""A water meter's values hang together: volume is the flow's integral, pulses count it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_devices.devices import Changes, DeviceIdentity, Incident
from fake_devices.devices import water_meter as water

Drive = Callable[..., list[Changes]]
METER = water.WATER_METER
HERE = DeviceIdentity("meter-0001", "X-1", "water_meter", 53.5, 8.6, 3)
MIDNIGHT = 1_781_913_600.0
devices = st.builds(
    DeviceIdentity,
    endpoint=st.from_regex(r"meter-[0-9]{4}", fullmatch=True),
    serial=st.just("X-1"),
    model=st.just("water_meter"),
    latitude=st.just(53.5),
    longitude=st.floats(-180.0, 180.0),
    seed=st.integers(0, 2**32),
)


@settings(max_examples=25, deadline=None)
@given(
    device=devices, begins=st.floats(1.6e9, 2.0e9), steps=st.lists(st.floats(0, 900), max_size=60)
)
def test_volume_never_falls_and_pulses_count_it(
    drive: Drive, device: DeviceIdentity, begins: float, steps: list[float]
) -> None:
    times = [begins]
    for step_s in steps:
        times.append(times[-1] + step_s)
    for (t0, before), (t1, now) in pairwise(zip(times, drive(METER, device, times), strict=True)):
        ran = now[water.VOLUME_M3] - before[water.VOLUME_M3]
        assert -1e-12 <= ran <= 0.000_35 * (t1 - t0) + 1e-9
        assert now[water.PULSES] == int(now[water.VOLUME_M3] * now[water.PULSES_PER_M3])
        assert 0.0 <= now[water.FLOW_MIN] <= now[water.FLOW_MAX]
        assert now[water.LEAK_DETECTED] is False


def test_volume_does_not_depend_on_how_often_it_is_measured(drive: Drive) -> None:
    leak = [Incident("leak", MIDNIGHT + 1000, MIDNIGHT + 1300)]
    fine = drive(METER, HERE, [MIDNIGHT + 7.0 * step for step in range(2001)], leak)[-1]
    coarse = drive(METER, HERE, [MIDNIGHT, MIDNIGHT + 14_000.0], leak)[-1]
    assert fine[water.VOLUME_M3] == pytest.approx(coarse[water.VOLUME_M3], abs=1e-9)


def test_volume_is_the_integral_of_the_flow() -> None:
    memory = water.new_memory(HERE, MIDNIGHT)
    times = [MIDNIGHT + 25_200 + 0.5 * step for step in range(14_400)]
    summed = sum(water.flow_m3_s(HERE, memory.key, t_s, ()) * 0.5 for t_s in times)
    exact = water.drawn_m3(HERE, memory.key, times[0], times[-1] + 0.5, ())
    assert exact > 0
    assert summed == pytest.approx(exact, rel=0.02)


def test_more_water_runs_in_the_morning_than_at_night() -> None:
    used = {"night": 0.0, "morning": 0.0}
    for number in range(30):
        device = DeviceIdentity(f"meter-{number}", "X", "water_meter", 53.5, 0.0, 1)
        key = water.new_memory(device, MIDNIGHT).key
        used["night"] += water.drawn_m3(device, key, MIDNIGHT + 3600, MIDNIGHT + 14_400, ())
        used["morning"] += water.drawn_m3(device, key, MIDNIGHT + 21_600, MIDNIGHT + 32_400, ())
    assert used["morning"] > 4 * used["night"]


def test_a_flow_that_never_ends_is_suspected_and_then_cleared(drive: Drive) -> None:
    leak = Incident("leak", MIDNIGHT + 60, MIDNIGHT + 9_000)
    times = [MIDNIGHT + 60.0 * step for step in range(240)]
    states = [values[water.LEAK_SUSPECTED] for values in drive(METER, HERE, times, [leak])]
    assert states.index(True) == 122
    assert sum(before != now for before, now in pairwise(states)) == 2
    assert states[-1] is False
