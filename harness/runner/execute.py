"""Executes a scenario: input, bench, story, teardown, search for secrets, checks, report."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from contracts.journal import Note, RunStarted
from contracts.load import LWM2M_ALONE, OPTION_PARTS
from contracts.report import EXIT_BROKEN, Report
from harness.bench.bench import BenchPlan, bench_up
from harness.bench.configs import is_fleet
from harness.bench.state import keep, temporary_state
from harness.bench.target import stores_of_run
from harness.checks import Check, defect_was_planted, loader_kept_up
from harness.checks.faults import NOTE_DEFECT_AIMED, NOTE_DEFECT_PLANTED
from harness.errors import BenchFailed, HarnessError, ScenarioError
from harness.reporting import write_report
from harness.runner.cohort import (
    DEFAULT_DEVICES,
    DEFAULT_MANIFEST,
    Cohort,
    choose,
    lamps_alone,
    told_rejections,
)
from harness.runner.instruments import taps_on
from harness.runner.live import Live
from harness.runner.progress import Progress
from harness.runner.run import Run
from harness.runner.scenario import RunOptions, Scenario, devices_wanted, sized
from harness.runner.secrets import outputs_of, scan, secrets_of
from harness.security import SECURITIES, Security
from runtime.clock import Clock, SystemClock
from runtime.http_client import HttpError
from runtime.journal import JournalFile

DEFECTS_OF_TWO = frozenset({"swap_credentials", "misroute_one"})
STORY_ENDS_WITHIN_S = 5.0
STORY_ASKED_TO_END = 3
# As long as telemetry may go on.
ARRIVALS_S_MAX = 864_000.0


@dataclass(frozen=True, slots=True)
class Executed:
    """A run that has ended: its report, and the directory that holds everything."""

    report: Report
    directory: Path


async def execute(scenario: Scenario, options: RunOptions, console: Console) -> Executed:
    """Run `scenario` and write its report. Raises `LamplighterError` when it could not be run.

    A story that breaks off still leaves its journal and logs, and its state is removed.
    """
    if options.broker not in scenario.needs_broker:
        raise ScenarioError(
            f"{scenario.name} runs on --broker {' or '.join(scenario.needs_broker)}"
        )
    options = with_security(sized(options, scenario), scenario)
    clock = SystemClock()
    cohort = cohort_of(options, scenario)
    refuse_devices_left_off(options, len(cohort.rows))
    refuse_endless_arrivals(options, len(cohort.rows))
    refuse_defect_of_two(options, len(cohort.rows))
    for line in told_rejections(cohort):
        console.out(line, style="yellow", highlight=False)
    directory = make_run_directory(options.out, scenario, options, clock)
    with temporary_state() as state:
        try:
            broke = await _record(scenario, options, cohort, directory, state, clock, console)
        except asyncio.CancelledError:
            console.out(f"journal and logs up to here: {directory}", highlight=False)
            raise
        finally:
            if options.keep_state:
                console.out(f"state kept in {keep(state)} (it holds keys)", highlight=False)
    report = write_report(directory, scenario.name, scenario.claim, checks_of(scenario, options))
    point_latest_to(directory)
    if broke is not None and report.exit_code != EXIT_BROKEN:
        raise BenchFailed(f"the story broke off: {broke} (report: {directory}/report.html)")
    return Executed(report, directory)


def cohort_of(options: RunOptions, scenario: Scenario) -> Cohort:
    """The devices that the run is about. Raises `ScenarioError`."""
    wanted = devices_wanted(options)
    if not scenario.with_platform:
        return lamps_alone(DEFAULT_DEVICES if wanted is None else wanted)
    return choose(options.manifest, wanted, options.seed, only_lamps=scenario.only_lamps)


def with_security(options: RunOptions, scenario: Scenario) -> RunOptions:
    """The options with the scenario's security where the user chose none.

    Raises `ScenarioError` for one that the scenario cannot run with.
    """
    security = options.security or scenario.needs_security[0]
    if security not in scenario.needs_security:
        raise ScenarioError(
            f"{scenario.name} runs with --security {' or '.join(scenario.needs_security)}"
        )
    return replace(options, security=security)


def refuse_devices_left_off(options: RunOptions, devices: int) -> None:
    """Raises `ScenarioError` when the profile switches fewer devices on than the run has."""
    devices_wanted(replace(options, devices=devices))


def refuse_defect_of_two(options: RunOptions, devices: int) -> None:
    """Raises `ScenarioError` where a defect mixes two devices up and there is one."""
    if options.defect in DEFECTS_OF_TWO and devices < 2:
        raise ScenarioError(f"--defect {options.defect} needs two devices or more")


def refuse_endless_arrivals(options: RunOptions, devices: int) -> None:
    """Raises `ScenarioError` when the last device would be switched on after more than ten days."""
    if options.rate_per_s is not None and devices / options.rate_per_s > ARRIVALS_S_MAX:
        days = devices / options.rate_per_s / 86_400
        raise ScenarioError(
            f"--rate {options.rate_per_s:g}: {devices:,} devices would take {days:,.1f} days to be "
            f"switched on; choose {devices / ARRIVALS_S_MAX:.3g} per second or more"
        )


def checks_of(scenario: Scenario, options: RunOptions) -> tuple[Check, ...]:
    """The scenario's checks; who brings a load of his own is told whether it was kept, and who
    wants a defect, whether there was one."""
    checks = scenario.checks
    if options.profile is not None and loader_kept_up not in checks:
        checks = (*checks, loader_kept_up)
    return checks if options.defect is None else (*checks, defect_was_planted)


def security_of(options: RunOptions) -> Security:
    """How devices of a run prove themselves; that of a scenario's default is resolved before."""
    return options.security or SECURITIES[0]


def make_run_directory(out: Path, scenario: Scenario, options: RunOptions, clock: Clock) -> Path:
    """`out/<run-id>` with room for journal and logs. Raises `ScenarioError` where none may be."""
    stamp = datetime.fromtimestamp(clock.wall_us() / 1e6, UTC).strftime("%Y%m%dT%H%M%S")
    name = f"{stamp}-{scenario.name.rpartition('.')[2]}-{options.seed}"
    for attempt in range(100):
        directory = out / (name if not attempt else f"{name}-{attempt}")
        try:
            (directory / "journal").mkdir(parents=True)
            (directory / "logs").mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise ScenarioError(
                f"cannot write to {out} ({error.strerror}): choose another folder with --out"
            ) from error
        return directory
    raise ScenarioError(f"{out} is full of runs of this second")


def point_latest_to(directory: Path) -> None:
    """Let `latest` beside `directory` point to it."""
    link = directory.parent / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(directory.name)
    os.replace(link, directory.parent / "latest")


def _plan(
    scenario: Scenario, options: RunOptions, cohort: Cohort, directory: Path, state: Path
) -> BenchPlan:
    """The bench of a run."""
    return BenchPlan(
        output_dir=directory,
        state_dir=state,
        broker=options.broker,
        security=security_of(options),
        defect=defect_of(options, [row.endpoint for row in cohort.rows]),
        journals=options.taps,
        fleet_processes=options.fleet_processes,
        servers=options.servers or scenario.servers,
        presence=scenario.with_presence,
        with_platform=scenario.with_platform,
        devices=len(cohort.rows),
        server_settings=scenario.server_settings,
        fleet_settings=scenario.fleet_settings,
        provisioning_settings=scenario.provisioning_settings,
        stores=stores_of_run(options.target, directory.name),
    )


async def _record(
    scenario: Scenario,
    options: RunOptions,
    cohort: Cohort,
    directory: Path,
    state: Path,
    clock: Clock,
    console: Console,
) -> str | None:
    """Let the story happen and journal it. Returns why it broke off, None when it did not."""
    journal = JournalFile(directory / "journal" / "runner.jsonl")
    live, progress = Live(), Progress(console, len(cohort.rows))
    journal.record(run_started(scenario, options, directory, cohort, clock))
    plan = _plan(scenario, options, cohort, directory, state)
    for note in _aimed(plan.defect, clock):
        journal.record(note)

    def heard(process: str, message: Mapping[str, Any]) -> None:
        if "defect" in message:
            journal.record(_planted(message, clock))
        else:
            _hear(live, process, message, options.fleet_processes)

    try:
        async with progress.shown():
            progress.phase("starting the bench", live)
            async with (
                bench_up(plan, journal, clock, heard, live.fail) as bench,
                taps_on(bench, journal, clock, live, broker=options.taps),
            ):
                run = Run(options, bench, cohort, journal, clock, live, progress)
                broke = await tell(scenario, run)
            progress.phase("searching the outputs for secrets", live)
            found = scan(
                [*secrets_of(state, _given_keys(scenario, cohort)), *bench.secrets()],
                outputs_of(directory, state),
            )
        journal.record(found.recorded(clock.now_ns()))
    finally:
        journal.close()
    return broke


def _hear(live: Live, process: str, message: Mapping[str, Any], fleet_processes: int) -> None:
    """Take in what a process of the bench said."""
    if is_fleet(process):
        live.fleet_said(message, process, fleet_processes)
    elif "gate" in message:
        live.gates.append({"process": process, **message})
        live.move()
    elif "delivered" in message:
        live.delivered = message["delivered"]
        live.move()


def _aimed(defect: Mapping[str, Any] | None, clock: Clock) -> list[Note]:
    """At which devices a defect is aimed, where that is chosen ahead."""
    return [
        Note(at_ns=clock.now_ns(), name=NOTE_DEFECT_AIMED, endpoint=endpoint)
        for endpoint in (defect or {}).get("endpoints", ())
    ]


def _planted(message: Mapping[str, Any], clock: Clock) -> Note:
    """What a process said of the defect that it planted, for the check that it took place."""
    endpoint = str(message.get("endpoint", ""))
    return Note(
        at_ns=clock.now_ns(),
        name=NOTE_DEFECT_PLANTED,
        endpoint=endpoint,
        text=f"{message['defect']} took place at {endpoint}",
    )


def _given_keys(scenario: Scenario, cohort: Cohort) -> list[bytes]:
    """The pre-shared keys that the manifest names."""
    return [row.psk for row in cohort.rows if row.psk] if scenario.with_platform else []


async def tell(scenario: Scenario, run: Run) -> str | None:
    """The story; when something of the bench fails in it, what is known so far is still judged."""
    try:
        await _until_told_or_failed(scenario, run)
    except (HarnessError, HttpError, OSError) as error:
        # A request to a process that has died fails before its end is noticed.
        await run.bench.settle()
        why = str(run.live.failure or error) or type(error).__name__
        run.note("story_broke_off", text=why)
        return why
    finally:
        await run.abandon()
    return None


async def _until_told_or_failed(scenario: Scenario, run: Run) -> None:
    """The story, which a failure of the bench ends at once, whatever it waits for. Raises it."""
    story = asyncio.ensure_future(scenario.story(run))
    failed = asyncio.ensure_future(run.live.has_failed.wait())
    try:
        await asyncio.wait({story, failed}, return_when=asyncio.FIRST_COMPLETED)
        if story.done():
            # Waits of the story may have heard of the failure themselves.
            await story
        elif run.live.failure is not None:
            raise run.live.failure
    finally:
        failed.cancel()
        for _ in range(STORY_ASKED_TO_END):
            if story.done():
                break
            # A wait that ends in the same turn can swallow a cancellation: ask until it is heard.
            story.cancel()
            await asyncio.wait({story}, timeout=STORY_ENDS_WITHIN_S)
        if story.done() and not story.cancelled():
            story.exception()  # seen: the failure is what is told


def defect_of(options: RunOptions, endpoints: Sequence[str]) -> Mapping[str, Any] | None:
    """What is planted, and where: chosen by the seed."""
    if options.defect is None:
        return None
    if options.defect == "swap_credentials":
        first = options.seed % (len(endpoints) - 1)
        return {
            "kind": options.defect,
            "endpoints": [endpoints[first], endpoints[first + 1]],
        }
    return {"kind": options.defect, "seed": options.seed, "after": len(endpoints) * 2}


def _manifest_name(scenario: Scenario, options: RunOptions) -> str:
    if not scenario.with_platform:
        return "none: lamps in a grid"
    return options.manifest.name if options.manifest else DEFAULT_MANIFEST.name


def run_started(
    scenario: Scenario,
    options: RunOptions,
    directory: Path,
    cohort: Cohort,
    clock: Clock,
) -> RunStarted:
    return RunStarted(
        at_ns=clock.now_ns(),
        run_id=directory.name,
        scenario=scenario.name,
        seed=options.seed,
        devices=len(cohort.rows),
        broker=options.broker if scenario.with_platform else "",
        defect=options.defect or "",
        at_unix_us=clock.wall_us(),
        options={
            **({"rate_per_s": f"{options.rate_per_s:g}"} if options.rate_per_s else {}),
            **({} if options.telemetry_s is None else {"telemetry_s": f"{options.telemetry_s:g}"}),
            "report_every_s": f"{options.reporting_interval_s(len(cohort.rows)):g}",
            "manifest": _manifest_name(scenario, options),
            **({} if scenario.with_platform else {OPTION_PARTS: LWM2M_ALONE}),
            "taps": "on" if options.taps else "off",
            "security": security_of(options),
            **({"profile": options.profile.name or "unnamed"} if options.profile else {}),
            "fleet_processes": str(options.fleet_processes),
            **({"servers": str(options.servers)} if (options.servers or 1) > 1 else {}),
        },
    )
