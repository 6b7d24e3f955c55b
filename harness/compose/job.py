"""The main job, held against a platform that stands in containers: the story, the fleet and the
checks of `lamplighter run`. Where the servers' taps are off, what the platform does between a
device and its readings is not observed, and no verdict rounds that up."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from contracts.api import Commit, FeedGap, FeedLine
from contracts.report import EXIT_BROKEN
from harness.bench.bench import BenchPlan
from harness.compose.standing_bench import JobConfig, StandingBench
from harness.errors import BenchFailed
from harness.reporting import print_summary, write_report
from harness.runner.cohort import Cohort, choose
from harness.runner.execute import (
    make_run_directory,
    point_latest_to,
    run_started,
    tell,
)
from harness.runner.instruments import taps_on
from harness.runner.live import Live
from harness.runner.progress import Progress
from harness.runner.run import Run
from harness.runner.scenario import RunOptions, Scenario, find_scenario
from harness.runner.secrets import outputs_of, scan
from runtime.clock import Clock, SystemClock
from runtime.journal import JournalFile, JournalSink

SCENARIO: Final = "onboarding.city_block_comes_online"
# The fleet shares the machine's cores with sixteen containers, one of them a JVM: at the pace of
# `lamplighter run`, 50 devices and up to 400 packs a second, it is late with 100 devices on two
# cores, and a loader that is late judges nothing.
DEVICES_PER_S: Final = 10.0
PACKS_PER_S: Final = 50.0
REPORT_EVERY_S_MIN: Final = 2.0


def job_options(
    config: JobConfig, devices: int, out: Path, rate_per_s: float = DEVICES_PER_S
) -> RunOptions:
    """The main job's options in containers. Raises `ScenarioError` for a rate that is none."""
    return RunOptions(
        devices=devices,
        rate_per_s=rate_per_s,
        report_every_s=max(REPORT_EVERY_S_MIN, devices / PACKS_PER_S),
        broker="mosquitto",
        security="psk",
        out=out,
        taps=config.taps is not None,
        servers=len(config.servers),
    )


async def run_job(
    config: JobConfig, devices: int, out: Path, rate_per_s: float = DEVICES_PER_S
) -> int:
    """Run the main job and write its report below `out`; returns the verdict's exit code.

    Raises `LamplighterError` when it could not be run.
    """
    scenario = find_scenario(SCENARIO)
    options = job_options(config, devices, out, rate_per_s)
    clock, console = SystemClock(), Console()
    cohort = choose(None, devices, options.seed)
    directory = make_run_directory(out, scenario, options, clock)
    with tempfile.TemporaryDirectory(prefix="lamplighter-job-") as state:
        broke = await _record(
            scenario, options, config, cohort, directory, Path(state), clock, console
        )
    report = write_report(directory, scenario.name, scenario.claim, scenario.checks)
    point_latest_to(directory)
    print_summary(report, directory, console)
    if broke is not None and report.exit_code != EXIT_BROKEN:
        raise BenchFailed(f"the story broke off: {broke} (report: {directory}/report.html)")
    return report.exit_code


async def _record(
    scenario: Scenario,
    options: RunOptions,
    config: JobConfig,
    cohort: Cohort,
    directory: Path,
    state: Path,
    clock: Clock,
    console: Console,
) -> str | None:
    """Let the story happen and journal it; returns why it broke off, None when it did not."""
    plan = BenchPlan(
        output_dir=directory,
        state_dir=state,
        broker=options.broker,
        security="psk",
        journals=False,
        servers=len(config.servers),
        devices=len(cohort.rows),
    )
    began_ns = clock.now_ns()
    file = JournalFile(directory / "journal" / "runner.jsonl")
    journal = JournalSince(file, began_ns)
    live, progress = LiveSince(began_ns), Progress(console, len(cohort.rows))
    try:
        journal.record(run_started(scenario, options, directory, cohort, clock))
        async with (
            progress.shown(),
            _standing(plan, config, journal, clock, live) as bench,
            taps_on(bench, journal, clock, live, broker=options.taps),
        ):
            run = Run(options, bench, cohort, journal, clock, live, progress)
            broke = await tell(scenario, run)
            bench.copy_journals(began_ns)
        found = scan(bench.secrets(), outputs_of(directory, state))
        journal.record(found.recorded(clock.now_ns()))
    finally:
        file.close()
    return broke


class LiveSince(Live):
    """`Live` without what an installation had stored before the job began: only its count."""

    def __init__(self, began_ns: int) -> None:
        super().__init__()
        self._began_ns = began_ns

    def feed_seen(self, line: FeedLine) -> None:
        """See `Live`."""
        if isinstance(line, FeedGap) or line.at_ns >= self._began_ns:
            super().feed_seen(line)
        elif isinstance(line, Commit):
            # Ingestion counts all that it has stored since its start, and is awaited by that.
            self.stored += len(line.readings)
            self.move()


class JournalSince:
    """Passes records of the job on, and none of what was stored before it began."""

    def __init__(self, sink: JournalSink, began_ns: int) -> None:
        self._sink = sink
        self._began_ns = began_ns

    def record(self, record: msgspec.Struct) -> None:
        """See `JournalSink`."""
        if getattr(record, "at_ns", self._began_ns) >= self._began_ns:
            self._sink.record(record)


@contextlib.asynccontextmanager
async def _standing(
    plan: BenchPlan, config: JobConfig, journal: JournalSink, clock: Clock, live: Live
) -> AsyncIterator[StandingBench]:
    def heard(process: str, message: Mapping[str, Any]) -> None:
        live.fleet_said(message, process)

    bench = StandingBench(plan, journal, clock, heard, live.fail)
    bench.place = config
    try:
        await bench.bring_up()
        yield bench
    finally:
        await bench.take_down()
