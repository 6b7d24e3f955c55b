"""The page: whole, offline, escaped, and about what is in the report."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from markupsafe import escape
from rich.console import Console

from contracts.journal import (
    DeviceBootstrapped,
    DeviceConnected,
    ProcessKilled,
    Record,
    RunStarted,
)
from contracts.report import Report
from harness import checks
from harness.journal import Journal
from harness.reporting import junit_xml, print_summary, render_page, report
from harness.reporting.page import headline, verdict_word, whole_names
from harness.reporting.series import latency_charts

VOID = {"meta", "link", "br"}


class _Parser(HTMLParser):
    """Checks that tags are balanced and collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _page(records: list[Record]) -> tuple[str, _Parser]:
    journal = Journal(records)
    made = report(
        journal, checks.judge(journal, checks.MAIN_JOB), scenario="a.b", claim="It is <so>."
    )
    page = render_page(made, journal)
    parser = _Parser()
    parser.feed(page)
    assert parser.open == []
    return page, parser


def test_the_page_fetches_nothing_and_runs_nothing(records: list[Record]) -> None:
    page, parser = _page(records)
    assert parser.fetched == ["data:,"]
    assert not parser.tags & {"script", "img", "iframe", "object"}
    assert not re.search(r"@import|url\(|https?://", page)


def test_the_page_shows_verdict_checks_and_figures(records: list[Record], holding: Report) -> None:
    page, _ = _page(records)
    assert "All 17 claims hold." in page
    for check in holding.checks:
        assert check.name.replace("_", " ") in page
    for heading in (
        "Onboarding",
        "Throughput",
        "Devices",
        "Readings",
        "Commands",
        "Cost",
        "Loader",
    ):
        assert f"<h2>{heading}" in page
    assert page.count('<svg class="chart"') == 5
    assert f"{holding.readings.stored:,}" in page


def test_charts_are_well_formed(records: list[Record]) -> None:
    page, _ = _page(records)
    charts = re.findall(r"<svg class=\"chart\".*?</svg>", page, re.DOTALL)
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.get("aria-label")
        assert "nan" not in chart


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_texts_from_the_run_are_escaped(records: list[Record], evil: str) -> None:
    spoiled = [
        msgspec.structs.replace(r, defect=evil, run_id=evil, options={evil: evil})
        if isinstance(r, RunStarted)
        else msgspec.structs.replace(r, client_id=evil)
        if isinstance(r, DeviceConnected)
        else r
        for r in records
    ]
    page, parser = _page(spoiled)
    assert not parser.tags & {"script", "img"}
    assert "It is &lt;so&gt;." in page


def test_a_broken_run_opens_its_evidence(records: list[Record]) -> None:
    spoiled = [
        r for r in records if not (isinstance(r, DeviceBootstrapped) and r.endpoint == "lamp-0002")
    ]
    page, _ = _page(spoiled)
    assert "2 claims of 17 broken: every device comes online, stages are in order." in page
    assert page.count("<details open>") == 2
    assert "<code>lamp-0002</code>" in page


def test_every_check_shows_its_claim(records: list[Record], holding: Report) -> None:
    page, _ = _page(records)
    for check in holding.checks:
        assert f"<small>Claim: {escape(check.claim)}</small>" in page


def test_many_kills_are_counted_in_the_legend_and_few_are_named(records: list[Record]) -> None:
    began_ns = records[0].at_ns
    kills = [
        ProcessKilled(at_ns=began_ns + n * 100_000_000, process="bridge", point="published")
        for n in range(20, 40)
    ]
    named = '<text class="mark kill"'
    many, _ = _page([*records, *kills])
    assert "kills (20)" in many
    assert named not in many
    few, _ = _page([*records, *kills[:1]])
    assert "kills (" not in few
    assert named in few


def test_both_latency_charts_have_one_scale(records: list[Record]) -> None:
    axes = [
        re.findall(r'<text class="tick"[^>]*>([^<]*)<', chart)
        for chart in latency_charts(Journal(records))
    ]
    assert axes[0] == axes[1]


def test_sides_are_not_listed_among_processes(records: list[Record], holding: Report) -> None:
    page, _ = _page(records)
    by_process = page[page.index("<h3>By process</h3>") :]
    assert "share of CPU" not in by_process
    assert by_process[: by_process.index("</table>")].count("<tr>") == 1 + len(holding.processes)


def test_a_name_is_not_broken_at_its_hyphen() -> None:
    assert whole_names("is lamp-0071 <b>") == 'is <span class="whole">lamp-0071</span> &lt;b&gt;'


def test_a_page_can_be_made_of_an_empty_journal() -> None:
    page, _ = _page([])
    assert "no device was observed" in page


def test_a_saturated_loader_has_a_word_of_its_own_as_it_has_an_exit_code(holding: Report) -> None:
    saturated = msgspec.structs.replace(holding, verdict="inconclusive", exit_code=3)
    undecided = msgspec.structs.replace(saturated, exit_code=2)
    assert [verdict_word(each) for each in (holding, undecided, saturated)] == [
        "holds",
        "inconclusive",
        "saturated",
    ]
    console = Console(file=io.StringIO(), width=120)
    print_summary(saturated, Path("reports"), console)
    assert isinstance(console.file, io.StringIO)
    assert "? SATURATED" in console.file.getvalue()
    assert "exit 3" in console.file.getvalue()


def test_the_headline_says_what_the_verdict_is_about(holding: Report) -> None:
    saturated = msgspec.structs.replace(holding, verdict="inconclusive", exit_code=3)
    assert headline(saturated).startswith("The loader was saturated")
    for option in ("--rate", "fewer devices", "--fleet-processes"):
        assert option in headline(saturated)
    assert headline(msgspec.structs.replace(holding, checks=[])) == "Nothing was claimed."
    open_check = msgspec.structs.replace(holding.checks[0], outcome="inconclusive")
    undecided = msgspec.structs.replace(holding, checks=[open_check])
    assert headline(undecided) == "1 claim could not be decided: every row is provisioned."


# ---- JUnit ----


def _suite(made: Report) -> ElementTree.Element:
    return ElementTree.fromstring(junit_xml(made))


def test_junit_has_a_case_per_check(holding: Report) -> None:
    root = _suite(holding)
    assert root.get("tests") == "17"
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "0")
    names = [case.get("name") for case in root.iter("testcase")]
    assert names == [check.name for check in holding.checks]


def test_junit_gives_the_suite_the_duration_of_the_run_and_cases_none(holding: Report) -> None:
    root = _suite(holding)
    suite = root.find("testsuite")
    assert suite is not None
    assert suite.get("time") == root.get("time") == f"{holding.duration_s:.3f}"
    assert all(case.get("time") is None for case in root.iter("testcase"))


def test_broken_is_a_failure_and_inconclusive_an_error(holding: Report) -> None:
    first, second, *rest = holding.checks
    made = msgspec.structs.replace(
        holding,
        checks=[
            msgspec.structs.replace(first, outcome="broken", summary="a\x00b <c>"),
            msgspec.structs.replace(second, outcome="inconclusive"),
            *rest,
        ],
    )
    root = _suite(made)
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("1", "1", "0")
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "a\N{REPLACEMENT CHARACTER}b <c>"
    assert root.find(".//error") is not None
