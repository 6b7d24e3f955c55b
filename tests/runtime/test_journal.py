"""A journal has each record in a line of its own, in order, whatever came in one turn."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.journal import JournalFile


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A record as small as one may be."""

    text: str
    number: int = 0


@given(st.lists(st.lists(st.builds(Said, st.text(max_size=5), st.integers(0, 9)), max_size=5)))
def test_what_turns_recorded_is_there_line_by_line(
    tmp_path_factory: pytest.TempPathFactory, turns: list[list[Said]]
) -> None:
    file = tmp_path_factory.mktemp("journal") / "lamp.jsonl"

    async def story() -> None:
        journal = JournalFile(file)
        for records in turns:
            for record in records:
                journal.record(record)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        journal.close()
        journal.record(Said("too late"))

    asyncio.run(story())
    told = [record for records in turns for record in records]
    assert file.read_bytes() == b"".join(msgspec.json.encode(one) + b"\n" for one in told)


def test_a_turn_is_written_when_it_is_over_without_a_close(tmp_path: Path) -> None:
    async def story() -> bytes:
        journal = JournalFile(tmp_path / "lamp.jsonl")
        journal.record(Said("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        written = (tmp_path / "lamp.jsonl").read_bytes()
        journal.close()
        return written

    assert asyncio.run(story()) == b'{"type":"said","text":"a","number":0}\n'


def test_a_record_that_cannot_be_written_takes_no_other_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        journal = JournalFile(tmp_path / "lamp.jsonl")
        for text in ("a", "\ud800", "b"):
            journal.record(Said(text))
        with pytest.raises(UnicodeEncodeError):
            journal.flush()
        journal.close()

    asyncio.run(story())
    lines = (tmp_path / "lamp.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Said).text for line in lines] == ["a", "b"]
