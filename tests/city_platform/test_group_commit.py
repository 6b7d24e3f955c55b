"""Group commit: durable when told, in order, and one bad statement is told to its batch."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from city_platform.group_commit import GroupCommit
from city_platform.stores.sqlite import open_database
from city_platform.stores.worker import Worker

PUT = "INSERT OR REPLACE INTO numbers VALUES (?, ?)"


def make(tmp_path: Path) -> GroupCommit:
    schema = "CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL)"
    return GroupCommit(open_database(tmp_path / "numbers.sqlite", schema), Worker("numbers"))


def test_the_last_submitted_wins_and_another_connection_sees_it(tmp_path: Path) -> None:
    async def story() -> None:
        commits = make(tmp_path)
        await asyncio.gather(*(commits.submit(PUT, ("a", n)) for n in range(100)))
        with sqlite3.connect(tmp_path / "numbers.sqlite") as other:
            assert other.execute("SELECT * FROM numbers").fetchall() == [("a", 99)]
        other.close()
        await commits.close()

    asyncio.run(story())


def test_a_refused_statement_is_told_and_later_ones_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        commits = make(tmp_path)
        with pytest.raises(sqlite3.IntegrityError):
            await commits.submit(PUT, ("a", None))
        await commits.submit(PUT, ("b", 1))
        assert await commits.query("SELECT name FROM numbers") == [("b",)]
        await commits.close()

    asyncio.run(story())


def test_closing_commits_what_was_submitted(tmp_path: Path) -> None:
    async def story() -> None:
        commits = make(tmp_path)
        submitted = commits.submit(PUT, ("a", 1))
        await commits.close()
        assert submitted.done()
        again = make(tmp_path)
        assert await again.query("SELECT number FROM numbers") == [(1,)]
        await again.close()

    asyncio.run(story())
