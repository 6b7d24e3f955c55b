"""What the charts show: onboarding curves, rates, CPU by side, over the seconds of the run."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil

from markupsafe import Markup

from contracts.journal import STAGES, PhaseBegan, ProcessKilled, ProcessSample, Stage
from harness.checks.figures import percentile
from harness.checks.onboarding import onboarding, stage_gaps_ns
from harness.journal import Journal
from harness.reporting.build import SIDES, cpu_used_s, readings_ns
from harness.reporting.scale import Tick, linear_ticks, seconds
from harness.reporting.svg import Line, Marker, Ridge, latency_ticks, line_chart, ridges

POINTS_MAX = 240
_S = 1_000_000_000
STAGE_WORDS: dict[Stage, str] = {
    "registered": "Registered",
    "event_published": "Event published",
    "credentials_published": "Credentials published",
    "bootstrapped": "Bootstrapped",
    "mqtt_connected": "MQTT connected",
    "online": "Online",
}
# The stages that are drawn over time, and the class that colours each.
_CURVES: tuple[tuple[Stage, str], ...] = (
    ("registered", "s1"),
    ("bootstrapped", "s2"),
    ("online", "s3"),
)
# More kills than these are told by the legend, not each in words.
KILLS_NAMED_MAX = 4
Legend = list[tuple[str, str]]
"""(what a colour or a kind of line stands for, its class)"""
QUANTILES: Legend = [("p50", "rule"), ("p99", "rule dashed")]
Chart = tuple[Markup, Legend]


def onboarding_chart(journal: Journal) -> Chart | None:
    """Arrivals as intended against what was completed, as counts over time."""
    found = journal.derive(onboarding)
    arrivals = sorted(device.intended_at_ns for device in found.devices.values())
    if not arrivals:
        return None
    curves = [("Intended arrivals", "s0", arrivals)]
    for stage, style in _CURVES:
        reached = found.stages[stage]
        times = sorted(reached[endpoint] for endpoint in found.devices if endpoint in reached)
        curves.append((STAGE_WORDS[stage], style, times))
    begins = arrivals[0] - _S // 4
    ends = max(times[-1] for _, _, times in curves if times) + _S // 4
    ticks = _time_ticks(0.0, (ends - begins) / _S)
    lines = [Line(name, style, _cumulative(times, begins, ends)) for name, style, times in curves]
    kills = _kills(journal, begins, ends)
    chart = line_chart(
        lines,
        title="Devices over time: intended arrivals, registered, bootstrapped, online",
        x_ticks=ticks,
        markers=kills,
    )
    return chart, _legend(lines, kills)


def readings_chart(journal: Journal) -> Chart | None:
    """Readings made and stored per second."""
    made, stored = readings_ns(journal)
    if not made and not stored:
        return None
    begins, ends = journal.began_ns, journal.ended_ns
    lines = [
        Line("Made by devices", "s0", _per_second(sorted(made), begins, ends)),
        Line("Stored", "s3", _per_second(sorted(stored), begins, ends)),
    ]
    return _over_run(journal, lines, "Readings per second, made and stored")


def cpu_chart(journal: Journal) -> Chart | None:
    """Cores in use by each side, on top of each other."""
    cores = cpu_by_side(journal)
    if not cores:
        return None
    lines = [
        Line(side.capitalize(), f"s{SIDES.index(side) + 1}", points)
        for side, points in cores.items()
    ]
    return _over_run(journal, lines, "CPU cores in use by side", stacked=True)


def latency_charts(journal: Journal) -> tuple[Markup, Markup]:
    """Distributions of each stage's latency, from the intended start and from the stage before.

    Both on one scale, so that the one can be compared with the other.
    """
    since_start: dict[Stage, list[float]] = {stage: [] for stage in STAGES}
    since_previous: dict[Stage, list[float]] = {stage: [] for stage in STAGES}
    for stage, _, start_ns, previous_ns in stage_gaps_ns(journal.derive(onboarding)):
        since_start[stage].append(start_ns / 1e6)
        since_previous[stage].append(previous_ns / 1e6)
    start, previous = _ridges(since_start), _ridges(since_previous)
    ticks = latency_ticks([*start, *previous])
    return (
        ridges(start, ticks, title="Latency of each stage since the intended start"),
        ridges(previous, ticks, title="Latency of each stage since the previous stage"),
    )


def _ridges(values: Mapping[Stage, list[float]]) -> list[Ridge]:
    return [
        Ridge(STAGE_WORDS[stage], found := sorted(of_stage), _marks(found))
        for stage, of_stage in values.items()
    ]


def _marks(values_ms: Sequence[float]) -> list[tuple[str, float]]:
    if not values_ms:
        return []
    return [(name, percentile(values_ms, ratio)) for name, ratio in (("p50", 0.5), ("p99", 0.99))]


def cpu_by_side(journal: Journal) -> dict[str, list[tuple[float, float]]]:
    """Cores in use by each side at equally spaced moments: (seconds of the run, cores)."""
    of_process: defaultdict[tuple[str, str], list[ProcessSample]] = defaultdict(list)
    for sample in journal.of(ProcessSample):
        of_process[sample.side, sample.process].append(sample)
    grid = _moments(journal.began_ns, journal.ended_ns)
    totals: dict[str, list[float]] = {}
    for side in SIDES:
        # Sampling begins when the bench is ready; what starting it took is spread over that time.
        curves = [
            [(journal.began_ns, 0.0), *cpu_used_s(of)]
            for (of_side, _), of in of_process.items()
            if of_side == side
        ]
        if curves:
            totals[side] = [sum(_used_at(curve, at_ns) for curve in curves) for at_ns in grid]
    return {
        side: [
            (journal.since_start_s(now), max(0.0, (used[n + 1] - used[n]) / ((now - before) / _S)))
            for n, (before, now) in enumerate(pairwise(grid))
        ]
        for side, used in totals.items()
    }


def _used_at(curve: Sequence[tuple[int, float]], at_ns: int) -> float:
    """CPU seconds used by `at_ns`, straight between samples."""
    after = bisect_left(curve, at_ns, key=lambda sample: sample[0])
    if after == 0:
        return 0.0
    if after == len(curve):
        return curve[-1][1]
    (t0, used0), (t1, used1) = curve[after - 1], curve[after]
    return used0 + (used1 - used0) * (at_ns - t0) / max(1, t1 - t0)


def _over_run(
    journal: Journal, lines: Sequence[Line], title: str, *, stacked: bool = False
) -> Chart:
    begins, ends = journal.began_ns, journal.ended_ns
    kills = _kills(journal, begins, ends)
    chart = line_chart(
        lines,
        title=title,
        x_ticks=_time_ticks(0.0, (ends - begins) / _S),
        markers=[*_phases(journal), *kills],
        height=220.0,
        stacked=stacked,
    )
    return chart, _legend(lines, kills)


def _legend(lines: Sequence[Line], kills: Sequence[Marker]) -> Legend:
    counted = [(f"kills ({len(kills)})", "kill")] if len(kills) > KILLS_NAMED_MAX else []
    return [(line.name, line.style) for line in lines] + counted


def _phases(journal: Journal) -> list[Marker]:
    return [
        Marker(journal.since_start_s(phase.at_ns), phase.phase) for phase in journal.of(PhaseBegan)
    ]


def _kills(journal: Journal, begins: int, ends: int) -> list[Marker]:
    kills = [kill for kill in journal.of(ProcessKilled) if begins <= kill.at_ns <= ends]
    return [
        Marker(
            (kill.at_ns - begins) / _S,
            f"{kill.process} killed",
            "kill",
            is_named=len(kills) <= KILLS_NAMED_MAX,
        )
        for kill in kills
    ]


def _time_ticks(begins_s: float, ends_s: float) -> list[Tick]:
    return linear_ticks(max(ends_s - begins_s, 1e-3), 8, seconds)


def _moments(begins: int, ends: int) -> list[int]:
    """Equally spaced moments, at least half a second apart."""
    count = max(1, min(POINTS_MAX, (ends - begins) * 2 // _S))
    return [begins + (ends - begins) * n // count for n in range(count + 1)]


def _cumulative(times: Sequence[int], begins: int, ends: int) -> list[tuple[float, float]]:
    grid = [begins + (ends - begins) * n // POINTS_MAX for n in range(POINTS_MAX + 1)]
    return [((at - begins) / _S, float(bisect_right(times, at))) for at in grid]


def _per_second(times: Sequence[int], begins: int, ends: int) -> list[tuple[float, float]]:
    """The mean rate of each piece of the run, drawn at the piece's middle."""
    pieces = max(1, min(POINTS_MAX, ceil((ends - begins) / _S)))
    edges = [begins + (ends - begins) * n // pieces for n in range(pieces + 1)]
    return [
        (
            ((low + high) / 2 - begins) / _S,
            (bisect_left(times, high) - bisect_left(times, low)) / max(1e-9, (high - low) / _S),
        )
        for low, high in pairwise(edges)
    ]


def charts(journal: Journal) -> dict[str, Chart | None]:
    """The charts over time, by name; None where nothing was observed."""
    return {
        "onboarding": onboarding_chart(journal),
        "readings": readings_chart(journal),
        "cpu": cpu_chart(journal),
    }
