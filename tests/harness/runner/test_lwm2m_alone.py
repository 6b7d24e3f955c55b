"""What a scenario without a platform runs with, and the schedules that stories write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.schedule import ScheduleHeader, ScheduleReader, encode_event, encode_header
from fake_devices.load_profiles import Constant, LoadProfile
from harness.bench import configs
from harness.bench.bench import BenchPlan
from harness.errors import ScenarioError
from harness.runner.cohort import DEFAULT_MANIFEST, Lamps, choose, lamps_alone
from harness.runner.scenario import RunOptions, Scenario, find_scenarios, sized
from harness.runner.schedules import dusk, power_cut


async def no_story(run: object) -> None:
    """Nothing happens."""


ALONE = Scenario("test.alone", "A claim.", no_story, (), devices=300, with_platform=False)
WHOLE = Scenario("test.whole", "A claim.", no_story, (), devices=300)


# ---- size ----


def test_a_scenario_has_its_own_size_unless_the_user_says_otherwise() -> None:
    assert sized(RunOptions(), WHOLE).devices == 300
    assert sized(RunOptions(devices=7), WHOLE).devices == 7
    assert sized(RunOptions(manifest=DEFAULT_MANIFEST), WHOLE).devices is None
    arrivals = LoadProfile(registrations=(Constant(rate_per_s=10, duration_s=2),))
    assert sized(RunOptions(profile=arrivals), WHOLE).devices is None
    assert sized(RunOptions(), replace(WHOLE, devices=None)).devices is None


def test_what_only_a_platform_can_do_is_refused_without_one() -> None:
    for options in (
        RunOptions(manifest=Path("x.csv")),
        RunOptions(defect="lose_one"),
        RunOptions(report_every_s=1.0),
        RunOptions(broker="mosquitto"),
    ):
        with pytest.raises(ScenarioError, match="the LwM2M server and the fleet alone"):
            sized(options, ALONE)


def test_a_duration_is_taken_as_it_is_given_also_when_it_is_none() -> None:
    assert RunOptions().lasts_s(60.0) == 60.0
    assert RunOptions(telemetry_s=0.0).lasts_s(60.0) == 0.0
    assert RunOptions(telemetry_s=7.0).lasts_s(60.0) == 7.0


@pytest.mark.parametrize("name", ["scale.a_city_day", "scale.dusk", "scale.soak"])
def test_a_duration_too_short_for_what_the_scenario_tells_is_refused(name: str) -> None:
    scenario = find_scenarios()[name]
    with pytest.raises(ScenarioError, match=f"--duration 0.5: {name} needs 1 s or more"):
        sized(RunOptions(telemetry_s=0.5), scenario)
    assert sized(RunOptions(telemetry_s=1.0), scenario).telemetry_s == 1.0
    assert sized(RunOptions(), scenario).telemetry_s is None


def test_taps_that_would_cost_more_than_they_watch_are_off_whatever_the_user_says() -> None:
    assert sized(RunOptions(), ALONE).taps
    assert not sized(RunOptions(), replace(ALONE, with_taps=False)).taps
    assert not sized(RunOptions(taps=False), ALONE).taps


# ---- processes and their configuration ----


def test_a_bench_without_a_platform_has_server_and_fleets_alone(tmp_path: Path) -> None:
    plan = BenchPlan(
        output_dir=tmp_path, state_dir=tmp_path, with_platform=False, fleet_processes=2
    )
    assert list(configs.processes(plan)) == ["server", "fleet", "fleet-2"]
    whole = BenchPlan(output_dir=tmp_path, state_dir=tmp_path)
    assert list(configs.processes(whole)) == [n for n in configs.PROCESSES if n != "dashboard"]
    with_pages = BenchPlan(output_dir=tmp_path, state_dir=tmp_path, with_dashboard=True)
    assert list(configs.processes(with_pages)) == list(configs.PROCESSES)
    without_fleet = BenchPlan(output_dir=tmp_path, state_dir=tmp_path, with_fleet=False)
    assert set(configs.processes(whole)) - set(configs.processes(without_fleet)) == {"fleet"}


def test_the_server_has_room_for_as_many_as_there_are(tmp_path: Path) -> None:
    def limits(devices: int, **settings: object) -> object:
        plan = BenchPlan(
            output_dir=tmp_path, state_dir=tmp_path, devices=devices, server_settings=settings
        )
        return configs.server(plan).get("limits")

    assert limits(1_000) is None
    assert limits(1_000_000) == {"registrations_max": 1_100_000}
    assert limits(1_000_000, limits={"log_bytes_compact": 5}) == {
        "registrations_max": 1_100_000,
        "log_bytes_compact": 5,
    }


# ---- lamps ----


def test_a_million_lamps_weigh_nothing_and_each_is_itself() -> None:
    rows = lamps_alone(1_000_000).rows
    assert len(rows) == 1_000_000
    assert rows[999_999] == rows[-1]
    assert rows[7].endpoint == "lamp-0000007"
    assert rows[7].serial != rows[8].serial
    assert {row.model for row in rows[::100_000]} == {"street_lamp"}
    with pytest.raises(IndexError):
        rows[1_000_000]


def test_shares_of_lamps_are_together_all_of_them() -> None:
    rows = Lamps(range(10))
    shares = [rows[first::3] for first in range(3)]
    assert sorted(row.endpoint for share in shares for row in share) == [r.endpoint for r in rows]


@pytest.mark.slow
def test_a_city_of_lamps_has_no_other_devices_and_as_many_as_are_wanted() -> None:
    for devices in (5, 900):
        cohort = choose(None, devices, 1, only_lamps=True)
        assert {row.model for row in cohort.rows} == {"street_lamp"}
        assert len({row.endpoint for row in cohort.rows}) == devices
        assert cohort.manifest.count(b"\n") == devices + 1


# ---- schedules ----


def read_back(events: list, lasts_s: float) -> list:
    header = ScheduleHeader(
        city="c", seed=1, from_s=0.0, to_s=lasts_s, speed=1.0, events=len(events)
    )
    lines = (encode_header(header) + b"".join(map(encode_event, events))).splitlines(keepends=True)
    return list(ScheduleReader(lines, "a schedule"))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 100), st.integers(0, 2**31), st.floats(1.0, 600.0))
def test_at_dusk_every_lamp_lights_up_once_within_the_minute(
    lamps: int, seed: int, within_s: float
) -> None:
    names = [f"lamp-{number}" for number in range(lamps)]
    events = read_back(dusk(names, seed, within_s=within_s), within_s)
    assert sorted(event.endpoint for event in events) == sorted(names)
    assert all(event.value is True and event.kind == "report" for event in events)
    assert dusk(names, seed, within_s=within_s) == dusk(names, seed, within_s=within_s)


# No deadline: other tests compete for the cores.
@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.integers(0, 2**31), st.floats(0.5, 20.0), st.floats(1.0, 10.0))
def test_in_a_power_cut_everybody_goes_and_returns_and_is_silent_between(
    devices: int, seed: int, return_within_s: float, report_every_s: float
) -> None:
    names = [f"lamp-{number}" for number in range(devices)]
    events = power_cut(
        names, seed, begins_s=5.0, outage_s=3.0, return_within_s=return_within_s,
        report_every_s=report_every_s, ends_s=60.0,
    )  # fmt: skip
    events = read_back(events, 60.0)
    for name in names:
        own = [event for event in events if event.endpoint == name]
        [off] = [event.at_s for event in own if event.kind == "power_off"]
        [back] = [event.at_s for event in own if event.kind == "power_on"]
        reports = [event.at_s for event in own if event.kind == "report"]
        assert off == 5.0
        assert 8.0 <= back <= 8.0 + return_within_s + 0.001
        assert not [at_s for at_s in reports if off + 0.001 < at_s < back - 0.001]
        assert any(at_s > back for at_s in reports)


# ---- the scenarios themselves ----


def test_every_scale_scenario_has_a_claim_a_size_and_checks_of_its_own() -> None:
    found = {name: each for name, each in find_scenarios().items() if name.startswith("scale.")}
    assert len(found) == 9
    for scenario in found.values():
        assert scenario.claim.endswith(".")
        assert scenario.devices
        names = [check.__name__ for check in scenario.checks]
        assert len(names) == len(set(names))
        assert {"no_secret_in_outputs", "nothing_left_behind"} <= set(names)
        # Four pairs on one machine are about who gets what, not about how fast.
        assert "loader_kept_up" in names or scenario.name == "scale.four_bridges_share_the_city"
