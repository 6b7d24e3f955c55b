"""A schedule in a terminal: counts, the rate over city time as columns, the peak, what happens."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from contracts.schedule import KINDS
from harness.city_day.axis import time_ticks
from harness.city_day.tally import ScheduleFigures

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_ROWS = 8
_AXIS = 9
_COLUMNS_MAX = 120
_COLUMNS_MIN = 24
_LABEL, _LABEL_EVERY = 5, 10
_SHOWN_MAX = 24


def print_figures(figures: ScheduleFigures, console: Console) -> None:
    """Print a schedule's figures; lines fit the console."""
    console.print(
        f"[bold]{escape(figures.city)}[/bold] {figures.date} "
        f"{figures.from_time} to {figures.to_time}, seed {figures.seed}, speed {figures.speed:g}: "
        f"{figures.events:,} events in {duration(figures.duration_s)} of the run",
        highlight=False,
    )
    console.print(_counts(figures))
    console.print(chart(figures, console.width))
    console.print(peak_sentence(figures), highlight=False)
    for happening in figures.happenings[:_SHOWN_MAX]:
        console.print(Text(f"  {happening.city_time}  {happening.kind:<10}  {happening.text}"))
    more = len(figures.happenings) - _SHOWN_MAX
    if more > 0:
        console.print(f"  and {more:,} more; --html shows all")


def peak_sentence(figures: ScheduleFigures) -> str:
    """What the live run has to stand."""
    return (
        f"At speed {figures.speed:g} this asks for {figures.reports_per_s_mean:,.1f} reports/s, "
        f"and {figures.reports_per_s_peak:,.0f} reports/s at {figures.peak_city_time} city time "
        f"(second {figures.peak_at_s:,.0f} of the run)."
    )


def duration(seconds: float) -> str:
    """A length of time: `24 min`, `90 s`, `2 h 10 min`."""
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60.0)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _counts(figures: ScheduleFigures) -> Table:
    kinds = [kind for kind in KINDS if any(kind in found for found in figures.counts.values())]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model")
    for title in ("devices", *(kind.replace("_", " ") for kind in kinds)):
        table.add_column(title, justify="right")
    for model, devices in figures.devices.items():
        counts = figures.counts.get(model, {})
        cells = [f"{counts[kind]:,}" if kind in counts else "–" for kind in kinds]
        table.add_row(model.replace("_", " "), f"{devices:,}", *cells)
    return table


def chart(figures: ScheduleFigures, width: int) -> Text:
    """Reports per second over city time, as columns of eighths."""
    totals = [sum(each) for each in zip(*figures.reports_by_slice.values(), strict=True)]
    columns = max(_COLUMNS_MIN, min(_COLUMNS_MAX, width - _AXIS - 1))
    rates = [value / figures.slice_s for value in _resampled(totals, columns)]
    highest = max(rates, default=0.0) or 1.0
    text = Text(no_wrap=True)
    text.append("reports/s\n", style="dim")
    for row in range(_ROWS - 1, -1, -1):
        label = f"{highest * (row + 1) / _ROWS:>{_AXIS - 2},.1f} " if row % 2 else " " * (_AXIS - 1)
        text.append(label, style="dim")
        text.append("".join(_cell(rate / highest, row) for rate in rates), style="cyan")
        text.append("\n")
    text.append(_time_axis(figures, columns), style="dim")
    return text


def _cell(share: float, row: int) -> str:
    filled = share * _ROWS - row
    return _EIGHTHS[max(0, min(8, round(filled * 8)))]


def _resampled(values: Sequence[int], columns: int) -> list[float]:
    """Means over as many columns as wanted; each slice counts by its part in a column."""
    size = len(values) / columns
    found = []
    for column in range(columns):
        begins, ends = column * size, (column + 1) * size
        total = 0.0
        for place in range(int(begins), min(len(values), int(ends) + 1)):
            total += values[place] * max(0.0, min(ends, place + 1) - max(begins, place))
        found.append(total / size)
    return found


def _time_axis(figures: ScheduleFigures, columns: int) -> str:
    line = [" "] * (columns + _LABEL)
    free = 0
    for tick in time_ticks(figures, max(2, columns // _LABEL_EVERY)):
        # The label stands over its moment's column, the last one before the line's end.
        column = round(tick.value / figures.duration_s * columns)
        begins = min(max(0, column - _LABEL // 2), columns - _LABEL)
        if begins >= free:
            line[begins : begins + _LABEL] = tick.label
            free = begins + _LABEL + 1
    return " " * (_AXIS - 1) + "".join(line).rstrip()
