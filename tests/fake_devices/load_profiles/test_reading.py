"""Profiles are read from TOML; what is wrong is told with file, line and key."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_devices.load_profiles import (
    KINDS,
    IllegalProfile,
    LoadProfile,
    PowerCut,
    Ramp,
    Replay,
    parse_profile,
    read_arrivals,
    read_profile,
)
from fake_devices.load_profiles.reference import COMMAND, PAGE, reference_page

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "fixtures" / "load_profiles").glob("*.toml"))
GOOD = """
[[registrations]]
shape = "ramp"
from_per_s = 10
to_per_s = 100
duration_s = 30

[[reconnects]]
shape = "power_cut"
begins_s = 40
outage_s = 5
return_within_s = 20

[limits]
lag_p99_ms = 80
"""


def test_a_profile_is_the_same_from_toml_and_from_code():
    found = parse_profile(GOOD.encode(), "evening.toml")
    assert found.limits.lag_p99_ms == 80
    assert found == LoadProfile(
        name="evening",
        registrations=(Ramp(from_per_s=10, to_per_s=100, duration_s=30),),
        reconnects=(PowerCut(begins_s=40, outage_s=5, return_within_s=20),),
        limits=found.limits,
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_can_be_followed(path):
    profile = read_profile(path)
    assert profile.name == path.stem
    assert profile.count("registrations") == len(list(profile.times_s("registrations", 1)))
    assert profile.duration_s > 0
    assert any(profile.phases(kind) for kind in KINDS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace("from_per_s = 10", "from_per_s = -1"), "line 4: registrations[0].from_per_s"),
        (GOOD.replace("to_per_s = 100", "to_per_s = 'x'"), "line 5: registrations[0].to_per_s"),
        (GOOD.replace('"power_cut"', '"zigzag"'), "line 9: reconnects[0].shape"),
        (GOOD.replace("lag_p99_ms = 80", "lag_p99_ms = 0"), "line 15: limits.lag_p99_ms"),
        (GOOD + "lag = 3", "line 16: limits: object contains unknown field `lag`"),
        (GOOD.replace("outage_s = 5\n", ""), "line 8: reconnects[0]: object missing required"),
        (GOOD.replace("[[reconnects]]", "[[telemetry]]"), "line 9: telemetry[0].shape"),
        ("registrations = 3", "line 1: registrations: expected `array`"),
        ("tempo = 3", "unknown field `tempo`; keys are name, registrations"),
        ("registrations = [", "not TOML"),
        ('[[commands]]\nshape = "replay"\nfile = "nowhere.txt"', "cannot read"),
    ],
)
def test_a_fault_is_told_with_its_line_and_key(text, told, tmp_path):
    with pytest.raises(IllegalProfile) as refused:
        parse_profile(text.encode(), "evening.toml", tmp_path)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_recorded_arrivals_are_read_from_beside_the_profile(tmp_path):
    (tmp_path / "arrivals.txt").write_text("# begun at noon\n0\n0.5  # the second\n\n2\n")
    (tmp_path / "again.toml").write_text(
        '[[registrations]]\nshape = "replay"\nfile = "arrivals.txt"\nspeed = 2\n'
    )
    profile = read_profile(tmp_path / "again.toml")
    assert profile.registrations == (Replay(times_s=(0.0, 0.5, 2.0), speed=2),)
    assert list(profile.times_s("registrations", 1)) == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0\nsoon\n", "line 2: b'soon' is no number"),
        ("3\n2\n", "line 2: 2 comes after 3"),
        ("-1\n", "line 1: -1 s"),
        ("nan\n", "line 1"),
        ("# none\n", "there is no arrival"),
    ],
)
def test_a_fault_in_recorded_arrivals_is_told_with_its_line(text, told, tmp_path):
    path = tmp_path / "arrivals.txt"
    path.write_text(text)
    with pytest.raises(IllegalProfile) as refused:
        read_arrivals(path)
    assert told in str(refused.value)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_be_refused(data):
    with contextlib.suppress(IllegalProfile):
        assert parse_profile(data, "any.toml").duration_s >= 0


KEYS = st.sampled_from(("shape", "begins_s", "rate_per_s", "duration_s", "times_s", "file", "x"))
VALUES = st.sampled_from(('"constant"', '"replay"', '"power_cut"', "1", "-1", "1e9", "[1]", "nan"))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from((*KINDS, "limits")), st.dictionaries(KEYS, VALUES, max_size=5)),
        max_size=3,
    )
)
def test_no_tables_do_worse_than_be_refused(tables):
    lines = [
        f"[[{kind}]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for kind, keys in tables
    ]
    with contextlib.suppress(IllegalProfile):
        assert parse_profile("".join(lines).encode(), "any.toml").duration_s >= 0


def test_the_reference_page_is_not_stale():
    assert (ROOT / PAGE).read_text() == reference_page(), f"{COMMAND} > {PAGE}"
