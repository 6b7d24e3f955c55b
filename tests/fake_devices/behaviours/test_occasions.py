"""Things that happen now and then: found at any moment, within their slots, by rhythm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fake_devices.behaviours.noise import stream_key
from fake_devices.behaviours.occasions import Pattern, at_time, in_slot, overlapping
from fake_devices.behaviours.rhythm import at_hour, local_day, local_hour

ALWAYS = Pattern(600.0, 20.0, 10.0, 500.0, (1.0,) * 24)
NEVER = ALWAYS._replace(likelihood=(0.0,) * 24)
keys = st.integers(0, 2**64 - 1)


@given(key=keys, slot=st.integers(0, 4_000_000))
def test_an_occasion_lies_within_its_slot_after_the_gap(key: int, slot: int) -> None:
    found = in_slot(key, ALWAYS, 0.0, slot)
    assert found is not None
    assert slot * 600.0 + 20.0 <= found.begins_s + 1e-6
    assert found.ends_s <= (slot + 1) * 600.0 + 1e-6
    assert 10.0 - 1e-6 <= found.ends_s - found.begins_s <= 500.0 + 1e-6
    assert in_slot(key, NEVER, 0.0, slot) is None


@given(key=keys, t_s=st.floats(0, 2e9))
def test_what_goes_on_at_a_moment_is_what_overlaps_it(key: int, t_s: float) -> None:
    now = at_time(key, ALWAYS, 8.0, t_s)
    around = list(overlapping(key, ALWAYS, 8.0, t_s - 1_200.0, t_s + 1_200.0))
    assert around == sorted(around)
    assert [o for o in around if o.begins_s <= t_s < o.ends_s] == ([] if now is None else [now])


def test_likelihood_follows_the_hour_of_the_place() -> None:
    mornings = NEVER._replace(likelihood=(0.0,) * 6 + (1.0,) * 6 + (0.0,) * 12)
    key = stream_key(1, "x")
    begins = [o.begins_s for o in overlapping(key, mornings, 90.0, 0.0, 86_400.0 * 3)]
    assert begins
    assert all(5.0 <= local_hour(90.0, t_s) <= 12.5 for t_s in begins)


def test_profiles_are_straight_between_hours_and_joined_at_midnight() -> None:
    profile = tuple(float(hour) for hour in range(24))
    assert at_hour(profile, 6.25) == 6.25
    assert at_hour(profile, 23.5) == 11.5


def test_local_days_turn_at_local_midnight() -> None:
    assert local_day(0.0, 86_399.9) == 0
    assert local_day(15.0, 82_800.0) == 1
    assert local_hour(-15.0, 3_600.0) == 0.0
