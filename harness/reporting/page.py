"""`report.html`: one file that opens offline; everything in it is inline, nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import jinja2
from markupsafe import Markup, escape

from contracts.report import EXIT_OTHER, CheckResult, Report
from harness.journal import Journal
from harness.reporting import scale
from harness.reporting.series import QUANTILES, STAGE_WORDS, charts, latency_charts
from harness.reporting.svg import bar

_SIDE_STYLES = {"fleet": "s1", "emulated": "s2", "platform": "s3", "instruments": "s4"}
_STATE_STYLES = {"online": "s3", "connected": "s1", "registered": "s4"}
# Options of `run`, and of `load`.
_REMEDY = (
    "Ask for less (a lower --rate or --spawn-rate, fewer devices), spread it over more "
    "--fleet-processes or --workers, or use a machine with less to do."
)
_FAULTS = ("lost", "duplicated", "altered", "misrouted", "conflicted", "unknown", "dropped")
_FIGURES = ("redelivered", "reordered", "late")


def render_page(report: Report, journal: Journal) -> str:
    """The page of a run. All texts from the run are escaped."""
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=report,
        headline=headline(report),
        checks=sorted(report.checks, key=_urgency),
        outcomes={
            o: sum(c.outcome == o for c in report.checks)
            for o in ("holds", "broken", "inconclusive")
        },
        charts=charts(journal),
        latency=dict(zip(("since_start", "since_previous"), latency_charts(journal), strict=True)),
        quantiles=QUANTILES,
        verdict_word=verdict_word(report),
        stage_words=STAGE_WORDS,
        side_styles=_SIDE_STYLES,
        state_styles=_STATE_STYLES,
        faults=_FAULTS,
        figures=_FIGURES,
        cpu_max=max((p.cpu_s for p in report.processes), default=1.0) or 1.0,
        rss_max=max((p.rss_bytes_max for p in report.processes), default=1) or 1,
    )


def verdict_word(report: Report) -> str:
    """The verdict as people are told it: of a bench that failed and of a saturated loader, that,
    which has an exit code of its own (3) among inconclusive ones."""
    if report.bench.faults:
        return "bench failed"
    return "saturated" if report.exit_code == EXIT_OTHER else report.verdict


def headline(report: Report) -> str:
    """The verdict in a sentence."""
    if report.bench.faults:
        return f"The bench itself failed, and nothing is judged: {report.bench.faults[0]}."
    if report.exit_code == EXIT_OTHER:
        return f"The loader was saturated: what was measured is not the platform's doing. {_REMEDY}"
    broken = [check for check in report.checks if check.outcome == "broken"]
    if broken:
        return f"{_many(len(broken), 'claim')} of {len(report.checks)} broken: {_names(broken)}."
    open_checks = [check for check in report.checks if check.outcome == "inconclusive"]
    if open_checks:
        return f"{_many(len(open_checks), 'claim')} could not be decided: {_names(open_checks)}."
    return f"All {len(report.checks)} claims hold." if report.checks else "Nothing was claimed."


def _names(checks: Iterable[CheckResult]) -> str:
    return ", ".join(words(check.name) for check in checks)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def words(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")


def whole_names(text: str) -> Markup:
    """The text with every hyphenated word, such as `lamp-0071`, kept on one line."""
    return Markup(" ").join(
        Markup('<span class="whole">{}</span>').format(word) if "-" in word else escape(word)
        for word in text.split(" ")
    )


def _urgency(check: CheckResult) -> int:
    return ("broken", "inconclusive", "holds").index(check.outcome)


def _or_dash(form: str, value: float | None) -> str:
    return "–" if value is None else form.format(value)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.reporting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "words": words,
        "n": partial(_or_dash, "{:,.0f}"),
        "rate": partial(_or_dash, "{:,.1f}"),
        "s": partial(_or_dash, "{:.2f} s"),
        "ms": lambda value: "–" if value is None else scale.milliseconds(value),
        "mib": scale.mebibytes,
        "whole_names": whole_names,
        "percent": partial(_or_dash, "{:.1%}"),
    }
    environment.globals["bar"] = bar
    return environment
