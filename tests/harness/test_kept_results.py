"""A run's results are left one a file, taken over into one kept file, and printed from it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from harness.kept_results import ResultPage, leave_result, read_results, read_run, write_results


class Told(msgspec.Struct, frozen=True):
    """A result of these tests."""

    name: str
    status: str


def taken(folder: Path, kept: Sequence[Told]) -> list[Told]:
    return [*kept, *read_run(folder, Told)]


def shown(results: Sequence[Told]) -> str:
    return "".join(f"{each.name}: {each.status}\n" for each in results)


def result_page(folder: Path) -> ResultPage[Told]:
    return ResultPage(
        command="print",
        about="Print it.",
        page=str(folder / "page.md"),
        results=str(folder / "kept.json"),
        kind=Told,
        take=taken,
        text=shown,
    )


def test_the_later_result_of_a_name_is_the_one_that_is_left(tmp_path: Path) -> None:
    run = tmp_path / "new" / "folder"
    leave_result(run, "a", Told("a", "failed"))
    leave_result(run, "b", Told("b", "passed"))
    leave_result(run, "a", Told("a", "passed"))
    assert {each.name: each.status for each in read_run(run, Told)} == {
        "a": "passed",
        "b": "passed",
    }
    assert len(list(run.iterdir())) == 2


def test_kept_results_are_one_a_line_and_read_as_they_were(tmp_path: Path) -> None:
    results = [Told("a", "passed"), Told("b", "failed")]
    write_results(tmp_path / "kept", results)
    assert (tmp_path / "kept").read_text().count("\n") == 4
    assert read_results(tmp_path / "kept", Told) == results


def test_a_page_is_printed_from_what_is_kept_after_a_run_was_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = result_page(tmp_path)
    leave_result(tmp_path / "run", "a", Told("a", "passed"))
    monkeypatch.setattr(sys, "argv", ["print", "--take", str(tmp_path / "run")])
    assert printed.main() == 0
    assert (tmp_path / "page.md").read_text() == "a: passed\n"
    (tmp_path / "page.md").unlink()
    monkeypatch.setattr(sys, "argv", ["print"])
    assert printed.main() == 0
    assert (tmp_path / "page.md").read_text() == "a: passed\n"
