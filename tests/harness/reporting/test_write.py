"""What a run leaves, and making it again from the journal alone."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from contracts.journal import STAGES, DeviceBootstrapped, Record, SecretsScanned
from contracts.report import ReadingCounts, Report, decode_report, encode_report
from harness import checks
from harness.errors import HarnessError
from harness.journal import Journal, read_run
from harness.reporting import print_summary, remake_report, report, write_report
from harness.reporting.__main__ import USAGE, main
from harness.reporting.reference import reference_page, schema_document

ROOT = Path(__file__).parents[3]
NAME, CLAIM = "onboarding.city_block_comes_online", "Everything is as it should be."
WriteRun = Callable[[list[Record]], Path]


def _print(made: Report, directory: Path, width: int = 120) -> str:
    text = io.StringIO()
    print_summary(made, directory, Console(file=text, width=width))
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


@pytest.mark.parametrize("is_killed_early", [True, False])
def test_a_run_that_did_not_end_is_not_judged(
    write_run: WriteRun,
    records: list[Record],
    is_killed_early: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut: list[Record] = [r for r in records if not isinstance(r, SecretsScanned)]
    directory = write_run(cut[:1] if is_killed_early else cut)
    with pytest.raises(HarnessError, match="did not end"):
        write_report(directory, NAME, CLAIM, checks.MAIN_JOB)
    assert main([str(directory)]) == 3
    said = capsys.readouterr().err
    assert said == (
        f"harness.reporting: the run in {directory} did not end "
        "(interrupted, or its runner was killed): nothing can be judged\n"
    )
    assert not (directory / "report.json").exists()


def test_a_folder_without_a_journal_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 3
    assert capsys.readouterr().err == f"harness.reporting: there is no journal in {tmp_path}\n"


def test_help_is_no_error_and_a_wrong_call_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == USAGE
    for arguments in ([], ["a", "b"], ["--nonsense"]):
        assert main(arguments) == 3
        assert capsys.readouterr().err == USAGE


def test_the_stages_fit_eighty_columns_whole(holding: Report, tmp_path: Path) -> None:
    lines = _print(holding, tmp_path, width=80).splitlines()
    heading = next(n for n, line in enumerate(lines) if line.startswith("stage "))
    stages = lines[heading + 1 : heading + 1 + len(STAGES)]
    assert [line[:23].strip() for line in stages] == [s.replace("_", " ") for s in STAGES]
    begins = [line.rstrip().rfind(" ") for line in (lines[heading], stages[0])]
    assert all(0 < at < 80 for at in begins)
    assert all("…" not in line for line in lines)


def test_stages_that_nothing_reached_have_no_latencies(tmp_path: Path) -> None:
    empty = report(Journal([]), [], scenario=NAME, claim=CLAIM)
    text = _print(empty, tmp_path, width=80)
    assert re.search(r"^online +0( +–){5}$", text, re.MULTILINE)


def test_a_claim_is_marked_as_one(holding: Report, tmp_path: Path) -> None:
    broken = msgspec.structs.replace(holding, verdict="broken", exit_code=1)
    assert f"Claim: {CLAIM}" in _print(broken, tmp_path)


def test_readings_are_told_as_made_acknowledged_and_stored(holding: Report, tmp_path: Path) -> None:
    counts = ReadingCounts(generated=1348, acknowledged=1343, stored=1348, unknown=5)
    text = _print(msgspec.structs.replace(holding, readings=counts), tmp_path)
    assert "1,348 made, 1,343 acknowledged, 1,348 stored; 5 unknown" in text


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
