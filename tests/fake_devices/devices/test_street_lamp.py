"""A lamp's values hang together: power, energy, hours, levels, photocell, light."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_devices.behaviours.sun import solar_elevation_deg
from fake_devices.devices import Changes, DeviceIdentity, Incident
from fake_devices.devices import street_lamp as lamp

Drive = Callable[..., list[Changes]]
LAMP = lamp.STREET_LAMP
HERE = DeviceIdentity("lamp-0001", "X-1", "street_lamp", 53.54, 8.57, 7)
# 2026-06-20 12:00 UTC, and the midnight after it.
NOON = 1_781_956_800.0
MIDNIGHT = NOON + 43_200.0
DAY = [NOON + 300.0 * step for step in range(289)]

devices = st.builds(
    DeviceIdentity,
    endpoint=st.from_regex(r"lamp-[0-9]{4}", fullmatch=True),
    serial=st.just("X-1"),
    model=st.just("street_lamp"),
    latitude=st.floats(-65.0, 69.0),
    longitude=st.floats(-180.0, 180.0),
    seed=st.integers(0, 2**32),
)
histories = st.lists(
    st.tuples(st.floats(0.2, 3_000.0), st.none() | st.integers(0, 100)), max_size=25
)


def _live(
    drive: Drive, device: DeviceIdentity, begins: float, steps: list[tuple[float, int | None]]
) -> tuple[list[float], list[Changes]]:
    times, writes = [begins], {}
    for number, (step_s, level) in enumerate(steps, start=1):
        times.append(times[-1] + step_s)
        if level is not None:
            writes[number] = {lamp.COMMAND: level}
    return times, drive(LAMP, device, times, writes=writes)


@settings(max_examples=40, deadline=None)
@given(device=devices, begins=st.floats(1.6e9, 2.0e9), steps=histories)
def test_electricity_adds_up_whatever_is_commanded(
    drive: Drive, device: DeviceIdentity, begins: float, steps: list[tuple[float, int | None]]
) -> None:
    times, seen = _live(drive, device, begins, steps)
    for values in seen:
        level = values[lamp.DIMMING_LEVEL]
        power = lamp.power_w(level, lamp.nominal_power_w(device))
        assert values[lamp.POWER] == pytest.approx(power, abs=0.006)
        volt_amperes = values[lamp.VOLTAGE] * values[lamp.CURRENT]
        assert volt_amperes * values[lamp.POWER_FACTOR] == pytest.approx(
            values[lamp.POWER], abs=0.01
        )
        assert 0.0 <= values[lamp.LIGHT_POWER] <= values[lamp.POWER]
        assert (values[lamp.LIGHT_POWER] > 0.0) == (level > 0)
    for (t0, before), (t1, now) in pairwise(zip(times, seen, strict=True)):
        mean_w = (before[lamp.POWER] + now[lamp.POWER]) / 2
        used_wh = now[lamp.ENERGY_WH] - before[lamp.ENERGY_WH]
        assert used_wh == pytest.approx(mean_w * (t1 - t0) / 3600, rel=1e-6, abs=1e-6)
        assert used_wh >= 0.0
        burnt_h = now[lamp.OPERATING_HOURS] - before[lamp.OPERATING_HOURS]
        lit = before[lamp.LIGHT_POWER] > 0.0
        assert burnt_h == pytest.approx((t1 - t0) / 3600 if lit else 0.0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(device=devices, begins=st.floats(1.6e9, 2.0e9), steps=histories)
def test_light_control_mirrors_the_lamp_controller(
    drive: Drive, device: DeviceIdentity, begins: float, steps: list[tuple[float, int | None]]
) -> None:
    for values in _live(drive, device, begins, steps)[1]:
        assert values[lamp.DIMMER] == values[lamp.DIMMING_LEVEL] == values[lamp.MONITOR_LEVEL]
        assert values[lamp.ON_OFF] is (values[lamp.DIMMING_LEVEL] > 0)
        assert values[lamp.COMMAND] == values[lamp.COMMAND_IN_ACTION]
        assert values[lamp.LIGHT_ENERGY_WH] == values[lamp.LIGHT_ENERGY_KWH] * 1000


@settings(max_examples=40, deadline=None)
@given(device=devices, begins=st.floats(1.6e9, 2.0e9), level=st.integers(0, 100))
def test_a_commanded_level_applies_by_day_and_by_night_after_its_fade(
    drive: Drive, device: DeviceIdentity, begins: float, level: int
) -> None:
    times = [begins, begins + 1.0, begins + 3.0, begins + 60.0]
    seen = drive(LAMP, device, times, writes={1: {lamp.COMMAND: level}})
    assert [values[lamp.DIMMING_LEVEL] for values in seen[2:]] == [level, level]


def test_levels_fade_and_do_not_jump(drive: Drive) -> None:
    times = [NOON, NOON + 1, NOON + 1.25, NOON + 1.5, NOON + 2]
    seen = drive(LAMP, HERE, times, writes={1: {lamp.COMMAND: 80}})
    assert [values[lamp.DIMMING_LEVEL] for values in seen] == [0, 0, 20, 40, 80]
    assert [values[lamp.COMMAND_IN_ACTION] for values in seen] == [0, 80, 80, 80, 80]


def test_an_override_ends_and_the_photocell_rules_again(drive: Drive) -> None:
    times = [NOON, NOON + 1, NOON + 60, NOON + 28_900, NOON + 28_960]
    seen = drive(LAMP, HERE, times, writes={1: {lamp.COMMAND: 30}})
    assert [values[lamp.OVERRIDE_ACTIVE] for values in seen] == [False, True, True, False, False]
    night = seen[-1][lamp.PHOTOCELL]
    assert seen[-1][lamp.DIMMING_LEVEL] == (100 if night else 0)
    assert seen[1][lamp.OVERRIDE_END] - seen[1][lamp.OVERRIDE_START] == 28_800


def test_the_dimmer_and_the_switch_of_light_control_command_the_lamp_too(drive: Drive) -> None:
    times = [NOON + 10 * step for step in range(7)]
    writes = {1: {lamp.DIMMER: 40}, 3: {lamp.ON_OFF: False}, 5: {lamp.ON_OFF: True}}
    seen = drive(LAMP, HERE, times, writes=writes)
    assert [seen[n][lamp.DIMMING_LEVEL] for n in (2, 4, 6)] == [40, 0, 100]


def test_the_photocell_follows_the_sun_with_hysteresis(drive: Drive) -> None:
    seen = drive(LAMP, HERE, DAY)
    states = [values[lamp.PHOTOCELL] for values in seen]
    assert sum(before != now for before, now in pairwise(states)) == 2
    for t_s, values in zip(DAY, seen, strict=True):
        elevation = solar_elevation_deg(HERE.latitude, HERE.longitude, t_s)
        if elevation > 3.0:
            assert values[lamp.PHOTOCELL] is False
        if elevation < -6.0:
            assert values[lamp.PHOTOCELL] is True


def test_by_itself_a_lamp_burns_at_night_and_not_by_day(drive: Drive) -> None:
    seen = drive(LAMP, HERE, DAY)
    for before, now in pairwise(seen):
        if before[lamp.PHOTOCELL] == now[lamp.PHOTOCELL]:
            assert now[lamp.DIMMING_LEVEL] == (100 if now[lamp.PHOTOCELL] else 0)
    assert seen[-1][lamp.SWITCH_COUNTER] == seen[0][lamp.SWITCH_COUNTER] + 1


def test_illuminance_follows_the_sun_and_sees_the_lamps_own_light(drive: Drive) -> None:
    noon, dusk = drive(LAMP, HERE, [NOON])[0], drive(LAMP, HERE, [MIDNIGHT - 2.5 * 3600])[0]
    assert noon[lamp.ILLUMINANCE.value] > 10_000 > dusk[lamp.ILLUMINANCE.value]
    bright, dark = drive(
        LAMP, HERE, [MIDNIGHT, MIDNIGHT + 1, MIDNIGHT + 10], writes={1: {lamp.COMMAND: 0}}
    )[::2]
    assert bright[lamp.ILLUMINANCE.value] - dark[lamp.ILLUMINANCE.value] == pytest.approx(
        6, abs=0.1
    )
    assert dark[lamp.ILLUMINANCE.lowest] == dark[lamp.ILLUMINANCE.value]
    assert dark[lamp.ILLUMINANCE.highest] == bright[lamp.ILLUMINANCE.value]


def test_a_failed_lamp_draws_standby_power_and_still_takes_commands(drive: Drive) -> None:
    failure = Incident("lamp_failure", MIDNIGHT, MIDNIGHT + 60)
    times = [MIDNIGHT - 60, MIDNIGHT, MIDNIGHT + 30, MIDNIGHT + 90]
    before, failed, dimmed, repaired = drive(
        LAMP, HERE, times, [failure], writes={1: {lamp.COMMAND: 50}}
    )
    assert before[lamp.POWER] > 30
    assert failed[lamp.POWER] == dimmed[lamp.POWER] == lamp.STANDBY_W
    assert dimmed[lamp.DIMMING_LEVEL] == 50
    assert dimmed[lamp.OPERATING_HOURS] == failed[lamp.OPERATING_HOURS]
    assert repaired[lamp.LAMP_FAILURE] is False
    assert repaired[lamp.POWER] > 15


def test_a_level_out_of_range_is_kept_within_it(drive: Drive) -> None:
    times = [NOON, NOON + 1, NOON + 10]
    assert drive(LAMP, HERE, times, writes={1: {lamp.COMMAND: 400}})[-1][lamp.DIMMING_LEVEL] == 100
