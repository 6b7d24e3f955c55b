"""Makes the report of a run: figures from the journal, verdicts from the checks, nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from contracts.journal import (
    STAGES,
    AlarmStored,
    BenchDown,
    BenchReady,
    CommandIssued,
    DeviceEnded,
    DeviceStarted,
    ImportEnded,
    Note,
    PackGenerated,
    ProcessKilled,
    ProcessSample,
    ReadingsStored,
    RunStarted,
    Stage,
)
from contracts.load import FleetBuilt, LoadPlanned
from contracts.report import (
    AlarmCounts,
    BenchFigures,
    CommandCounts,
    DeviceCounts,
    Kill,
    LagFigures,
    LoaderFigures,
    ProcessFigures,
    ProvisioningFigures,
    ReadingCounts,
    Report,
    SideFigures,
    StageFigures,
    Throughput,
)
from harness.checks import Verdict, conclude
from harness.checks.accounting import account
from harness.checks.bench import NOTE_KILLS_PLANNED, is_fleet, load
from harness.checks.bridges import BRIDGE_NOTES
from harness.checks.commands import commanding
from harness.checks.faults import (
    NOTE_BENCH_FAULT,
    NOTE_DEFECT_AIMED,
    NOTE_STOOD_STILL,
    bench_faults,
)
from harness.checks.figures import backlog_grew, peak_per_s, slope_per_s
from harness.checks.onboarding import NOTE_UNKNOWN_DEVICE, Onboarding, onboarding, stage_gaps_ns
from harness.journal import Journal
from harness.reporting.environment import NOTE_MACHINE, NOTE_VERSION
from harness.reporting.operations import (
    Done,
    histogram_text,
    operations,
    percentiles_ms,
    seconds,
)

SIDES = ("fleet", "emulated", "platform", "instruments")
# Stages whose rate says something of its own; the others lie between.
RATED_STAGES: tuple[Stage, ...] = ("registered", "bootstrapped", "mqtt_connected", "online")
# Faults of the bench are all told in the beginning.
_QUIET_NOTES = frozenset(
    {
        NOTE_UNKNOWN_DEVICE,
        NOTE_KILLS_PLANNED,
        NOTE_STOOD_STILL,
        NOTE_BENCH_FAULT,
        NOTE_DEFECT_AIMED,
        *BRIDGE_NOTES,
    }
)


def report(journal: Journal, verdicts: Sequence[Verdict], *, scenario: str, claim: str) -> Report:
    """The report of a run. The same journal and checks give the same report."""
    run = journal.run or RunStarted(
        at_ns=journal.began_ns,
        run_id="",
        scenario=scenario,
        seed=0,
        devices=0,
        broker="",
        defect="",
        at_unix_us=0,
    )
    conclusion = conclude(
        verdicts,
        saturated=bool(journal.derive(load).faults),
        faults=journal.derive(bench_faults),
    )
    return Report(
        run_id=run.run_id,
        scenario=scenario,
        claim=claim,
        verdict=conclusion.verdict,
        exit_code=conclusion.exit_code,
        seed=run.seed,
        broker=run.broker,
        defect=run.defect,
        options=run.options,
        started_at=datetime.fromtimestamp(run.at_unix_us // 1_000_000, UTC).isoformat(),
        duration_s=round(journal.since_start_s(journal.ended_ns), 3),
        bench=_bench(journal),
        provisioning=_provisioning(journal),
        devices=_devices(journal),
        stages=_stages(journal),
        throughput=_throughput(journal),
        readings=_readings(journal),
        commands=_commands(journal),
        operations=operations(journal),
        alarms=_alarms(journal),
        checks=conclusion.checks,
        loader=_loader(journal),
        processes=processes(journal),
        sides=_sides(processes(journal)),
        kills=_kills(journal),
        notes=_notes(journal),
        journal_records=len(journal),
        journal_torn_lines=journal.torn_lines,
        versions=_named(journal, NOTE_VERSION),
        machine=_named(journal, NOTE_MACHINE),
    )


# ---- onboarding ----


def _stages(journal: Journal) -> dict[Stage, StageFigures]:
    since_start: dict[Stage, list[Done]] = {stage: [] for stage in STAGES}
    since_previous: dict[Stage, list[int]] = {stage: [] for stage in STAGES}
    found = journal.derive(onboarding)
    for stage, endpoint, start_ns, previous_ns in stage_gaps_ns(found):
        since_start[stage].append(Done(found.devices[endpoint].intended_at_ns, start_ns))
        since_previous[stage].append(previous_ns)
    return {
        stage: StageFigures(
            count=len(done),
            since_start=percentiles_ms([each.latency_ns for each in done]),
            since_previous=percentiles_ms(since_previous[stage]),
            histogram=histogram_text(each.latency_ns for each in done),
            seconds=seconds(journal, done),
        )
        for stage, done in since_start.items()
    }


def _devices(journal: Journal) -> DeviceCounts:
    found = journal.derive(onboarding)
    ended = {record.endpoint: record.state for record in journal.of(DeviceEnded)}
    by_model: defaultdict[str, Counter[str]] = defaultdict(Counter)
    models = {record.endpoint: record.model for record in journal.of(DeviceStarted)}
    for endpoint, model in models.items():
        by_model[model][_final_state(endpoint, found, ended)] += 1
    return DeviceCounts(
        total=len(models),
        online=len(found.stages["online"].keys() & models.keys()),
        by_model={model: dict(states.most_common()) for model, states in sorted(by_model.items())},
    )


def _final_state(endpoint: str, found: Onboarding, ended: Mapping[str, str]) -> str:
    if endpoint in found.unknown:
        return "unknown, ignored"
    state = ended.get(endpoint)
    if state is None:
        reached = [stage for stage in STAGES if endpoint in found.stages[stage]]
        return reached[-1] if reached else "silent"
    return "online" if state == "connected" and endpoint in found.stages["online"] else state


def _bench(journal: Journal) -> BenchFigures:
    ready, down = journal.of(BenchReady), journal.of(BenchDown)
    return BenchFigures(
        ready_s=round(ready[0].ready_s, 3) if ready else None,
        down_s=round(down[-1].down_s, 3) if down else None,
        faults=journal.derive(bench_faults),
    )


def _provisioning(journal: Journal) -> ProvisioningFigures | None:
    ended = journal.of(ImportEnded)
    if not ended:
        return None
    rows, duration_s = sum(e.rows for e in ended), sum(e.duration_s for e in ended)
    return ProvisioningFigures(
        rows=rows,
        accepted=sum(e.accepted for e in ended),
        rejected=sum(e.rejected for e in ended),
        duration_s=round(duration_s, 3),
        rows_per_s=round(rows / duration_s, 1) if duration_s else 0.0,
    )


# ---- rates ----


def _throughput(journal: Journal) -> dict[str, Throughput]:
    found = journal.derive(onboarding)
    arrivals = sorted(device.intended_at_ns for device in found.devices.values())
    rates: dict[str, Throughput] = {}
    for stage in RATED_STAGES:
        reached = found.stages[stage]
        completions = [reached[endpoint] for endpoint in found.devices if endpoint in reached]
        rates[stage] = _rate(arrivals, completions)
    rates["readings_stored"] = _rate(*readings_ns(journal))
    commands = journal.derive(commanding)
    rates["commands"] = _rate(
        [command.intended_at_ns for command in commands.issued.values()],
        list(commands.ended_ns.values()),
    )
    return {what: rate for what, rate in rates.items() if rate.count}


def readings_ns(journal: Journal) -> tuple[list[int], list[int]]:
    """When every reading was made, and when every one was stored."""
    made = [pack.at_ns for pack in journal.of(PackGenerated) for _ in pack.records]
    stored = [commit.at_ns for commit in journal.of(ReadingsStored) for _ in commit.rows]
    return made, stored


def _rate(arrivals_ns: Sequence[int], completions_ns: Sequence[int]) -> Throughput:
    arrived, completed = sorted(arrivals_ns), sorted(completions_ns)
    sustained = slope_per_s(completed)
    return Throughput(
        count=len(completed),
        sustained_per_s=None if sustained is None else round(sustained, 1),
        peak_per_s=peak_per_s(completed),
        backlog_grew=backlog_grew(arrived, completed),
    )


# ---- readings, commands, alarms ----


def _readings(journal: Journal) -> ReadingCounts:
    books = journal.derive(account)
    return ReadingCounts(
        generated=books.generated,
        sent=books.sent,
        acknowledged=books.acknowledged,
        stored=books.stored,
        lost=len(books.lost),
        duplicated=len(books.duplicated),
        redelivered=books.redelivered,
        reordered=books.reordered,
        late=books.late,
        altered=len(books.altered),
        conflicted=len(books.conflicted),
        misrouted=len(books.misrouted),
        dropped=books.dropped,
        unknown=books.unknown,
    )


def _commands(journal: Journal) -> CommandCounts:
    found = journal.derive(commanding)
    states = Counter(found.states.get(identifier, "unknown") for identifier in found.issued)
    issued = Counter((command.endpoint, command.path) for command in found.issued.values())
    again = sum(max(0, times - issued[target]) for target, times in found.executed.items())
    return CommandCounts(
        issued=len(found.issued),
        sent=len(found.sent),
        succeeded=states["succeeded"],
        refused=states["refused"] + states["failed"],
        expired=states["expired"],
        unknown=len(found.issued)
        - sum(states[s] for s in ("succeeded", "refused", "failed", "expired", "cancelled")),
        executed=sum(found.executed.values()),
        executed_again=again,
        latency=percentiles_ms(command_latencies_ns(journal)),
    )


def command_latencies_ns(journal: Journal) -> list[int]:
    """From each command's intended start to its outcome at the server."""
    ended_ns = journal.derive(commanding).ended_ns
    return [
        ended_ns[command.id] - command.intended_at_ns
        for command in journal.of(CommandIssued)
        if command.id in ended_ns
    ]


def _alarms(journal: Journal) -> dict[str, AlarmCounts]:
    counts = Counter((record.alarm, record.raised) for record in journal.of(AlarmStored))
    return {
        alarm: AlarmCounts(raised=counts[alarm, True], cleared=counts[alarm, False])
        for alarm in sorted({alarm for alarm, _ in counts})
    }


# ---- load and cost ----


def _loader(journal: Journal) -> LoaderFigures:
    found = journal.derive(load)
    built, planned = journal.of(FleetBuilt), journal.of(LoadPlanned)
    return LoaderFigures(
        intended_per_s=_rounded(found.intended_per_s),
        actual_per_s=_rounded(found.actual_per_s),
        start_lag_p99_ms=_rounded(found.start_lag_p99_ms),
        start_lag_max_ms=_rounded(found.start_lag_max_ms),
        loop_delay_p99_ms=_rounded(found.loop_delay_p99_ms),
        loop_delay_max_ms=_rounded(found.loop_delay_max_ms),
        lags={
            kind: LagFigures(
                issued=lag.issued,
                missed=lag.missed,
                p99_ms=round(lag.p99_ms, 3),
                max_ms=round(lag.max_ms, 3),
            )
            for kind, lag in found.lags.items()
        },
        socket_drops=found.socket_drops,
        retransmissions=found.retransmissions,
        saturated=bool(found.faults),
        faults=found.faults,
        limits=found.limits,
        profile=planned[0].profile if planned else "",
        intended=planned[0].events if planned else {},
        fleet_processes=max(1, len({each.process for each in built})),
        addresses=" and ".join(sorted({each.addresses for each in built})),
        cpu_s=round(sum(each.cpu_s for each in processes(journal) if is_fleet(each.process)), 3),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def processes(journal: Journal) -> list[ProcessFigures]:
    """CPU and memory of every process; one that was killed and restarted counts as one."""
    samples: defaultdict[tuple[str, str], list[ProcessSample]] = defaultdict(list)
    for sample in journal.of(ProcessSample):
        samples[sample.side, sample.process].append(sample)
    duration_s = max(1e-9, journal.since_start_s(journal.ended_ns))
    found = []
    for (side, process), of_process in samples.items():
        cpu_s = cpu_used_s(of_process)[-1][1]
        found.append(
            ProcessFigures(
                process=process,
                side=side,
                cpu_s=round(cpu_s, 3),
                cores_mean=round(cpu_s / duration_s, 3),
                rss_bytes_max=max(sample.rss_bytes for sample in of_process),
                descriptors_max=max(sample.descriptors for sample in of_process),
            )
        )
    return sorted(found, key=lambda figures: (_side_order(figures.side), -figures.cpu_s))


def cpu_used_s(samples: Sequence[ProcessSample]) -> list[tuple[int, float]]:
    """(at_ns, CPU seconds so far) of one process; a new incarnation counts on from the old."""
    used: list[tuple[int, float]] = []
    earlier_s = last_s = 0.0
    for sample in samples:
        if sample.cpu_s < last_s:
            earlier_s += last_s
        last_s = sample.cpu_s
        used.append((sample.at_ns, earlier_s + last_s))
    return used


def _side_order(side: str) -> int:
    return SIDES.index(side) if side in SIDES else len(SIDES)


def _sides(of_processes: Sequence[ProcessFigures]) -> list[SideFigures]:
    total_s = sum(figures.cpu_s for figures in of_processes) or 1.0
    found = []
    for side in dict.fromkeys(figures.side for figures in of_processes):
        members = [figures for figures in of_processes if figures.side == side]
        cpu_s = sum(figures.cpu_s for figures in members)
        found.append(
            SideFigures(
                side=side,
                cpu_s=round(cpu_s, 3),
                cores_mean=round(sum(figures.cores_mean for figures in members), 3),
                cpu_ratio=round(cpu_s / total_s, 4),
                rss_bytes_max=sum(figures.rss_bytes_max for figures in members),
            )
        )
    return found


# ---- what else happened ----


def _kills(journal: Journal) -> list[Kill]:
    return [
        Kill(
            process=record.process,
            point=record.point,
            at_s=round(journal.since_start_s(record.at_ns), 3),
            endpoint=record.endpoint,
        )
        for record in journal.of(ProcessKilled)
    ]


def _notes(journal: Journal) -> list[str]:
    return [f"the bench failed: {fault}" for fault in journal.derive(bench_faults)] + [
        note.text or f"{note.name} {note.endpoint} {note.value:g}".strip()
        for note in journal.of(Note)
        if note.name not in _QUIET_NOTES and ":" not in note.name
    ]


def _named(journal: Journal, prefix: str) -> dict[str, str]:
    return {
        note.name.removeprefix(prefix): note.text
        for note in journal.of(Note)
        if note.name.startswith(prefix)
    }
