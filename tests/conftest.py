"""Leaves what came of each test of a box of the platform, where a folder is named for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from harness.box_table import BoxResult, Cell, Status, cells_of

_FOLDER: Final = "LAMPLIGHTER_BOX_RESULTS"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what came of a test; of set-up and tear-down only what is not good."""
    report = yield
    folder = os.environ.get(_FOLDER)
    if folder and (report.when == "call" or not report.passed):
        for cell in cells_of(item.nodeid):
            _keep(Path(folder), cell, report)
    return report


def _keep(folder: Path, cell: Cell, report: pytest.TestReport) -> None:
    status: Status = "passed" if report.passed else "skipped" if report.skipped else "failed"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    result = BoxResult(
        box=cell.box,
        column=cell.column,
        test=report.nodeid,
        status=status,
        detail=reason.removeprefix("Skipped: "),
    )
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(f"{cell}{report.nodeid}".encode()).hexdigest()[:16]
    unfinished = folder / f".{name}-{os.getpid()}"
    unfinished.write_bytes(msgspec.json.encode(result))
    unfinished.replace(folder / f"{name}.json")
