"""A parking spot's values hang together: occupancy, presence, counter, durations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fake_devices.devices import Changes, DeviceIdentity, Incident
from fake_devices.devices import parking_spot as parking

Drive = Callable[..., list[Changes]]
SPOT = parking.PARKING_SPOT
MIDNIGHT = 1_781_913_600.0
devices = st.builds(
    DeviceIdentity,
    endpoint=st.from_regex(r"spot-[0-9]{4}", fullmatch=True),
    serial=st.just("X-1"),
    model=st.just("parking_spot"),
    latitude=st.just(53.5),
    longitude=st.floats(-180.0, 180.0),
    seed=st.integers(0, 2**32),
)


@settings(max_examples=25, deadline=None)
@given(
    device=devices, begins=st.floats(1.6e9, 2.0e9), steps=st.lists(st.floats(1, 900), max_size=120)
)
def test_presence_mirrors_occupancy_and_the_counter_counts_arrivals(
    drive: Drive, device: DeviceIdentity, begins: float, steps: list[float]
) -> None:
    times = [begins]
    for step_s in steps:
        times.append(times[-1] + step_s)
    seen = drive(SPOT, device, times)
    for (t0, before), (t1, now) in pairwise(zip(times, seen, strict=True)):
        assert now[parking.PRESENCE] is now[parking.OCCUPANCY]
        arrived = now[parking.OCCUPANCY] and not before[parking.OCCUPANCY]
        assert now[parking.PRESENCE_COUNTER] - before[parking.PRESENCE_COUNTER] == arrived
        if not now[parking.OCCUPANCY] or arrived:
            assert now[parking.DURATION_S] == 0
        else:
            assert abs(now[parking.DURATION_S] - before[parking.DURATION_S] - (t1 - t0)) <= 1
        assert now[parking.FORBIDDEN_PARKING] is False
        assert 0 <= now[parking.DAILY_DURATION_S] <= 86_400


def test_spots_are_taken_by_day_and_free_at_night(drive: Drive) -> None:
    taken = dict.fromkeys(range(24), 0)
    for number in range(20):
        device = DeviceIdentity(f"spot-{number}", "X", "parking_spot", 53.5, 0.0, 1)
        times = [MIDNIGHT + 1800.0 * step for step in range(48)]
        for t_s, values in zip(times, drive(SPOT, device, times), strict=True):
            taken[int((t_s - MIDNIGHT) // 3600)] += values[parking.OCCUPANCY]
    assert sum(taken[hour] for hour in range(9, 18)) > 4 * sum(taken[hour] for hour in range(5))


def test_who_overstays_leaves_the_spot_free(drive: Drive) -> None:
    device = DeviceIdentity("spot-0001", "X", "parking_spot", 53.5, 0.0, 1)
    begins = MIDNIGHT + 36_000
    stay = Incident("overstay", begins, begins + 60)
    seen = drive(SPOT, device, [begins + 5.0 * step for step in range(-2, 20)], [stay])
    assert [values[parking.OCCUPANCY] for values in seen[2:14]] == [True] * 12
    assert [values[parking.OCCUPANCY] for values in seen[14:]] == [False] * 8
    assert [values[parking.DURATION_S] for values in seen[14:]] == [0] * 8
