"""The journal: merged by time, typed, torn lines dropped, wrong ones refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.journal import DeviceRegistered, DeviceStarted, Note, RunStarted
from harness.errors import HarnessError
from harness.journal import Journal, MalformedJournal, read_lines, read_run
from harness.journal.example import Plan, example_run

RECORDS = example_run(Plan(devices=5, packs=3))


def _lines(records: list[msgspec.Struct]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def test_files_of_all_processes_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    for part in range(3):
        (tmp_path / "journal" / f"{part}.jsonl").write_bytes(_lines(RECORDS[part::3]))
    journal = read_run(tmp_path)
    assert len(journal) == len(RECORDS)
    assert [record.at_ns for record in journal] == [record.at_ns for record in RECORDS]
    assert journal.of(DeviceStarted) == [r for r in RECORDS if isinstance(r, DeviceStarted)]
    assert journal.torn_lines == 0


def test_a_folder_of_journal_files_alone_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "runner.jsonl").write_bytes(_lines(RECORDS))
    assert len(read_run(tmp_path)) == len(RECORDS)


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no journal"):
        read_run(tmp_path)


@settings(max_examples=50)
@given(cut=st.integers(1, 400))
def test_a_torn_last_line_is_dropped(cut: int) -> None:
    whole = _lines(RECORDS[:6])
    torn = whole[: max(0, len(whole) - cut)]
    records, torn_lines = read_lines(torn)
    assert records == RECORDS[: len(records)]
    # Without its line end a record is still whole.
    assert torn_lines == (
        not torn.endswith(b"\n") and torn.count(b"\n") == len(records) and torn != b""
    )


def test_what_was_written_behind_a_torn_line_is_kept() -> None:
    first, second, third = (msgspec.json.encode(record) for record in RECORDS[:3])
    data = first + b"\n" + second[:20] + third + b"\n"
    assert read_lines(data) == ([RECORDS[0], RECORDS[2]], 1)


@pytest.mark.parametrize("line", [b"nonsense", b'{"k":"no_such_kind","at_ns":1}', b'{"k":"note"}'])
def test_a_line_that_is_no_record_is_refused_with_its_place(line: bytes) -> None:
    data = _lines(RECORDS[:1]) + line + b"\n" + _lines(RECORDS[1:2])
    with pytest.raises(MalformedJournal, match=r"fleet\.jsonl, line 2"):
        read_lines(data, "fleet.jsonl")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_our_own_error(data: bytes) -> None:
    with contextlib.suppress(MalformedJournal):
        read_lines(data)


def test_what_is_derived_is_worked_out_once() -> None:
    calls = []

    def count(journal: Journal) -> int:
        calls.append(journal)
        return len(journal)

    journal = Journal(RECORDS)
    assert journal.derive(count) == journal.derive(count) == len(RECORDS)
    assert calls == [journal]


def test_times_are_told_from_the_beginning_of_the_run_and_by_the_calendar() -> None:
    journal = Journal(RECORDS)
    run = journal.of(RunStarted)[0]
    assert journal.began_ns == run.at_ns
    assert journal.since_start_s(run.at_ns + 1_500_000_000) == 1.5
    assert journal.unix_us(run.at_ns + 2_000) == run.at_unix_us + 2


def test_a_journal_without_a_beginning_counts_from_the_first_record() -> None:
    journal = Journal(
        [Note(at_ns=9, name="b"), DeviceRegistered(at_ns=7, endpoint="x", location="")]
    )
    assert (journal.began_ns, journal.ended_ns) == (7, 9)
    assert journal.run is None
    assert (Journal([]).began_ns, Journal([]).ended_ns) == (0, 0)
