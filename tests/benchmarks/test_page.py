"""The page of figures is made from lines, and a line that cannot be used is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.all import Planned, benchmarks, run_all, scenarios
from benchmarks.capabilities import CAPABILITIES, value_at
from benchmarks.page import (
    KEPT,
    PAGE,
    UnusableLines,
    read_lines,
    render_page,
    render_tables,
    scenario_line,
)
from contracts.report import encode_report
from harness import checks
from harness.journal import Journal
from harness.journal.example import Plan, example_run
from harness.reporting import report
from harness.runner.scenario import find_scenarios

CORE = {
    "benchmark": "coap_core",
    "command": "python -m benchmarks.coap_core",
    "ours": {"exchanges_per_s": 61_234, "cpu_us": 12.5},
    "times_less_cpu": 21.5,
    "conditions": {"cores": "2", "python": "3.11.2"},
}


def encoded(*lines: dict[str, Any]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def test_a_table_has_figure_ratio_bar_and_whether_it_was_met() -> None:
    tables = render_tables([CORE])
    assert "### CoAP core against aiocoap" in tables
    assert "| Register exchanges | 61,234 /s |" in tables
    assert "| 12.5 µs | 21.5 less than aiocoap | 50 or less | yes |" in tables
    assert "- `python -m benchmarks.coap_core`. cores 2. python 3.11.2" in tables
    assert tables.startswith("2 of 2 bars were met")


def test_a_bar_that_was_not_met_is_told() -> None:
    tables = render_tables([{**CORE, "times_less_cpu": 14.9}])
    assert "| 14.9 × |  | 15 or more | **no** |" in tables
    assert tables.startswith("1 of 2 bars were met")


def test_the_bar_of_onboarding_hangs_on_broker_and_security() -> None:
    stages = {"bootstrapped": {"per_s": 900.0, "p99_ms": 80.0}}
    line = {"benchmark": "onboarding", "broker": "mosquitto", "security": "psk", "stages": stages}
    assert "| 900 /s |  | 1,200 or more | **no** |" in render_tables([line])
    embedded = {**line, "broker": "embedded", "security": "none"}
    assert "| 900 /s |  | 800 or more | yes |" in render_tables([embedded])
    told = {"share_of_per_s": 1_250.0, "registered_to_bootstrapped_p99_ms": 151.0}
    tables = render_tables([embedded | told])
    assert "| 151 ms |  | 150 or less | **no** |" in tables
    assert "800 or more" not in tables, "less was offered than can be done"


def test_a_command_that_failed_or_was_skipped_has_a_row_that_says_so() -> None:
    failed = {"benchmark": "dtls", "failed": "it took longer than 300 s | really"}
    skipped = {"benchmark": "leshan_client", "clients": 5, "skipped": "no java on this machine"}
    tables = render_tables([failed, skipped])
    assert "| failed | it took longer than 300 s \\| really |" in tables
    assert "| clients 5 | skipped | no java on this machine |" in tables
    assert "1 commands failed" in tables


def test_a_benchmark_without_a_table_is_refused() -> None:
    with pytest.raises(UnusableLines, match=r"no table for unheard_of: add it"):
        render_tables([{"benchmark": "unheard_of"}])


def test_a_runs_report_becomes_a_line() -> None:
    journal = Journal(example_run(Plan(devices=20)))
    made = report(journal, checks.judge(journal, checks.MAIN_JOB), scenario="s.x", claim="c")
    [line] = read_lines(encode_report(made), "runs/one/report.json")
    assert line == msgspec.to_builtins(scenario_line(made))
    assert (line["scenario"], line["verdict"], line["exit_code"]) == ("s.x", "holds", 0)
    assert line["registered_p99_ms"] > 0
    assert line["cpu_s"].startswith("fleet ")
    assert "| scenario s.x, devices 20 | verdict | holds |" in render_tables([line])


def test_of_a_saturated_run_no_latency_and_no_rate_is_shown() -> None:
    journal = Journal(example_run(Plan(devices=20)))
    made = report(journal, checks.judge(journal, checks.MAIN_JOB), scenario="s.x", claim="c")
    void = msgspec.structs.replace(
        made, loader=msgspec.structs.replace(made.loader, saturated=True)
    )
    line = scenario_line(void)
    assert line["devices"] == 20
    for figure in ("registered_per_s", "registered_p99_ms", "update_p99_ms"):
        assert line[figure] is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "there is no line in it"),
        (b"not json\n", "line 1: .*write it with python -m benchmarks.all"),
        (encoded(CORE) + b"[1]\n", "line 2: "),
        (encoded(CORE) + b'{"rows": 4}\n', "line 2: benchmark: a name is needed"),
        (b'{"benchmark": "\xff"}\n', "line 1: "),
    ],
)
def test_a_line_that_cannot_be_used_is_told_with_its_place(data: bytes, told: str) -> None:
    with pytest.raises(UnusableLines, match=rf"^some\.jsonl.*{told}"):
        read_lines(data, "some.jsonl")


def test_a_report_that_is_none_is_told() -> None:
    with pytest.raises(UnusableLines, match=r"report\.json: not a report"):
        read_lines(b"{}", "runs/one/report.json")


# No deadline: other tests compete for the cores.
@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x/report.json"]))
def test_whatever_a_file_holds_it_is_read_or_refused(data: bytes, source: str) -> None:
    try:
        found = read_lines(data, source)
    except UnusableLines:
        return
    assert all(isinstance(line["benchmark"], str) for line in found)


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_NAMES = st.sampled_from([capability.benchmark for capability in CAPABILITIES])


@settings(deadline=None)
@given(_NAMES, st.dictionaries(st.sampled_from(["ours", "stages", "conditions", "failed"]), _json))
def test_whatever_a_line_holds_it_has_a_table(name: str, fields: dict[str, Any]) -> None:
    assert render_tables([{**fields, "benchmark": name}])


def test_paths_lead_into_lists_too() -> None:
    line = {"a": [{"b": 1}, {"b": 2}]}
    assert value_at(line, "a.-1.b") == 2
    assert value_at(line, "a.2.b") is None
    assert value_at(line, "a.b") is None
    assert value_at(line, "a.0.b.c") is None


def test_the_page_is_what_the_kept_lines_make() -> None:
    lines = read_lines(KEPT.read_bytes(), KEPT.name)
    assert render_page(PAGE.read_text(), lines) == PAGE.read_text(), "python -m benchmarks.page"


def test_a_page_without_a_place_for_tables_is_refused() -> None:
    with pytest.raises(UnusableLines, match="has no block"):
        render_page("# nothing here\n", [CORE])


# ---- all of them ----


def test_every_benchmark_and_every_scale_scenario_is_run() -> None:
    planned = {each.name for each in benchmarks(has_mosquitto=True, has_java=True)}
    modules = {path.stem for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py")}
    assert planned <= modules
    assert planned == {each.benchmark for each in CAPABILITIES} - {"scenario"}
    named = {name for name in find_scenarios() if name.startswith("scale.")}
    assert {each.name for each in scenarios()} == named


@pytest.mark.slow
def test_one_that_fails_leaves_a_line_and_the_next_begins(tmp_path: Path) -> None:
    plan = [
        Planned("leshan_client", quick="--nonsense"),
        Planned("report_generation", quick="--devices 5 --packs 2"),
        Planned("report_generation", quick="--devices 5", within_s=0.05),
    ]
    assert run_all(plan, tmp_path, is_quick=True) == 2
    first, second, third = read_lines((tmp_path / "lines.jsonl").read_bytes(), "lines.jsonl")
    assert "--nonsense" in first["failed"]
    assert second["command"] == "python -m benchmarks.report_generation --devices 5 --packs 2"
    assert second["records"] > 0
    assert third["failed"] == "it took longer than 0.05 s"
    assert render_tables([first, second, third])
