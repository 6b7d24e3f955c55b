"""The report of a load: from the journals of its fleets, or from Locust's merged statistics.

Journals are exact and say more, and are used where all workers were on this machine; of workers
elsewhere the master knows what Locust's wire brought: counts, failures and rounded latencies. The
report's option `figures_from` says which it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from rich.console import Console
from rich.table import Table

from contracts.journal import (
    STAGES,
    BenchReady,
    DeviceStarted,
    ImportEnded,
    Note,
    ProcessStarted,
    RunStarted,
    Stage,
)
from contracts.load import LWM2M_ALONE, OPTION_PARTS, FleetBuilt
from contracts.report import (
    EXIT_HOLDS,
    BenchFigures,
    CommandCounts,
    DeviceCounts,
    Evidence,
    LoaderFigures,
    Percentiles,
    ReadingCounts,
    Report,
    StageFigures,
    Throughput,
    encode_report,
)
from harness.checks import (
    HOUSEKEEPING,
    Check,
    Claim,
    Verdict,
    conclude,
    loader_kept_up,
    no_secret_in_outputs,
)
from harness.journal import Journal, read_run
from harness.load.checks import CHECKS, operations_succeed, totals_notes
from harness.load.config import EARLIER, Entry, Figures, Totals
from harness.load.operations import LOADER
from harness.load.options import LoadOptions
from harness.reporting import junit_xml, print_summary, remake_report
from harness.reporting.environment import environment_notes
from runtime.clock import Clock
from runtime.files import write_atomically

FiguresFrom = Literal["journals", "journals of this machine", "locust"]
SCENARIO: Final = "load"
CLAIM: Final = (
    "Every device that a user of Locust's stands for does what is asked of it, Locust counts what "
    "the journals say, and the loader keeps its schedule."
)
_LOCUST_JOURNAL: Final = "locust.jsonl"
_OF_THE_BENCH: Final = (RunStarted, BenchReady, ImportEnded, ProcessStarted, FleetBuilt)


@dataclass(frozen=True, slots=True)
class Ended:
    """A test that is over. `totals` None: the master was elsewhere."""

    totals: Totals | None
    exit_code: int
    secrets: Sequence[bytes]


def figures_from(options: LoadOptions) -> FiguresFrom:
    """What the report is made from."""
    if options.master_host:
        return "journals of this machine"
    return "journals" if options.wanted_workers == options.workers else "locust"


def parts_of(options: LoadOptions) -> dict[str, str]:
    """What a report says of a load whose devices have nothing but an LwM2M server."""
    return {OPTION_PARTS: LWM2M_ALONE} if options.server and not options.uplink else {}


def write_load_report(
    options: LoadOptions, directory: Path, ended: Ended, clock: Clock, console: Console
) -> int:
    """Write `report.json`, print the end of the test, and return the command's exit code."""
    if ended.totals is not None:
        console.print(table_of(ended.totals))
    if figures_from(options) == "locust":
        assert ended.totals is not None
        report = locust_report(options, ended.totals, directory.name)
        write_locust_report(directory, report)
        print_summary(report, directory, console)
    else:
        journal = _finished_journal(directory, ended.totals, clock)
        checks = checks_of(options, has_secrets=bool(ended.secrets))
        report = remake_report(directory, journal, SCENARIO, CLAIM, checks)
        print_summary(report, directory, console)
    for name in ("report.json", "locust.html", "locust_stats.csv"):
        if (directory / name).exists():
            console.out(f"{directory / name}", highlight=False)
    if report.exit_code == EXIT_HOLDS and ended.exit_code != EXIT_HOLDS:
        # What Locust itself minds, such as failures of a user's own requests, has its exit code.
        log = directory / "logs" / "locust-master.log"
        console.out(f"Locust ended with exit code {ended.exit_code}: {log} says why")
        return ended.exit_code
    return report.exit_code


def write_locust_report(directory: Path, report: Report) -> None:
    """The files that can be made without the journals of all fleets: `report.html` cannot."""
    write_atomically(directory / "report.json", encode_report(report))
    write_atomically(directory / "junit.xml", junit_xml(report))


def _finished_journal(directory: Path, totals: Totals | None, clock: Clock) -> Journal:
    """The run's journal, of its last test, with what Locust counted and what it was made with."""
    now_ns = clock.now_ns()
    notes = environment_notes(now_ns)
    if totals is not None:
        notes += totals_notes(totals, now_ns)
    earlier = len(list((directory / "journal" / EARLIER).glob("*.jsonl")))
    if earlier:
        text = f"figures are of the last test: {earlier} fleets of earlier ones are left out"
        notes.append(Note(at_ns=now_ns, name="tests", text=text))
    lines = b"".join(msgspec.json.encode(note) + b"\n" for note in notes)
    write_atomically(directory / "journal" / _LOCUST_JOURNAL, lines)
    journal = read_run(directory)
    return since_last_test(journal) if earlier else journal


def since_last_test(journal: Journal) -> Journal:
    """The journal without what the bench's observers saw of tests before the fleets' own."""
    started = journal.of(DeviceStarted)
    began_ns = started[0].at_ns if started else journal.ended_ns
    return Journal(
        (each for each in journal if each.at_ns >= began_ns or isinstance(each, _OF_THE_BENCH)),
        torn_lines=journal.torn_lines,
    )


def checks_of(options: LoadOptions, *, has_secrets: bool) -> tuple[Check, ...]:
    """What is judged of a load whose journals are here."""
    own = (operations_succeed, loader_kept_up) if options.master_host else CHECKS
    if not options.server:
        return (*own, *HOUSEKEEPING)
    return (*own, no_secret_in_outputs) if has_secrets else own


def table_of(totals: Totals) -> Table:
    """Locust's table for a terminal: counts, failures, latencies in milliseconds."""
    table = Table(box=None, pad_edge=False)
    for heading in ("operation", "device", "count", "failed", "p50", "p99", "p99.9", "max ms"):
        is_text = heading in ("operation", "device")
        table.add_column(heading, justify="left" if is_text else "right", style="", no_wrap=True)
    for entry in totals.entries:
        if entry.kind == LOADER:
            continue
        found = percentiles_of([entry])
        latencies = [found.p50, found.p99, found.p99_9, found.max] if found else []
        table.add_row(
            entry.kind,
            entry.name,
            f"{entry.count:,}",
            f"{entry.failures:,}",
            *(f"{value:,.1f}" for value in latencies),
        )
    return table


# ---- from Locust's statistics alone ----

_SUCCEED = Claim("operations_succeed", "No operation of a device failed.")
_KEPT_UP = Claim("loader_kept_up", "The fleets of all workers kept their schedule.", about="loader")
_COUNTED = Claim("every_worker_counted", "Every worker counted its test to the end.")


def locust_report(options: LoadOptions, totals: Totals, run_id: str) -> Report:
    """The report of a test whose workers were not all on this machine."""
    entries = [entry for entry in totals.entries if entry.kind != LOADER]
    faults = [fault for each in totals.figures for fault in each.faults]
    verdicts = [_succeeded(entries, totals), _counted(totals), _kept_up(totals)]
    conclusion = conclude(verdicts, saturated=bool(faults))
    devices = sum(each.devices for each in totals.figures)
    began = datetime.fromtimestamp(totals.began_at_unix_s, UTC)
    return Report(
        run_id=run_id,
        scenario=SCENARIO,
        claim=CLAIM,
        verdict=conclusion.verdict,
        exit_code=conclusion.exit_code,
        seed=options.seed,
        broker="",
        options={
            "figures_from": "locust",
            "users": str(options.users),
            "spawn_rate_per_s": f"{options.spawn_rate_per_s:g}",
            "workers": str(options.wanted_workers),
            "server": options.server,
            **parts_of(options),
        },
        started_at=began.replace(microsecond=0).isoformat(),
        duration_s=round(max(0.0, totals.ended_at_unix_s - totals.began_at_unix_s), 3),
        bench=BenchFigures(),
        devices=DeviceCounts(total=devices, online=_count(entries, "reading_acknowledged")),
        stages={stage: _stage(entries, stage) for stage in STAGES},
        throughput=_throughput(entries),
        readings=ReadingCounts(),
        commands=CommandCounts(),
        alarms={},
        checks=conclusion.checks,
        loader=_loader(totals.figures, is_saturated=bool(faults)),
        processes=[],
        sides=[],
        notes=[
            "made from Locust's merged statistics: latencies are rounded to three digits; "
            "`online` counts devices whose first reading the broker acknowledged"
        ],
    )


def percentiles_of(entries: Iterable[Entry]) -> Percentiles | None:
    """Percentiles (nearest rank) over lines of Locust's table; None without latencies."""
    merged: Counter[float] = Counter()
    most = 0.0
    for entry in entries:
        for text, number in entry.latencies.items():
            merged[float(text)] += number
        most = max(most, entry.max_ms or 0.0)
    if not merged:
        return None
    total = sum(merged.values())
    # The largest is exact; rounding must not put a percentile above it.
    p50, p90, p99, p99_9, p99_99 = (
        round(min(_rank(merged, ratio * total), most), 3)
        for ratio in (0.5, 0.9, 0.99, 0.999, 0.9999)
    )
    return Percentiles(p50=p50, p90=p90, p99=p99, p99_9=p99_9, p99_99=p99_99, max=round(most, 3))


def _rank(merged: Counter[float], wanted: float) -> float:
    seen = 0
    for value, number in sorted(merged.items()):
        seen += number
        if seen >= wanted - 1e-9:
            return value
    return max(merged)


def _stage(entries: Sequence[Entry], stage: Stage) -> StageFigures:
    of_stage = [entry for entry in entries if entry.kind == stage]
    reached = sum(entry.count - entry.failures for entry in of_stage)
    return StageFigures(count=reached, since_start=percentiles_of(of_stage))


def _throughput(entries: Sequence[Entry]) -> dict[str, Throughput]:
    found = {}
    for kind in sorted({entry.kind for entry in entries}):
        per_s: Counter[str] = Counter()
        for entry in entries:
            if entry.kind == kind:
                per_s.update(entry.per_s)
        found[kind] = Throughput(
            count=sum(per_s.values()), peak_per_s=float(max(per_s.values(), default=0))
        )
    return found


def _count(entries: Sequence[Entry], kind: str) -> int:
    return sum(entry.count - entry.failures for entry in entries if entry.kind == kind)


def _succeeded(entries: Sequence[Entry], totals: Totals) -> Verdict:
    if not entries:
        return _SUCCEED.inconclusive("there were no operations")
    faults = [
        Evidence(observed=text, expected="no failure", endpoint=f"{number:,} times")
        for text, number in sorted(totals.errors.items())
    ]
    total = sum(entry.count for entry in entries)
    return _SUCCEED.judge(
        faults, good=f"{total:,} operations succeeded", bad=f"kinds of failures: {len(faults)}"
    )


def _counted(totals: Totals) -> Verdict:
    if totals.workers_missing:
        return _COUNTED.inconclusive(f"{totals.workers_missing} workers did not: totals are low")
    return _COUNTED.holds(f"{len(totals.figures)} workers did")


def _kept_up(totals: Totals) -> Verdict:
    if not totals.figures:
        return _KEPT_UP.inconclusive("no worker said how well its fleet kept up")
    faults = [
        Evidence(endpoint=each.worker, observed=fault, expected="less")
        for each in totals.figures
        for fault in each.faults
    ]
    if faults:
        return _KEPT_UP.inconclusive(f"saturated: {len(faults)} limits passed", faults)
    return _KEPT_UP.holds(f"{len(totals.figures)} fleets kept their schedule")


def _loader(figures: Sequence[Figures], *, is_saturated: bool) -> LoaderFigures:
    """All workers together: rates add up, of delays the worst counts."""
    return LoaderFigures(
        intended_per_s=_sum(each.intended_per_s for each in figures),
        actual_per_s=_sum(each.actual_per_s for each in figures),
        start_lag_p99_ms=_worst(each.start_lag_p99_ms for each in figures),
        loop_delay_p99_ms=_worst(each.loop_delay_p99_ms for each in figures),
        socket_drops=sum(each.socket_drops for each in figures),
        retransmissions=sum(each.retransmissions for each in figures),
        saturated=is_saturated,
        faults=[fault for each in figures for fault in each.faults],
        fleet_processes=len(figures),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known else None


def _worst(values: Iterable[float | None]) -> float | None:
    return max((round(value, 3) for value in values if value is not None), default=None)
