"""A journal is followed line by line while another process writes it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from contracts.journal import DeviceRegistered, DeviceStarted
from harness.journal.reader import MalformedJournal
from harness.load.tail import JournalTail

REGISTERED = DeviceRegistered(at_ns=1, endpoint="a", location="/rd/1")
STARTED = DeviceStarted(at_ns=1, endpoint="a", model="street_lamp", intended_at_ns=1)
LINE = msgspec.json.encode(REGISTERED) + b"\n"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_file_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    tail = JournalTail(tmp_path / "fleet.jsonl")
    assert tail.read() is None
    append(tmp_path / "fleet.jsonl", LINE)
    assert tail.read() == [REGISTERED]
    assert tail.read() is None
    tail.close()


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl"
    tail = JournalTail(path)
    append(path, LINE + LINE[:9])
    assert tail.read() == [REGISTERED]
    append(path, LINE[9:])
    assert tail.read() == [REGISTERED]
    tail.close()


def test_an_open_file_is_followed_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl.pending"
    append(path, LINE)
    tail = JournalTail(path)
    assert tail.open()
    path.rename(tmp_path / "fleet.jsonl")
    assert tail.read() == [REGISTERED]
    tail.close()


def test_lines_that_are_not_asked_for_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl"
    append(path, LINE + msgspec.json.encode(STARTED) + b"\n")
    tail = JournalTail(path, prefix=b'{"k":"device_started"')
    assert tail.read() == [STARTED]
    tail.close()


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl"
    append(path, LINE + b'{"k":"nothing"}\n')
    tail = JournalTail(path)
    with pytest.raises(MalformedJournal, match=r"fleet.jsonl, line 2"):
        tail.read()
    tail.close()
