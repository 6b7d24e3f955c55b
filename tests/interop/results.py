"""What came of each cell, one file per cell, so that test processes need not agree on anything.

Files go to `reports/interop`, or to the folder that `LAMPLIGHTER_INTEROP_RESULTS` names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NoReturn

import pytest

from harness.interop_matrix import CellResult
from harness.kept_results import leave_result
from tests.interop.cells import Cell

_ROOT = Path(__file__).parents[2]
_LIMIT, _NOT_YET = "the peer's limit: ", "ours is not there yet: "
Status = Literal["passed", "failed", "limit", "not yet", "skipped"]


def peer_limit(message: str) -> NoReturn:
    """The peer cannot do it, and said so in these words."""
    pytest.skip(_LIMIT + message)


def not_there_yet(feature: str) -> NoReturn:
    """A feature of ours is gone. All are there: a skip would hide that one was lost."""
    pytest.fail(_NOT_YET + feature)


def folder() -> Path:
    """Where results go."""
    given = os.environ.get("LAMPLIGHTER_INTEROP_RESULTS")
    return Path(given) if given else _ROOT / "reports" / "interop"


def note(cell: Cell, report: pytest.TestReport, version: str) -> None:
    """Keep what a test's report says of its cell; what set-up and tear-down add only if bad."""
    status, detail = _judge(report)
    if report.when != "call" and status == "passed":
        return
    result = CellResult(
        peer=cell.peer,
        role=cell.role,
        operation=cell.operation,
        format=cell.format_name,
        security=cell.security,
        status=status,
        detail=detail,
        version=version,
    )
    leave_result(folder(), cell.name, result)


def _judge(report: pytest.TestReport) -> tuple[Status, str]:
    if report.passed:
        return "passed", ""
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if reason.startswith(_LIMIT):
            return "limit", reason.removeprefix(_LIMIT)
        if reason.startswith(_NOT_YET):
            return "not yet", reason.removeprefix(_NOT_YET)
        return "skipped", reason
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr)
    return "failed", " ".join(text.split())[:300]
