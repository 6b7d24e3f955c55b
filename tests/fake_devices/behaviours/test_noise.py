"""Chance without state: known outputs, spread, and independence of the order of questions."""

from __future__ import annotations

from statistics import fmean, pstdev

from hypothesis import given
from hypothesis import strategies as st

from fake_devices.behaviours.noise import between, mix, smooth, stream_key, uniform

keys = st.integers(0, 2**64 - 1)


def test_mixing_gives_the_published_outputs_of_splitmix64() -> None:
    # Seed 1234567, as listed for splitmix64 on Rosetta Code ("Pseudo-random numbers/Splitmix64").
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [mix(1234567, counter) for counter in range(5)] == published


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    drawn = [uniform(stream_key(1, "device"), counter) for counter in range(4_000)]
    assert 0.0 <= min(drawn) < 0.01
    assert 0.99 < max(drawn) < 1.0
    assert abs(fmean(drawn) - 0.5) < 0.02
    assert abs(pstdev(drawn) - 12**-0.5) < 0.01


@given(key=keys, counter=st.integers(-(2**40), 2**40))
def test_a_number_depends_on_key_and_counter_alone(key: int, counter: int) -> None:
    assert uniform(key, counter) == uniform(key, counter)
    assert 0.0 <= uniform(key, counter) < 1.0
    assert -3.0 <= between(key, counter, -3.0, 4.0) < 4.0


def test_keys_differ_by_seed_device_and_purpose_however_they_are_split() -> None:
    names = [(1, "a", "b"), (2, "a", "b"), (1, "b", "a"), (1, "ab"), (1, "a"), (11, "a"), (1, "1a")]
    assert len({stream_key(seed, *rest) for seed, *rest in names}) == len(names)


@given(key=keys, t_s=st.floats(0.0, 4e9), period_s=st.floats(1.0, 1e5))
def test_smooth_signals_stay_in_range_and_do_not_jump(
    key: int, t_s: float, period_s: float
) -> None:
    here = smooth(key, t_s, period_s)
    assert -1.0 <= here <= 1.0
    # The steepest slope of the blend is 1.5 a period, over a span of 2.
    assert abs(smooth(key, t_s + period_s / 1_000, period_s) - here) < 0.004
