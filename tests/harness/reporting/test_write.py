"""What a run leaves, and making it again from the journal alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from contracts.journal import DeviceBootstrapped, Record
from contracts.report import Report, decode_report, encode_report
from harness import checks
from harness.errors import HarnessError
from harness.journal import read_run
from harness.reporting import print_summary, remake_report, write_report
from harness.reporting.reference import reference_page, schema_document

ROOT = Path(__file__).parents[3]
NAME, CLAIM = "onboarding.city_block_comes_online", "Everything is as it should be."
WriteRun = Callable[[list[Record]], Path]


def _print(report: Report, directory: Path) -> str:
    text = io.StringIO()
    print_summary(report, directory, Console(file=text, width=120))
    return text.getvalue()


@pytest.mark.slow
def test_a_run_leaves_json_page_and_junit(write_run: WriteRun, records: list[Record]) -> None:
    directory = write_run(records)
    made = write_report(directory, NAME, CLAIM, checks.MAIN_JOB)
    assert decode_report((directory / "report.json").read_bytes()) == made
    assert "<!doctype html>" in (directory / "report.html").read_text()[:40]
    assert (directory / "junit.xml").exists()
    assert made.versions["python"]
    assert made.machine["cores"]


@pytest.mark.slow
def test_the_report_can_be_made_again_from_the_journal_alone(
    write_run: WriteRun, records: list[Record]
) -> None:
    directory = write_run(records)
    first = write_report(directory, NAME, CLAIM, checks.MAIN_JOB)
    files = [directory / name for name in ("report.json", "report.html", "junit.xml")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    again = remake_report(directory, read_run(directory), NAME, CLAIM, checks.MAIN_JOB)
    assert again == first
    assert [file.read_bytes() for file in files] == before


@pytest.mark.slow
def test_versions_are_recorded_once(write_run: WriteRun, records: list[Record]) -> None:
    directory = write_run(records)
    write_report(directory, NAME, CLAIM, checks.MAIN_JOB)
    recorded = len(read_run(directory))
    write_report(directory, NAME, CLAIM, checks.MAIN_JOB)
    assert len(read_run(directory)) == recorded


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no journal"):
        write_report(tmp_path, NAME, CLAIM, checks.MAIN_JOB)


def test_the_summary_says_verdict_stages_and_where_the_report_is(
    holding: Report, tmp_path: Path
) -> None:
    text = _print(holding, tmp_path)
    assert "HOLDS" in text
    assert "credentials published" in text
    assert "20 of 20 online" in text
    assert "report.html" in text


def test_the_summary_names_what_is_broken_and_the_device(
    write_run: WriteRun, records: list[Record]
) -> None:
    spoiled = [
        r for r in records if not (isinstance(r, DeviceBootstrapped) and r.endpoint == "lamp-0002")
    ]
    directory = write_run(spoiled)
    text = _print(write_report(directory, NAME, CLAIM, checks.MAIN_JOB), directory)
    assert "BROKEN" in text
    assert "every device comes online: 1 of 20 devices" in text
    assert "lamp-0002  came to online, never to bootstrapped" in text


def test_the_reference_page_is_not_stale() -> None:
    committed = (ROOT / "docs" / "reference" / "report.md").read_text()
    assert committed == reference_page(), "python -m harness.reporting.reference writes it"


def test_the_schema_describes_what_is_written(holding: Report) -> None:
    assert b'"Report"' in schema_document()
    assert encode_report(holding).endswith(b"\n")
