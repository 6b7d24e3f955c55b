"""Every run of the tests: what is collected and in which order, and what is kept of results.

What came of each test of a box of the platform is left where a folder is named for it
(see `harness.box_table`).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from harness.box_table import BoxResult, Cell, Status, cells_of
from harness.kept_results import leave_result

_FOLDER: Final = "LAMPLIGHTER_BOX_RESULTS"
_SCENARIOS: Final = "tests/scenarios/"

# The mode of a file tells what holds keys: what tests write is not of that kind by itself, whoever
# runs them.
os.umask(0o022)

# Other tests run beside each: how long an example takes says nothing. The same examples each time:
# a run says what a change did. `--hypothesis-profile=exploring` looks for others.
_EXPLORING: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("exploring", _EXPLORING)
settings.register_profile("steady", _EXPLORING, derandomize=True)
settings.load_profile("steady")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage: there is little among so many tests, and all is kept.

    What is there then is looked through no more while the tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios first: whole benches wait most of their time, and others work meanwhile.

    Last, several at once would wait for each other, and nothing would be left to do beside them."""
    items.sort(key=lambda item: not item.nodeid.startswith(_SCENARIOS))


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
    leave_result(folder, f"{cell}{report.nodeid}", result)
