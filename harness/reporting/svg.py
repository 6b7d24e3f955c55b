"""Draws charts as inline SVG. Colours are classes, so that the page decides on light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log10
from typing import NamedTuple

from markupsafe import Markup, escape

from harness.reporting.scale import Scale, Tick, linear_ticks, log_ticks, milliseconds, plain

WIDTH = 940.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 14.0, 16.0, 30.0
_MARKER_ROWS = 3
_MARKER_ROW_HEIGHT = 15.0
_MARKER_GAP = 10.0
_CHARACTER_WIDTH = 6.4
_RIDGE_BINS = 72
_RIDGE_HEIGHT = 46.0
_RIDGE_LABEL = 168.0
_RIDGE_FIGURES = 190.0


class Line(NamedTuple):
    """One series of (x, y) in order of x. `style` is a class of the page's style sheet."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


class Marker(NamedTuple):
    """A moment that is worth a word, or with `is_named` false a line."""

    x: float
    label: str
    style: str = "phase"
    is_named: bool = True


class Ridge(NamedTuple):
    """One row of a chart of distributions: milliseconds in order, and the words beside it."""

    name: str
    values_ms: Sequence[float]
    marks_ms: Sequence[tuple[str, float]]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_ticks: Sequence[Tick],
    markers: Sequence[Marker] = (),
    height: float = 260.0,
    stacked: bool = False,
) -> Markup:
    """Lines over time, or areas on top of each other. All lines of a stack share their x."""
    tops = _stack(lines) if stacked else [line.points for line in lines]
    highest = max((y for points in tops for _, y in points), default=1.0)
    y_ticks = linear_ticks(highest or 1.0, 4, plain)
    x = Scale(x_ticks[0].value, x_ticks[-1].value, _LEFT, WIDTH - _RIGHT)
    labels = place_labels(markers, x)
    rows = 1 + max((label.row for label in labels if label is not None), default=-1)
    # The words have rows of their own above the curves, which would strike them through.
    headroom = _MARKER_ROW_HEIGHT * rows
    height += headroom
    y = Scale(0.0, y_ticks[-1].value, height - _BOTTOM, _TOP + headroom)
    parts = [*_grid(x, y, x_ticks, y_ticks), *_markers(markers, labels, x, y)]
    if stacked:
        floors = [[(at, 0.0) for at, _ in points] for points in tops[:1]] + list(tops[:-1])
        for line, top, below in zip(lines, tops, floors, strict=True):
            parts.append(_area(line, top, below, x, y))
    else:
        parts += (_polyline(line, x, y) for line in lines)
    return _svg(parts, title, height)


def latency_ticks(rows: Sequence[Ridge]) -> list[Tick]:
    """Ticks of a logarithmic axis of milliseconds that holds all the rows."""
    values = [value for row in rows for value in row.values_ms]
    low = max(0.01, min((value for value in values if value > 0.0), default=1.0))
    return log_ticks(low, max(values, default=10.0), milliseconds)


def ridges(rows: Sequence[Ridge], ticks: Sequence[Tick], *, title: str) -> Markup:
    """Distributions under each other on one logarithmic axis of milliseconds."""
    x = Scale(ticks[0].value, ticks[-1].value, _RIDGE_LABEL, WIDTH - _RIDGE_FIGURES, is_log=True)
    height = _RIDGE_HEIGHT * len(rows) + _BOTTOM + 6.0
    base = height - _BOTTOM
    parts = []
    for tick in ticks:
        place = x.place(tick.value)
        parts.append(f'<line class="grid" x1="{place}" x2="{place}" y1="4" y2="{base}"/>')
        parts.append(_text(place, base + 18, tick.label, "tick", "middle"))
    for number, row in enumerate(rows):
        parts += _ridge(row, x, (number + 1) * _RIDGE_HEIGHT)
    return _svg(parts, title, height)


def bar(ratio: float, style: str, title: str) -> Markup:
    """A short horizontal bar for a cell of a table."""
    width = round(100.0 * min(1.0, max(0.0, ratio)), 2)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img">'
        '<title>{}</title><rect class="track" width="100" height="8" rx="2"/>'
        '<rect class="fill {}" width="{}" height="8" rx="2"/></svg>'
    ).format(title, style, width)


def _svg(parts: Iterable[str], title: str, height: float) -> Markup:
    # Every part has its texts escaped; what is joined here is markup throughout.
    body = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{body}</svg>'
    )


def _text(x: float, y: float, text: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _grid(x: Scale, y: Scale, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick]) -> Iterable[str]:
    for tick in y_ticks:
        place = y.place(tick.value)
        style = "axis" if tick.value == 0.0 else "grid"
        yield f'<line class="{style}" x1="{x.begins}" x2="{x.ends}" y1="{place}" y2="{place}"/>'
        yield _text(x.begins - 8, place + 4, tick.label, "tick", "end")
    for tick in x_ticks:
        yield _text(x.place(tick.value), y.begins + 19, tick.label, "tick", "middle")


class Label(NamedTuple):
    """Where a marker's word begins; its line begins beneath its row, 0 being the highest."""

    begins: float
    row: int


def place_labels(markers: Sequence[Marker], x: Scale) -> list[Label | None]:
    """A place for each marker's word; None where no row has room, or it is not to be named.

    No word touches another, and no marker's line crosses one.
    """
    free_from, words_end = [x.begins] * _MARKER_ROWS, [x.begins] * _MARKER_ROWS
    placed: list[Label | None] = [None] * len(markers)
    for number, marker in sorted(enumerate(markers), key=lambda each: each[1].x):
        if not marker.is_named:
            continue
        place, width = x.place(marker.x), _CHARACTER_WIDTH * len(marker.label)
        for row, free in enumerate(free_from):
            begins = min(max(place, free), x.ends - width)
            is_near = free <= begins <= place + _MARKER_GAP
            if is_near and all(place >= end for end in words_end[row + 1 :]):
                placed[number] = Label(begins, row)
                words_end[row] = begins + width
                free_from[row] = begins + width + _MARKER_GAP
                # Its line goes down through the rows below.
                free_from[row + 1 :] = (max(place + 4.0, f) for f in free_from[row + 1 :])
                break
    return placed


def _markers(
    markers: Sequence[Marker], labels: Sequence[Label | None], x: Scale, y: Scale
) -> Iterable[str]:
    """Upright lines, each from its word, where it has one, down to the axis."""
    for marker, label in zip(markers, labels, strict=True):
        place, top = x.place(marker.x), y.ends
        if label is not None:
            top = 4.0 + _MARKER_ROW_HEIGHT * (label.row + 1)
            yield _text(label.begins, top - 4.0, marker.label, f"mark {marker.style}")
        yield (
            f'<line class="marker {marker.style}" x1="{place}" x2="{place}" '
            f'y1="{top}" y2="{y.begins}"><title>{escape(marker.label)}</title></line>'
        )


def _path(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> str:
    return " ".join(f"{x.place(at):g},{y.place(value):g}" for at, value in points)


def _polyline(line: Line, x: Scale, y: Scale) -> str:
    return (
        f'<polyline class="line {line.style}" points="{_path(line.points, x, y)}">'
        f"<title>{escape(line.name)}</title></polyline>"
    )


def _area(
    line: Line,
    top: Sequence[tuple[float, float]],
    below: Sequence[tuple[float, float]],
    x: Scale,
    y: Scale,
) -> str:
    outline = _path([*top, *reversed(below)], x, y)
    return (
        f'<polygon class="area {line.style}" points="{outline}">'
        f"<title>{escape(line.name)}</title></polygon>"
    )


def _stack(lines: Sequence[Line]) -> list[Sequence[tuple[float, float]]]:
    tops: list[Sequence[tuple[float, float]]] = []
    below = [0.0] * (len(lines[0].points) if lines else 0)
    for line in lines:
        below = [under + y for under, (_, y) in zip(below, line.points, strict=True)]
        tops.append([(at, y) for (at, _), y in zip(line.points, below, strict=True)])
    return tops


def _ridge(row: Ridge, x: Scale, base: float) -> Iterable[str]:
    yield f'<line class="axis" x1="{x.begins}" x2="{x.ends}" y1="{base}" y2="{base}"/>'
    yield _text(0, base - 12, row.name, "row")
    if not row.values_ms:
        yield _text(x.ends + 10, base - 12, "not reached", "tick")
        return
    yield _histogram(row, x, base)
    for name, value in row.marks_ms:
        place = x.place(value)
        yield (
            f'<line class="quantile {name}" x1="{place}" x2="{place}" '
            f'y1="{base - _RIDGE_HEIGHT + 12:g}" y2="{base}">'
            f"<title>{escape(f'{row.name}, {name}: {milliseconds(value)}')}</title></line>"
        )
    shown = "  ·  ".join(f"{name} {milliseconds(value)}" for name, value in row.marks_ms)
    yield _text(x.ends + 10, base - 12, shown, "figure")


def _histogram(row: Ridge, x: Scale, base: float) -> str:
    counts = [0] * _RIDGE_BINS
    low, high = log10(x.low), log10(x.high)
    for value in row.values_ms:
        share = (log10(min(max(value, x.low), x.high)) - low) / (high - low)
        counts[min(_RIDGE_BINS - 1, int(share * _RIDGE_BINS))] += 1
    width = (x.ends - x.begins) / _RIDGE_BINS
    scale = (_RIDGE_HEIGHT - 14.0) / max(counts)
    bars = (
        f'<rect x="{x.begins + place * width + 0.5:.2f}" width="{width - 1:.2f}" '
        f'y="{base - count * scale:.2f}" height="{count * scale:.2f}" rx="1">'
        f"<title>{count:,}</title></rect>"
        for place, count in enumerate(counts)
        if count
    )
    return f'<g class="ridge">{"".join(bars)}</g>'
