"""A waste bin's values hang together: level, distance, flags, collections."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_devices.devices import Changes, DeviceIdentity, Incident
from fake_devices.devices import waste_bin as waste

Drive = Callable[..., list[Changes]]
BIN = waste.WASTE_BIN
HERE = DeviceIdentity("bin-0001", "X", "waste_bin", 53.5, 8.6, 5)
MIDNIGHT = 1_781_913_600.0
devices = st.builds(
    DeviceIdentity,
    endpoint=st.from_regex(r"bin-[0-9]{4}", fullmatch=True),
    serial=st.just("X-1"),
    model=st.just("waste_bin"),
    latitude=st.just(53.5),
    longitude=st.floats(-180.0, 180.0),
    seed=st.integers(0, 2**32),
)


@settings(max_examples=25, deadline=None)
@given(device=devices, begins=st.floats(1.6e9, 2.0e9), step_s=st.floats(1, 9_000))
def test_distance_is_height_less_level_and_a_bin_only_empties_by_collection(
    drive: Drive, device: DeviceIdentity, begins: float, step_s: float
) -> None:
    seen = drive(BIN, device, [begins + step_s * n for n in range(50)])
    for before, now in pairwise(seen):
        assert now[waste.DISTANCE.value] == now[waste.HEIGHT_CM] - now[waste.LEVEL_CM]
        assert 0 <= now[waste.FILLING_PERCENT] <= 100
        if now[waste.COLLECTIONS] == before[waste.COLLECTIONS]:
            assert now[waste.FILLING_PERCENT] >= before[waste.FILLING_PERCENT]
        assert not (now[waste.IS_FULL] and now[waste.IS_EMPTY])


def test_what_is_in_a_bin_does_not_depend_on_how_often_it_is_measured(drive: Drive) -> None:
    fine = drive(BIN, HERE, [MIDNIGHT + 60.0 * step for step in range(4_001)])[-1]
    coarse = drive(BIN, HERE, [MIDNIGHT, MIDNIGHT + 240_000.0])[-1]
    fresh = drive(BIN, HERE, [MIDNIGHT + 240_000.0])[-1]
    filled = fine[waste.FILLING_PERCENT]
    assert filled == pytest.approx(coarse[waste.FILLING_PERCENT], abs=0.011)
    assert filled == pytest.approx(fresh[waste.FILLING_PERCENT], abs=0.011)


def test_a_lorry_comes_every_second_morning(drive: Drive) -> None:
    seen = drive(BIN, HERE, [MIDNIGHT + 3_600.0 * step for step in range(24 * 8)])
    assert seen[-1][waste.COLLECTIONS] - seen[0][waste.COLLECTIONS] == 4


def test_the_full_alarm_stands_until_well_below_its_threshold(drive: Drive) -> None:
    times = [MIDNIGHT + 1.0, MIDNIGHT + 2.0, MIDNIGHT + 3.0]
    filled = drive(BIN, HERE, times)[0][waste.FILLING_PERCENT]
    just_below, far_below = filled + 5.0, filled + 15.0
    writes = {
        1: {waste.HIGH_THRESHOLD: just_below, waste.IS_FULL: True},
        2: {waste.HIGH_THRESHOLD: far_below},
    }
    assert [v[waste.IS_FULL] for v in drive(BIN, HERE, times, writes=writes)] == [
        False,
        True,
        False,
    ]


def test_an_overfilled_bin_is_emptied_when_the_incident_ends(drive: Drive) -> None:
    incident = Incident("overfilled", MIDNIGHT + 40_000, MIDNIGHT + 40_060)
    times = [MIDNIGHT + 39_990, MIDNIGHT + 40_010, MIDNIGHT + 40_070]
    before, during, after = drive(BIN, HERE, times, [incident])
    assert during[waste.FILLING_PERCENT] >= 98
    assert during[waste.COLLECTIONS] == before[waste.COLLECTIONS]
    assert after[waste.FILLING_PERCENT] < 10
    assert after[waste.COLLECTIONS] == before[waste.COLLECTIONS] + 1
