"""An air monitor's values hang together: dust sizes, ozone and exhaust, humidity and heat."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import correlation

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_devices.devices import Changes, DeviceIdentity, Incident
from fake_devices.devices import air_monitor as air

Drive = Callable[..., list[Changes]]
MONITOR = air.AIR_MONITOR
MIDNIGHT = 1_781_913_600.0
devices = st.builds(
    DeviceIdentity,
    endpoint=st.from_regex(r"air-[0-9]{4}", fullmatch=True),
    serial=st.just("X-1"),
    model=st.just("air_monitor"),
    latitude=st.floats(-60.0, 65.0),
    longitude=st.floats(-180.0, 180.0),
    seed=st.integers(0, 2**32),
)


@settings(max_examples=15, deadline=None)
@given(device=devices, begins=st.floats(1.6e9, 2.0e9), step_s=st.floats(1, 1800))
def test_finer_dust_is_part_of_coarser_dust_and_nothing_is_negative(
    drive: Drive, device: DeviceIdentity, begins: float, step_s: float
) -> None:
    smog = [Incident("smog", begins + 5 * step_s, begins + 10 * step_s)]
    for values in drive(MONITOR, device, [begins + step_s * n for n in range(40)], smog):
        assert 0 <= values[air.PM1] <= values[air.PM25] <= values[air.PM10]
        assert min(values[air.NO2], values[air.O3], values[air.CO], values[air.CO2]) > 0
        assert 0 <= values[air.HUMIDITY.value] <= 100
        assert values[air.CO2] == values[air.CONCENTRATION.value]


@pytest.mark.parametrize("seed", range(4))
def test_ozone_and_humidity_run_against_exhaust_and_temperature(drive: Drive, seed: int) -> None:
    device = DeviceIdentity("air-0001", "X", "air_monitor", 53.5, 8.6, seed)
    seen = drive(MONITOR, device, [MIDNIGHT + 900.0 * step for step in range(97)])
    assert correlation([v[air.NO2] for v in seen], [v[air.O3] for v in seen]) < -0.7
    temperatures = [v[air.TEMPERATURE.value] for v in seen]
    assert correlation(temperatures, [v[air.HUMIDITY.value] for v in seen]) < -0.6


def test_it_is_warmest_in_the_afternoon(drive: Drive) -> None:
    device = DeviceIdentity("air-0001", "X", "air_monitor", 53.5, 0.0, 2)
    seen = drive(MONITOR, device, [MIDNIGHT + 3600.0 * step for step in range(24)])
    temperatures = [values[air.TEMPERATURE.value] for values in seen]
    assert 11 <= temperatures.index(max(temperatures)) <= 18


def test_dust_that_hovers_about_the_threshold_does_not_make_the_alarm_flap() -> None:
    device = DeviceIdentity("air-0001", "X", "air_monitor", 53.5, 8.6, 1)
    values, memory = MONITOR.initial(device, MIDNIGHT), MONITOR.new_memory(device, MIDNIGHT)
    values[air.PM25] = shown = air.PM25_THRESHOLD_UG_M3 + 0.01
    natural = air.fine_dust_ug_m3(device, memory, MIDNIGHT, ())
    assert air._dead_band(values, shown - 1.4) == shown
    assert air._dead_band(values, shown + 1.4) == shown
    assert air._dead_band(values, shown - 1.6) < air.PM25_THRESHOLD_UG_M3
    assert natural < air.PM25_THRESHOLD_UG_M3


def test_daily_means_move_slowly_towards_what_is_measured(drive: Drive) -> None:
    device = DeviceIdentity("air-0001", "X", "air_monitor", 53.5, 8.6, 1)
    smog = [Incident("smog", MIDNIGHT + 60, MIDNIGHT + 7_200)]
    seen = drive(MONITOR, device, [MIDNIGHT + 60.0 * step for step in range(120)], smog)
    means = [values[air.PM25_DAY] for values in seen]
    assert all(before <= now for before, now in pairwise(means))
    assert means[0] < means[-1] < seen[-1][air.PM25]


@pytest.mark.parametrize("seed", range(3))
def test_rain_washes_cools_and_damps_the_air_while_it_lasts(drive: Drive, seed: int) -> None:
    device = DeviceIdentity("air-0001", "X", "air_monitor", 53.5, 8.6, seed)
    times = [MIDNIGHT + 900.0 * step for step in range(48)]
    rain = [Incident(air.RAIN, times[12], times[24])]
    dry, wet = drive(MONITOR, device, times), drive(MONITOR, device, times, rain)
    during = list(zip(dry[12:24], wet[12:24], strict=True))
    assert all(w[air.PM25] < d[air.PM25] for d, w in during)
    assert all(w[air.TEMPERATURE.value] < d[air.TEMPERATURE.value] for d, w in during)
    assert all(w[air.HUMIDITY.value] >= 90 for _, w in during)
    assert [v[air.TEMPERATURE.value] for v in wet[24:]] == [
        v[air.TEMPERATURE.value] for v in dry[24:]
    ]
