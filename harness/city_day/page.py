"""A schedule as one HTML page that opens offline: the rates over city time, and what happens."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from contracts.schedule import KINDS
from harness.city_day.axis import time_ticks
from harness.city_day.tally import ScheduleFigures
from harness.city_day.terminal import duration, peak_sentence
from harness.reporting.svg import Line, Marker, line_chart

# From the ground up: what is steady below, what swings above.
_MODEL_STYLES = {
    "waste_bin": "s0",
    "air_monitor": "s2",
    "water_meter": "s3",
    "parking_spot": "s1",
    "street_lamp": "s4",
}
_LEVELS = (("devices without power", "bad"), ("open incidents", "s1"))
_MARKED = {
    "rain": ("rain", "phase"),
    "power": ("power cut", "kill"),
    "collection": ("lorry", "phase"),
}
_TICKS_MAX = 13


def render_schedule_page(figures: ScheduleFigures) -> str:
    """The page of a schedule. All texts are escaped; nothing is fetched."""
    kinds = [kind for kind in KINDS if any(kind in found for found in figures.counts.values())]
    devices = sum(figures.devices.values())
    hours = figures.duration_s * figures.speed / 3600.0
    return (
        _environment()
        .get_template("schedule.html.j2")
        .render(
            figures=figures,
            kinds=kinds,
            totals={
                kind: sum(found.get(kind, 0) for found in figures.counts.values()) for kind in kinds
            },
            peak=peak_sentence(figures),
            run_takes=duration(figures.duration_s),
            offset=_offset(figures.utc_offset_s),
            reports_chart=_reports_chart(figures),
            reports_legend=[
                (_words(model), style)
                for model, style in reversed(_MODEL_STYLES.items())
                if model in figures.devices
            ],
            levels_chart=_levels_chart(figures),
            levels_legend=_LEVELS,
            per_hour=figures.reports / devices / hours,
        )
    )


def _reports_chart(figures: ScheduleFigures) -> Markup:
    lines = [
        Line(_words(model), style, _points(figures, figures.reports_by_slice[model], per_s=True))
        for model, style in _MODEL_STYLES.items()
        if model in figures.reports_by_slice
    ]
    markers = [
        Marker(happening.at_s, *_MARKED[happening.kind])
        for happening in figures.happenings
        if happening.kind in _MARKED
    ]
    return line_chart(
        lines,
        title="Reports per second of the run, by model, over city time",
        x_ticks=time_ticks(figures, _TICKS_MAX),
        markers=markers,
        stacked=True,
    )


def _levels_chart(figures: ScheduleFigures) -> Markup | None:
    levels = (figures.without_power_by_slice, figures.open_incidents_by_slice)
    if not any(map(any, levels)):
        return None
    lines = [
        Line(name, style, _points(figures, level, per_s=False))
        for (name, style), level in zip(_LEVELS, levels, strict=True)
    ]
    return line_chart(
        lines,
        title="Devices without power and open incidents over city time",
        x_ticks=time_ticks(figures, _TICKS_MAX),
        height=190.0,
    )


def _points(
    figures: ScheduleFigures, counts: Sequence[int], *, per_s: bool
) -> list[tuple[float, float]]:
    divisor = figures.slice_s if per_s else 1.0
    return [((n + 0.5) * figures.slice_s, count / divisor) for n, count in enumerate(counts)]


def _offset(offset_s: float) -> str:
    minutes = round(abs(offset_s) / 60.0)
    return f"{'-' if offset_s < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        # The style sheet is the run report's.
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("harness.city_day", ""),
                jinja2.PackageLoader("harness.reporting", ""),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": _words, "n": "{:,.0f}".format, "rate": "{:,.1f}".format}
    return environment
