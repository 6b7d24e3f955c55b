"""Profiles have exactly the events that their rates come to, at the moments that they say."""

from __future__ import annotations

import heapq
import math
from itertools import islice, pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_devices.load_profiles import (
    Bursts,
    Constant,
    IllegalProfile,
    LoadProfile,
    Poisson,
    PowerCut,
    Ramp,
    Replay,
    Share,
    Steps,
    Wave,
)

RATES = st.floats(0, 40).map(lambda rate: round(rate, 3))
DURATIONS = st.floats(0.5, 8).map(lambda seconds: round(seconds, 2))
SPACINGS = st.sampled_from(("even", "random"))
CONSTANTS = st.builds(Constant, rate_per_s=RATES, duration_s=DURATIONS, spacing=SPACINGS)
POISSONS = st.builds(Poisson, rate_per_s=RATES, duration_s=DURATIONS)
RAMPS = st.builds(Ramp, from_per_s=RATES, to_per_s=RATES, duration_s=DURATIONS, spacing=SPACINGS)
STEPS = st.builds(
    Steps,
    rates_per_s=st.lists(RATES, min_size=1, max_size=6).map(tuple),
    step_s=st.floats(0.5, 6),
    spacing=SPACINGS,
)
WAVES = st.builds(
    lambda low, more, period_s, duration_s, spacing: Wave(
        low_per_s=low,
        high_per_s=low + more,
        period_s=period_s,
        duration_s=duration_s,
        spacing=spacing,
    ),
    RATES,
    RATES,
    st.floats(1, 30),
    DURATIONS,
    SPACINGS,
)
BURSTS = st.builds(
    Bursts,
    events=st.integers(1, 40),
    bursts=st.integers(1, 10),
    every_s=st.floats(1, 10),
    over_s=st.floats(0, 1),
)
REPLAYS = st.builds(
    Replay,
    times_s=st.lists(st.floats(0, 60), min_size=1, max_size=50).map(lambda t: tuple(sorted(t))),
    speed=st.floats(0.5, 8),
)
PHASES = st.one_of(CONSTANTS, POISSONS, RAMPS, STEPS, WAVES, BURSTS, REPLAYS)


def integral(phase):
    match phase:
        case Constant() | Poisson():
            return phase.rate_per_s * phase.duration_s
        case Ramp():
            return (phase.from_per_s + phase.to_per_s) / 2 * phase.duration_s
        case Steps():
            return sum(phase.rates_per_s) * phase.step_s
        case Wave():
            return numerically(phase)
        case Bursts():
            return phase.events * phase.bursts
        case Replay():
            return len(phase.times_s)


def numerically(wave):
    """Simpson's rule over the rate as the documentation says it is."""
    pieces = 400
    middle, swing = (wave.high_per_s + wave.low_per_s) / 2, (wave.high_per_s - wave.low_per_s) / 2
    rates = [
        middle - swing * math.cos(2 * math.pi * n * wave.duration_s / pieces / wave.period_s)
        for n in range(pieces + 1)
    ]
    odd, even = sum(rates[1:-1:2]), sum(rates[2:-1:2])
    return wave.duration_s / pieces / 3 * (rates[0] + rates[-1] + 4 * odd + 2 * even)


@settings(deadline=None)
@given(PHASES, st.integers(0, 3))
def test_a_phase_has_as_many_events_as_its_rate_comes_to(phase, seed):
    times = list(phase.times(str(seed)))
    assert len(times) == phase.count
    assert abs(phase.count - integral(phase)) <= 0.5 + 1e-6
    assert all(a <= b for a, b in pairwise(times))
    assert all(-1e-9 <= at_s <= phase.lasts_s + 1e-6 for at_s in times)
    assert list(phase.times(str(seed))) == times


@settings(deadline=None)
@given(st.one_of(CONSTANTS, RAMPS, STEPS, WAVES), st.floats(0, 1))
def test_even_events_are_never_more_than_half_an_event_away_from_the_rate(phase, part):
    even = msgspec.structs.replace(phase, spacing="even")
    upto_s = part * even.lasts_s
    seen = sum(at_s <= upto_s for at_s in even.times(""))
    match even:
        case Constant():
            meant = even.rate_per_s * upto_s
        case Ramp():
            slope = (even.to_per_s - even.from_per_s) / even.duration_s
            meant = even.from_per_s * upto_s + slope * upto_s**2 / 2
        case Steps():
            whole = min(len(even.rates_per_s) - 1, int(upto_s / even.step_s))
            meant = sum(even.rates_per_s[:whole]) * even.step_s
            meant += even.rates_per_s[whole] * (upto_s - whole * even.step_s)
        case _:
            meant = numerically(msgspec.structs.replace(even, duration_s=max(1e-6, upto_s)))
    assert abs(seen - meant) <= 0.5 + 1e-3


@settings(deadline=None, max_examples=40)
@given(st.lists(PHASES, min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 2**31))
def test_the_shares_of_a_profile_are_together_exactly_the_whole(phases, of, seed):
    profile = LoadProfile(telemetry=tuple(phases))
    whole = list(profile.times_s("telemetry", seed))
    shares = [list(profile.times_s("telemetry", seed, Share(first, of))) for first in range(of)]
    assert list(heapq.merge(*shares)) == whole
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(whole) == profile.count("telemetry")


def test_phases_follow_each_other_unless_they_say_when_they_begin():
    first = Constant(rate_per_s=1, duration_s=3)
    overlapping = Constant(rate_per_s=1, duration_s=2, begins_s=1)
    last = Bursts(events=2, bursts=1, every_s=1)
    profile = LoadProfile(registrations=(first, overlapping, last))
    assert profile.begins_s("registrations") == [0.0, 1.0, 3.0]
    assert list(profile.times_s("registrations", 1)) == [0.5, 1.5, 1.5, 2.5, 2.5, 3.0, 3.0]
    assert profile.duration_s == 4.0


def test_random_events_depend_on_the_seed_and_are_spread_as_a_poisson_process_is():
    phase = Poisson(rate_per_s=100, duration_s=200)
    profile = LoadProfile(telemetry=(phase,))
    times = list(profile.times_s("telemetry", 1))
    assert times != list(profile.times_s("telemetry", 2))
    gaps = [b - a for a, b in pairwise(times)]
    mean_s = sum(gaps) / len(gaps)
    # Of exponential gaps the deviation is as large as the mean, and e**-1 are longer than it.
    deviation_s = math.sqrt(sum((gap - mean_s) ** 2 for gap in gaps) / len(gaps))
    assert deviation_s == pytest.approx(mean_s, rel=0.05)
    assert sum(gap > mean_s for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), abs=0.02)


def test_a_long_profile_is_a_stream_that_keeps_nothing():
    profile = LoadProfile(telemetry=(Wave(
        low_per_s=0, high_per_s=1_000, period_s=600, duration_s=10_000
    ),))  # fmt: skip
    assert len(list(islice(profile.times_s("telemetry", 1), 5))) == 5


@given(st.integers(0, 500), st.floats(0.01, 1), st.integers(1, 4))
def test_everybody_returns_from_a_power_cut_within_its_window(devices, ratio, of):
    cut = PowerCut(outage_s=3, return_within_s=10, ratio=ratio)
    hit = cut.hit(devices)
    assert abs(hit - ratio * devices) <= 0.5 + 1e-6
    for share in range(of):
        returns = list(cut.returns_s(hit, share, of))
        assert len(returns) == hit
        assert all(3 <= at_s <= 13 for at_s in returns)
        assert all(a < b for a, b in pairwise(returns))


@pytest.mark.parametrize(
    ("phases", "told"),
    [
        ({"commands": (Constant(rate_per_s=1e6, duration_s=11),)}, "commands[0].shape"),
        ({"telemetry": (Bursts(events=2, bursts=2, every_s=1, over_s=2),)}, "over_s"),
        (
            {"telemetry": (Wave(low_per_s=2, high_per_s=1, period_s=1, duration_s=1),)},
            "low_per_s",
        ),
        ({"registrations": (Replay(times_s=(2.0, 1.0)),)}, "times_s"),
    ],
)
def test_a_profile_that_cannot_be_followed_is_refused(phases, told):
    with pytest.raises(IllegalProfile) as refused:
        LoadProfile(**phases)
    assert told in str(refused.value)
