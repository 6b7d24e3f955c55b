"""The matrix page is printed from kept results, of exactly the cells that there are."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.interop_matrix import COMMAND, PAGE, RESULTS, CellResult, Status, page, take_results
from harness.kept_results import ROOT, read_results, write_results
from tests.interop.cells import CELLS, Cell


def _result(status: Status, detail: str = "", **fields: str) -> CellResult:
    named = {"peer": "leshan", "role": "server", "operation": "read", "security": "psk"} | fields
    return CellResult(status=status, detail=detail, version="2.0", **named)


def _key(cell: Cell) -> tuple[str, str, str, str, str]:
    return cell.peer, cell.role, cell.operation, cell.format_name, cell.security


def test_no_cell_is_there_twice() -> None:
    assert len({_key(cell) for cell in CELLS}) == len(CELLS)


def test_every_cell_has_a_kept_result_and_no_other_has() -> None:
    kept = {result.key for result in read_results(ROOT / RESULTS, CellResult)}
    hint = f"run tests/interop, then {COMMAND} --take reports/interop"
    assert kept == {_key(cell) for cell in CELLS}, hint


def test_the_page_is_as_the_results_print_it() -> None:
    expected = page(read_results(ROOT / RESULTS, CellResult))
    assert (ROOT / PAGE).read_text() == expected, f"stale: run {COMMAND}"


def test_a_run_is_taken_over_but_for_what_it_skipped(tmp_path: Path) -> None:
    kept = [_result("passed"), _result("passed", security="none")]
    run = [_result("skipped", "no Java"), _result("failed", "a | b", security="none")]
    for number, each in enumerate([*run, _result("limit", "<cannot>", format="TLV")]):
        (tmp_path / f"{number}.json").write_bytes(msgspec.json.encode(each))
    merged = take_results(tmp_path, kept)
    assert {(each.security, each.format): each.status for each in merged} == {
        ("none", ""): "failed",
        ("psk", ""): "passed",
        ("psk", "TLV"): "limit",
    }
    write_results(tmp_path / "results", merged)
    assert read_results(tmp_path / "results", CellResult) == merged
    text = page(merged)
    assert "| read |  | no (1) | yes |" in text
    assert "| read | TLV | · | limit (2) |" in text
    assert "1. a \\| b" in text
    assert "2. &lt;cannot>" in text


@pytest.mark.parametrize("status", ["not yet", "skipped"])
def test_what_did_not_run_is_not_shown_as_passed(status: Status) -> None:
    assert "| not yet (1) |" in page([_result(status, "why")])
