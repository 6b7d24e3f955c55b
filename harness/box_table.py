"""Prints docs/reference/boxes.md: each box of the design, embedded and in the cloud, from results.

`BOXES` declares which tests stand for a box in each column, and what no emulator can show. Results
come from a run with `LAMPLIGHTER_BOX_RESULTS=FOLDER` (tests/conftest.py leaves them there);
`python -m harness.box_table --take FOLDER` keeps them and prints the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from harness.box_list import BOXES, Box, Side
from harness.kept_results import ResultPage, read_run

PAGE: Final = "docs/reference/boxes.md"
RESULTS: Final = "docs/data/boxes.json"
COMMAND: Final = "python -m harness.box_table"

Column = Literal["embedded", "cloud"]
Status = Literal["passed", "failed", "skipped"]


class BoxResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one test of a box, or of `count` tests of one file with the same status.

    `detail` is the reason of a skip."""

    box: str
    column: Column
    test: str
    status: Status
    detail: str = ""
    count: int = 1

    @property
    def cell(self) -> tuple[str, str]:
        """Which cell it is of."""
        return self.box, self.column


class Cell(NamedTuple):
    """A box in one column."""

    box: str
    column: Column


_HEAD: Final = """\
# Each box of the design, embedded and in the cloud

Printed from test results by `{command}`; a test fails when it is stale.
The boxes are those of the platform's flow: manifest to credentials, registration to bootstrap,
command to outcome, telemetry to archive.

`yes (n)`: n tests passed, in the files named below the table, and none failed. `no`: a test failed.
`·`: no test; below it says why. How each is run, and what only an account can show:
[on AWS](../operations/aws.md).
"""


def cells_of(test: str) -> Iterator[Cell]:
    """The cells that a test stands for. `test` is pytest's id: `tests/…/test_x.py::test_y[z]`."""
    for box in BOXES:
        for column, side in _sides(box):
            if any(_matches(one, test) for one in side.tests):
                yield Cell(box.name, column)


def _matches(declared: str, test: str) -> bool:
    """`file.py`, `file.py::test_beginning` or either with `[parameter]` at its end."""
    name, _, parameter = declared.partition("[")
    if not test.startswith(name):
        return False
    if "::" not in name and not test.startswith(name + "::"):
        return False
    return not parameter or parameter.rstrip("]") in test.partition("[")[2].rstrip("]").split("-")


def _sides(box: Box) -> list[tuple[Column, Side]]:
    return [("embedded", box.embedded), ("cloud", box.cloud)]


def take_results(folder: Path, kept: Sequence[BoxResult]) -> list[BoxResult]:
    """Kept results, but those of a cell that a run had something to say of are the run's."""
    run = read_run(folder, BoxResult)
    told = {each.cell for each in run if each.status != "skipped"}
    known = {each.cell for each in kept}
    merged = [each for each in kept if each.cell not in told]
    merged += [each for each in run if each.cell in told or each.cell not in known]
    return _gathered(merged)


def _gathered(results: Iterable[BoxResult]) -> list[BoxResult]:
    """Tests of a file that ended alike become one row; a failed one keeps its name."""
    rows: dict[tuple[str, ...], BoxResult] = {}
    for each in results:
        test = each.test if each.status == "failed" else each.test.partition("::")[0]
        key = (*each.cell, test, each.status, each.detail)
        before = rows[key].count if key in rows else 0
        rows[key] = msgspec.structs.replace(each, test=test, count=before + each.count)
    return [rows[key] for key in sorted(rows)]


def page(results: Sequence[BoxResult], boxes: Sequence[Box] = BOXES) -> str:
    """The whole page."""
    lines = [
        _HEAD.format(command=COMMAND),
        "| box | embedded | tests | in the cloud | tests |",
        "|---|---|---|---|---|",
    ]
    for box in boxes:
        shown = [
            f"{side.counterpart} | {_shown(_of(results, Cell(box.name, column)))}"
            for column, side in _sides(box)
        ]
        lines.append(f"| {box.name} | {' | '.join(shown)} |")
    lines += ["", "## What no emulator shows", ""]
    lines += [f"- **{box.name}**: {box.cloud.limit}" for box in boxes if box.cloud.limit]
    lines += [
        "",
        "## Where the tests are",
        "",
        "| box | embedded | in the cloud |",
        "|---|---|---|",
    ]
    for box in boxes:
        files = [_files(_of(results, Cell(box.name, column))) for column, _ in _sides(box)]
        lines.append(f"| {box.name} | {' | '.join(files)} |")
    return "\n".join(lines) + "\n"


def complaints(results: Sequence[BoxResult], boxes: Sequence[Box] = BOXES) -> list[str]:
    """Every cell that is not shown by a passed test and does not say why, and what has no cell."""
    declared = {Cell(box.name, column) for box in boxes for column, _ in _sides(box)}
    found = [f"{each.test} is of no cell" for each in results if each.cell not in declared]
    for box in boxes:
        for column, side in _sides(box):
            of_cell = _of(results, Cell(box.name, column))
            passed = any(each.status == "passed" for each in of_cell)
            failed = [each.test for each in of_cell if each.status == "failed"]
            found += [f"{box.name}, {column}: {test} failed" for test in failed]
            if not passed and (side.tests or not side.limit):
                found.append(f"{box.name}, {column}: no test passed")
    return found


def _of(results: Sequence[BoxResult], cell: Cell) -> list[BoxResult]:
    return [each for each in results if each.cell == tuple(cell)]


def _shown(results: Sequence[BoxResult]) -> str:
    if any(each.status == "failed" for each in results):
        return "no"
    passed = sum(each.count for each in results if each.status == "passed")
    return f"yes ({passed})" if passed else "·"


def _files(results: Sequence[BoxResult]) -> str:
    names = sorted({each.test for each in results if each.status == "passed"})
    return "<br>".join(f"`{name.removeprefix('tests/')}`" for name in names) or "·"


BOX_PAGE: Final = ResultPage(
    command=COMMAND,
    about="Print the page of the boxes.",
    page=PAGE,
    results=RESULTS,
    kind=BoxResult,
    take=take_results,
    text=page,
)


if __name__ == "__main__":
    sys.exit(BOX_PAGE.main())
