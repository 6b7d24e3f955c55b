"""A loader that was made too slow says so: exit 3, and no verdict about latency."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path

import pytest
import uvloop
from rich.console import Console

from contracts.load import LoaderLimits
from contracts.report import EXIT_HOLDS, EXIT_OTHER
from fake_devices.load_profiles import Constant, LoadProfile
from harness import checks
from harness.latency import decode
from harness.runner.execute import execute
from harness.runner.scenario import RunOptions, Scenario

DEVICES = 60
PAUSE_S = 0.6
# What stands still stands still longer.
STRICT = LoaderLimits(lag_p99_ms=400.0, loop_delay_p99_ms=400.0, loop_delay_max_ms=450.0)
# The machine that runs this has other things to do.
GENEROUS = LoaderLimits(lag_p99_ms=30_000.0, loop_delay_p99_ms=30_000.0, loop_delay_max_ms=30_000.0)


def run(story, options: RunOptions):
    scenario = Scenario(
        name="test.saturation",
        claim="A few devices register.",
        story=story,
        checks=(checks.loader_kept_up, checks.processes_stay_up),
    )
    return uvloop.run(execute(scenario, options, Console(file=io.StringIO())))


def options(out: Path, limits: LoaderLimits, **more) -> RunOptions:
    profile = LoadProfile(
        name="sixty",
        registrations=(Constant(rate_per_s=10, duration_s=6),),
        limits=limits,
    )
    return RunOptions(profile=profile, out=out, security="none", taps=False, **more)


@pytest.mark.slow
def test_a_fleet_that_stands_still_ends_saturated_with_exit_3(tmp_path):
    async def story(run):
        await run.provision_rows()
        await run.start_fleet()
        run.switch_on()
        [fleet] = run.bench.fleets
        await run.until_registered(5)
        fleet.pid_signal(signal.SIGSTOP)
        await asyncio.sleep(PAUSE_S)
        fleet.pid_signal(signal.SIGCONT)
        await run.until_registered(DEVICES)
        await run.drain()
        await run.end_fleet()

    report = run(story, options(tmp_path, STRICT)).report
    assert (report.verdict, report.exit_code) == ("inconclusive", EXIT_OTHER)
    assert report.loader.saturated
    assert any("over 4" in fault for fault in report.loader.faults)
    [kept_up] = [check for check in report.checks if check.name == "loader_kept_up"]
    assert kept_up.outcome == "inconclusive"
    # What was late is counted from its intended start.
    registered = report.stages["registered"]
    assert registered.count == DEVICES
    assert registered.since_start.max >= 1_000 * (PAUSE_S - 0.1)
    assert decode(registered.histogram).total == DEVICES


@pytest.mark.slow
def test_two_fleets_switch_all_devices_of_a_profile_on(tmp_path):
    async def story(run):
        await run.provision_rows()
        await run.start_fleet()
        run.switch_on()
        await run.until_registered(DEVICES)
        await run.drain()
        await run.end_fleet()

    report = run(story, options(tmp_path, GENEROUS, fleet_processes=2)).report
    assert report.exit_code == EXIT_HOLDS, report.loader
    assert (report.loader.fleet_processes, report.loader.addresses) == (2, "shared")
    assert report.loader.profile == "sixty"
    assert report.loader.intended == {"registrations": DEVICES}
    assert report.loader.limits.lag_p99_ms == 30_000
    assert report.devices.total == report.stages["registered"].count == DEVICES
    assert {p.process for p in report.processes if p.side == "fleet"} == {"fleet", "fleet-2"}


@pytest.mark.slow
def test_a_server_that_stands_still_for_a_second_shows_in_p99_and_max(tmp_path):
    async def story(run):
        await run.provision_rows()
        await run.start_fleet()
        run.switch_on()
        await run.until_registered(30)
        server = run.bench.processes["server"]
        server.pid_signal(signal.SIGSTOP)
        await asyncio.sleep(1.0)
        server.pid_signal(signal.SIGCONT)
        await run.until_registered(360)
        await run.end_fleet()

    profile = LoadProfile(
        name="six seconds",
        registrations=(Constant(rate_per_s=60, duration_s=6),),
        limits=GENEROUS,
    )
    chosen = RunOptions(profile=profile, out=tmp_path, security="none", taps=False)
    report = run(story, chosen).report
    assert not report.loader.saturated
    registered = report.stages["registered"]
    # A sixth of all was meant to begin while the server stood still.
    assert registered.count == 360
    assert registered.since_start.max >= 950
    assert registered.since_start.p99 >= 900
    assert any(second.max_ms >= 950 for second in registered.seconds)
