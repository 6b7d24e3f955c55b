"""A run that holds and one that does not, as folders and as reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from contracts.journal import Record, RunStarted
from contracts.report import Report
from harness import checks
from harness.journal import Journal
from harness.journal.example import Plan, example_run
from harness.reporting import report

CLAIM = "Everything is as it should be."
NAME = "onboarding.city_block_comes_online"


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """Twenty devices that come online, report and obey."""
    return example_run(Plan(devices=20))


@pytest.fixture(scope="session")
def journal(records: list[Record]) -> Journal:
    """The journal of that run."""
    return Journal(records)


@pytest.fixture(scope="session")
def holding(journal: Journal) -> Report:
    """The report of that run."""
    return report(journal, checks.judge(journal, checks.MAIN_JOB), scenario=NAME, claim=CLAIM)


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[[list[Record]], Path]:
    """Writes records as the folder of a run."""

    def write(records: list[Record]) -> Path:
        (tmp_path / "journal").mkdir(exist_ok=True)
        assert isinstance(records[0], RunStarted)
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        (tmp_path / "journal" / "all.jsonl").write_bytes(lines)
        return tmp_path

    return write
