"""The page of the boxes is printed from kept results, and every box is shown or says why not."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

from harness.box_list import BOXES, Box, Side
from harness.box_table import (
    COMMAND,
    PAGE,
    RESULTS,
    BoxResult,
    Cell,
    Status,
    cells_of,
    complaints,
    page,
    take_results,
)
from harness.kept_results import ROOT, read_results, write_results

HINT = f"run the tests with LAMPLIGHTER_BOX_RESULTS=reports/boxes, then {COMMAND} --take it"
_TESTS = sorted({one for box in BOXES for side in (box.embedded, box.cloud) for one in side.tests})


@pytest.mark.parametrize("declared", _TESTS)
def test_every_declared_test_exists(declared: str) -> None:
    name, _, beginning = declared.partition("[")[0].partition("::")
    tree = ast.parse((ROOT / name).read_text())
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert any(one.startswith(beginning or "test_") for one in functions)


def test_every_box_is_shown_by_a_passed_test_or_says_why_not() -> None:
    assert complaints(read_results(ROOT / RESULTS, BoxResult)) == [], HINT


def test_the_page_is_as_the_results_print_it() -> None:
    assert (ROOT / PAGE).read_text() == page(read_results(ROOT / RESULTS, BoxResult)), (
        f"stale: run {COMMAND}"
    )


def test_a_test_stands_for_the_cells_that_name_it() -> None:
    contract = "tests/city_platform/stores/test_object_store_contract.py::test_x"
    box = "credentials, a file per device"
    assert list(cells_of(f"{contract}[embedded]")) == [Cell(box, "embedded")]
    assert list(cells_of(f"{contract}[aws-1]")) == [Cell(box, "cloud")]
    assert list(cells_of("tests/other.py::test_x")) == []


def test_tests_of_a_file_that_ended_alike_are_one_row(tmp_path: Path) -> None:
    run = [_result("passed", f"a.py::test_{number}") for number in range(3)]
    for number, each in enumerate([*run, _result("failed", "a.py::test_bad")]):
        (tmp_path / f"{number}.json").write_bytes(msgspec.json.encode(each))
    merged = take_results(tmp_path, [])
    assert [(each.test, each.status, each.count) for each in merged] == [
        ("a.py", "passed", 3),
        ("a.py::test_bad", "failed", 1),
    ]


def _result(status: Status, test: str = "a.py::test_x", box: str = "rules") -> BoxResult:
    return BoxResult(box=box, column="cloud", test=test, status=status)


def test_a_run_replaces_the_cells_that_it_ran(tmp_path: Path) -> None:
    kept = [_result("passed", "a.py::test_gone"), _result("passed", "b.py::test_y", "broker")]
    run = [_result("failed"), _result("skipped", "b.py::test_y", "broker")]
    for number, each in enumerate(run):
        (tmp_path / f"{number}.json").write_bytes(msgspec.json.encode(each))
    merged = take_results(tmp_path, kept)
    assert [(each.box, each.status) for each in merged] == [
        ("broker", "passed"),
        ("rules", "failed"),
    ]
    write_results(tmp_path / "results", merged)
    assert read_results(tmp_path / "results", BoxResult) == merged


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ([], ["rules, cloud: no test passed"]),
        ([_result("skipped")], ["rules, cloud: no test passed"]),
        ([_result("passed"), _result("failed")], ["rules, cloud: a.py::test_x failed"]),
        ([_result("passed"), _result("passed", box="none")], ["a.py::test_x is of no cell"]),
        ([_result("passed")], []),
    ],
)
def test_what_is_not_shown_is_complained_of(results: list[BoxResult], told: list[str]) -> None:
    boxes = [Box("rules", Side("x", limit="why"), Side("y", ("a.py",)))]
    assert complaints(results, boxes) == told
    assert ("| yes (1) |" in page(results, boxes)) == (not any("rules" in one for one in told))
