"""The end of a run on a terminal: verdict, stages, what is wrong, and where the report is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from contracts.report import CheckResult, Report
from harness.reporting.page import headline, words
from harness.reporting.scale import milliseconds

_STYLES = {"holds": "green", "broken": "red", "inconclusive": "yellow"}
_MARKS = {"holds": "✓", "broken": "✕", "inconclusive": "?"}
EVIDENCE_SHOWN = 3


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
    console.print(Text(f"report  {directory / 'report.html'}"), soft_wrap=True)


def _verdict(report: Report) -> Panel:
    style = _STYLES[report.verdict]
    title = Text(f"{_MARKS[report.verdict]} {report.verdict.upper()}", style=f"bold {style}")
    lines = [Text(headline(report)), Text(report.claim, style="dim")]
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


def _stages(report: Report) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("stage")
    for name in ("devices", "p50", "p90", "p99", "max", "after previous, p50", "p99"):
        table.add_column(name, justify="right")
    for stage, figures in report.stages.items():
        start, previous = figures.since_start, figures.since_previous
        values = [start.p50, start.p90, start.p99, start.max] if start else []
        values += [previous.p50, previous.p99] if previous else []
        table.add_row(words(stage), f"{figures.count:,}", *map(milliseconds, values))
    return table


def _figures(report: Report) -> Table:
    online = report.throughput.get("online")
    readings, commands, loader = report.readings, report.commands, report.loader
    faults = [
        f"{count:,} {name}"
        for name in ("lost", "duplicated", "altered", "misrouted", "unknown")
        if (count := getattr(readings, name))
    ]
    rate = (
        "–" if online is None or online.sustained_per_s is None else f"{online.sustained_per_s:g}"
    )
    rows = {
        "devices": f"{report.devices.online:,} of {report.devices.total:,} online, {rate} a second",
        "readings": f"{readings.stored:,} stored of {readings.generated:,}, "
        + (", ".join(faults) or "nothing lost, duplicated, altered, misrouted or unknown"),
        "commands": f"{commands.succeeded:,} of {commands.issued:,} succeeded",
        "alarms": ", ".join(
            f"{words(alarm)} {counts.raised}↑ {counts.cleared}↓"
            for alarm, counts in report.alarms.items()
        )
        or "none",
        "bench": f"ready in {_seconds(report.bench.ready_s)}, down in "
        f"{_seconds(report.bench.down_s)}; loader {'saturated' if loader.saturated else 'kept up'}",
    }
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(Text(name, style="dim"), Text(text))
    return table


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _check(check: CheckResult) -> Group:
    style = _STYLES[check.outcome]
    lines = [
        Text.assemble(
            (f"{_MARKS[check.outcome]} {words(check.name)}", f"bold {style}"), f": {check.summary}"
        )
    ]
    for row in check.evidence[:EVIDENCE_SHOWN]:
        at = "" if row.at_s is None else f"t+{row.at_s:.2f} s  "
        expected = f", expected {row.expected}" if row.expected else ""
        lines.append(Text(f"    {at}{row.endpoint}  {row.observed}{expected}", style="dim"))
    more = check.evidence_total - len(check.evidence[:EVIDENCE_SHOWN])
    if more > 0:
        lines.append(Text(f"    … and {more:,} more in the report", style="dim"))
    return Group(*lines)
