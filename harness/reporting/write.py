"""Writes what a run leaves: `report.json`, `report.html` and `junit.xml`, from its journal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from contracts.journal import Note, SecretsScanned
from contracts.report import Report, encode_report
from harness.checks import Check, judge
from harness.errors import HarnessError
from harness.journal import Journal, read_run
from harness.reporting.build import report
from harness.reporting.environment import NOTE_VERSION, environment_notes
from harness.reporting.junit import junit_xml
from harness.reporting.page import render_page
from runtime.files import write_atomically


def write_report(directory: Path, scenario: str, claim: str, checks: Sequence[Check]) -> Report:
    """Judge the run in `directory` and write its report; returns it.

    Versions and machine are added to the journal first. Raises `HarnessError` when the journal is
    missing or malformed or the run did not end, `OSError` when nothing can be written.
    """
    journal = read_run(directory)
    if not any(note.name.startswith(NOTE_VERSION) for note in journal.of(Note)):
        notes = environment_notes(journal.ended_ns)
        _record(directory, notes)
        journal = journal.plus(notes)
    return remake_report(directory, journal, scenario, claim, checks)


def remake_report(
    directory: Path, journal: Journal, scenario: str, claim: str, checks: Sequence[Check]
) -> Report:
    """Judge `journal` and write the report into `directory`; the journal is left as it is.

    Raises `HarnessError` when the run did not end: what it had not come to yet looks lost.
    """
    # The search for secrets is the last thing that a run does.
    if not journal.of(SecretsScanned):
        raise HarnessError(
            f"the run in {directory} did not end (interrupted, or its runner was killed): "
            "nothing can be judged"
        )
    made = report(journal, judge(journal, checks), scenario=scenario, claim=claim)
    write_atomically(directory / "report.json", encode_report(made))
    write_atomically(directory / "report.html", render_page(made, journal).encode())
    write_atomically(directory / "junit.xml", junit_xml(made))
    return made


def _record(directory: Path, notes: Sequence[Note]) -> None:
    folder = directory / "journal"
    folder = folder if folder.is_dir() else directory
    lines = b"".join(msgspec.json.encode(note) + b"\n" for note in notes)
    write_atomically(folder / "reporting.jsonl", lines)
