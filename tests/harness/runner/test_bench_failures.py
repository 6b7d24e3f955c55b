"""When a part of the bench is lost, a run ends at once, with exit 3; nothing is laid on the
platform."""

from __future__ import annotations

import asyncio
import io
import signal
from pathlib import Path

import msgspec
import pytest
import uvloop
from rich.console import Console

from contracts.report import EXIT_OTHER, Report
from harness import checks
from harness.errors import BenchFailed
from harness.runner.execute import Executed, execute
from harness.runner.scenario import RunOptions, Scenario

pytestmark = [pytest.mark.slow, pytest.mark.bench]

DEVICES = 3


def run(story, out: Path, **more) -> Executed:
    scenario = Scenario(
        name="test.failures",
        claim="A few devices come online.",
        story=story,
        checks=checks.MAIN_JOB,
    )
    options = RunOptions(devices=DEVICES, out=out, security="none", **more)
    return uvloop.run(execute(scenario, options, Console(file=io.StringIO())))


def report_of(out: Path) -> Report:
    [file] = out.glob("2*/report.json")
    return msgspec.json.decode(file.read_bytes(), type=Report)


async def begin(run) -> None:
    await run.provision_rows()
    await run.start_fleet()
    run.switch_on()
    await run.until_registered(DEVICES)


@pytest.mark.parametrize("lost", ["fleet", "broker", "server"])
def test_a_process_of_the_bench_that_dies_ends_a_story_that_waits_for_ever(
    tmp_path: Path, lost: str
) -> None:
    async def story(run) -> None:
        await begin(run)
        run.bench.processes[lost].kill()
        await asyncio.Event().wait()

    with pytest.raises(BenchFailed, match=f"the story broke off: {lost} ended"):
        run(story, tmp_path)
    report = report_of(tmp_path)
    assert (report.verdict, report.exit_code) == ("inconclusive", EXIT_OTHER)
    assert report.bench.faults == [f"{lost} ended by itself with code -9"]
    assert all(check.outcome != "broken" for check in report.checks)


def test_a_fleet_that_is_held_still_ends_the_run_with_exit_3(tmp_path: Path) -> None:
    async def story(run) -> None:
        await begin(run)
        run.bench.processes["fleet"].pid_signal(signal.SIGSTOP)
        await asyncio.Event().wait()

    with pytest.raises(BenchFailed, match="fleet is held still by a signal"):
        run(story, tmp_path)
    assert report_of(tmp_path).exit_code == EXIT_OTHER


def test_a_component_of_the_platform_that_dies_is_broken_at_once(tmp_path: Path) -> None:
    async def story(run) -> None:
        await begin(run)
        run.bench.processes["ingestion"].kill()
        await asyncio.Event().wait()

    executed = run(story, tmp_path)
    assert (executed.report.verdict, executed.report.exit_code) == ("broken", 1)


def test_a_server_journal_that_is_deleted_ends_the_run_with_exit_3(tmp_path: Path) -> None:
    async def story(run) -> None:
        await begin(run)
        (run.bench.plan.output_dir / "journal" / "server.jsonl").unlink()
        await asyncio.Event().wait()

    with pytest.raises(BenchFailed, match=r"the journal server\.jsonl is gone"):
        run(story, tmp_path)
    assert report_of(tmp_path).exit_code == EXIT_OTHER


def test_a_defect_that_nothing_suited_does_not_hold(tmp_path: Path) -> None:
    async def story(run) -> None:
        await begin(run)
        await run.end_fleet()

    report = run(story, tmp_path, defect="misroute_one").report
    [planted] = [check for check in report.checks if check.name == "defect_was_planted"]
    assert planted.outcome == "inconclusive"
    assert report.verdict != "holds"


def test_folders_with_rich_markup_in_their_names_are_printed_as_they_are(tmp_path: Path) -> None:
    told = io.StringIO()
    out = tmp_path / "z[b]:smile:[/b]"

    async def story(run) -> None:
        raise asyncio.CancelledError

    scenario = Scenario(name="test.x", claim="x", story=story, checks=(checks.processes_stay_up,))
    options = RunOptions(devices=1, out=out, security="none")
    with pytest.raises(asyncio.CancelledError):
        uvloop.run(execute(scenario, options, Console(file=told)))
    assert f"journal and logs up to here: {out}" in told.getvalue()
