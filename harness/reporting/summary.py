"""The end of a run on a terminal: verdict, stages, what is wrong, and where the report is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from contracts.load import LWM2M_ALONE, OPTION_PARTS
from contracts.report import CheckResult, OperationFigures, ReadingCounts, Report, StageFigures
from harness.reporting.page import headline, verdict_word, words
from harness.reporting.scale import milliseconds

_STYLES = {"holds": "green", "broken": "red", "inconclusive": "yellow"}
_MARKS = {"holds": "✓", "broken": "✕", "inconclusive": "?"}
EVIDENCE_SHOWN = 3
_FAULTS = ("lost", "duplicated", "altered", "misrouted", "conflicted", "dropped")


def print_summary(report: Report, directory: Path, console: Console) -> None:
    """Print the run's verdict in a screenful."""
    console.print(_verdict(report))
    console.print(_stages(report))
    console.print(_figures(report))
    for check in report.checks:
        if check.outcome != "holds":
            console.print(_check(check))
    for note in report.notes:
        console.print(Text(f"! {note}", style="yellow"))
    name = "report.json" if _is_from_locust(report) else "report.html"
    console.print(Text(f"The report: {directory / name}"), soft_wrap=True)


def _verdict(report: Report) -> Panel:
    style = _STYLES[report.verdict]
    title = Text(f"{_MARKS[report.verdict]} {verdict_word(report).upper()}", style=f"bold {style}")
    lines = [Text(headline(report)), Text(f"Claim: {report.claim}", style="dim")]
    if report.defect:
        lines.append(Text(f"planted defect: {report.defect}", style="yellow"))
    return Panel(
        Group(*lines),
        title=title,
        title_align="left",
        subtitle=Text(f"{report.scenario} · exit {report.exit_code}", style="dim"),
        subtitle_align="right",
        border_style=style,
    )


def _stages(report: Report) -> Group:
    """Laid out by hand: 80 columns hold it without a break, and a heading spans its columns."""
    return Group(
        Text(f"{'':31}{'since intended start':>24}   {'since previous':>16}", style="dim"),
        _stage_line("stage", "devices", ("p50", "p99", "max", "p50", "p99"), "dim"),
        *(
            _stage_line(words(stage), f"{figures.count:,}", _latencies(figures))
            for stage, figures in report.stages.items()
            # Without a platform nobody gets further than that.
            if figures.count or not _is_lwm2m_alone(report)
        ),
    )


def _stage_line(stage: str, devices: str, latencies: Sequence[str], style: str = "") -> Text:
    p50, p99, most, previous_p50, previous_p99 = latencies
    return Text(
        f"{stage:<23}{devices:>8}{p50:>8}{p99:>8}{most:>8}   {previous_p50:>8}{previous_p99:>8}",
        style=style,
        no_wrap=True,
    )


def _latencies(figures: StageFigures) -> list[str]:
    start, previous = figures.since_start, figures.since_previous
    return [
        *(map(milliseconds, (start.p50, start.p99, start.max)) if start else ("–",) * 3),
        *(map(milliseconds, (previous.p50, previous.p99)) if previous else ("–",) * 2),
    ]


def _figures(report: Report) -> Table:
    online = report.throughput.get("online")
    commands, loader = report.commands, report.loader
    rate = (
        "–" if online is None or online.sustained_per_s is None else f"{online.sustained_per_s:g}"
    )
    of_platform = {
        "devices": f"{report.devices.online:,} of {report.devices.total:,} online, {rate} a second",
        # Locust counts packs: what became of the readings in them it does not know.
        "readings": "not counted: the journals of the fleets are elsewhere"
        if _is_from_locust(report)
        else _readings(report.readings),
        "commands": f"{commands.succeeded:,} of {commands.issued:,} succeeded",
        "alarms": ", ".join(
            f"{words(alarm)} {counts.raised}↑ {counts.cleared}↓"
            for alarm, counts in report.alarms.items()
        )
        or "none",
    }
    rows = {
        **({"devices": _registered(report)} if _is_lwm2m_alone(report) else of_platform),
        **{words(kind): _work(work) for kind, work in report.operations.items()},
        "cpu": ", ".join(
            f"{side.side} {side.cpu_s:.1f} s ({side.cpu_ratio:.0%})" for side in report.sides
        )
        or "not sampled",
        "bench": f"ready in {_seconds(report.bench.ready_s)}, down in "
        f"{_seconds(report.bench.down_s)}",
        "loader": ("saturated: " + "; ".join(loader.faults) if loader.saturated else "kept up")
        + f" ({_many(loader.fleet_processes, 'fleet process', 'es')}, "
        f"addresses {loader.addresses or 'unknown'})",
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(Text(name, style="dim"), Text(text))
    return table


def _is_from_locust(report: Report) -> bool:
    """Whether the fleets' journals, which a page is made from, are on other machines."""
    return report.options.get("figures_from") == "locust"


def _is_lwm2m_alone(report: Report) -> bool:
    """Whether only the LwM2M server and a fleet were there."""
    return report.options.get(OPTION_PARTS) == LWM2M_ALONE


def _registered(report: Report) -> str:
    rate = report.throughput.get("registered")
    told = "–" if rate is None or rate.sustained_per_s is None else f"{rate.sustained_per_s:g}"
    return f"{rate.count if rate else 0:,} of {report.devices.total:,} registered, {told} a second"


def _work(work: OperationFigures) -> str:
    latency = work.latency
    if latency is None:
        return f"none of {work.unfinished:,} completed"
    told = ", ".join(
        f"{name} {milliseconds(value)}"
        for name, value in (
            ("p50", latency.p50),
            ("p99", latency.p99),
            ("p99.99", latency.p99_99),
            ("max", latency.max),
        )
        if value is not None
    )
    return f"{work.count:,} completed, {told}"


def _readings(counts: ReadingCounts) -> str:
    faults = [f"{count:,} {name}" for name in _FAULTS if (count := getattr(counts, name))]
    if counts.unknown:
        faults.append(f"{counts.unknown:,} unknown: sent or not, never acknowledged")
    return (
        f"{counts.generated:,} made, {counts.acknowledged:,} acknowledged, "
        f"{counts.stored:,} stored; "
        + (", ".join(faults) or "none lost, duplicated, altered, misrouted or unknown")
    )


def _many(count: int, noun: str, plural: str) -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _check(check: CheckResult) -> Group:
    style = _STYLES[check.outcome]
    lines: list[Text | Padding] = [
        Text.assemble(
            (f"{_MARKS[check.outcome]} {words(check.name)}", f"bold {style}"), f": {check.summary}"
        )
    ]
    for row in check.evidence[:EVIDENCE_SHOWN]:
        at = "" if row.at_s is None else f"t+{row.at_s:.2f} s  "
        expected = f" (expected: {row.expected})" if row.expected else ""
        lines.append(_indented(f"{at}{row.endpoint}  {row.observed}{expected}"))
    more = check.evidence_total - len(check.evidence[:EVIDENCE_SHOWN])
    if more > 0:
        lines.append(_indented(f"… and {more:,} more in the report"))
    return Group(*lines)


def _indented(text: str) -> Padding:
    return Padding(Text(text, style="dim"), (0, 0, 0, 4))
