"""Reads journal files. A line that a kill cut short is dropped; one that is wrong is an error."""

from __future__ import annotations

from pathlib import Path

import msgspec

from contracts.journal import Record
from harness.errors import HarnessError
from harness.journal.journal import Journal

# How every record begins: the encoder writes the tag first.
_BEGINNING = b'{"k":"'
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class MalformedJournal(HarnessError):
    """A journal file holds something that is neither a record nor the torn end of one."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}, line {line}: {reason}")
        self.file = file
        self.line = line


def read_run(directory: Path) -> Journal:
    """The journal of a run's folder: all `journal/*.jsonl`, or `*.jsonl` of the folder itself.

    Raises `MalformedJournal`, and `HarnessError` when there is no journal.
    """
    within = directory / "journal"
    files = sorted((within if within.is_dir() else directory).glob("*.jsonl"))
    if not files:
        raise HarnessError(f"there is no journal in {directory}")
    records: list[Record] = []
    torn_lines = 0
    for file in files:
        found, torn = read_lines(file.read_bytes(), file.name)
        records += found
        torn_lines += torn
    return Journal(records, torn_lines=torn_lines)


def read_lines(data: bytes, file: str = "journal") -> tuple[list[Record], int]:
    """The records of one file, and how many lines were torn. Raises `MalformedJournal`.

    A process that was killed while it wrote leaves half a line; the next incarnation goes on
    behind it, on the same line.
    """
    try:
        return _decoder.decode_lines(data), 0
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _read_one_by_one(data, file)


def _read_one_by_one(data: bytes, file: str) -> tuple[list[Record], int]:
    records: list[Record] = []
    torn_lines = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            torn_lines += 1
            # Only the last line has no line end behind it.
            mended = _behind_the_tear(line)
            if mended is not None:
                records.append(mended)
            elif number < len(lines):
                raise MalformedJournal(file, number, str(error)) from None
    return records, torn_lines


def _behind_the_tear(line: bytes) -> Record | None:
    """The whole record that follows half of another on one line, None when there is none."""
    begins = line.rfind(_BEGINNING)
    if begins <= 0:
        return None
    try:
        return _decoder.decode(line[begins:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
