"""Group commit: durable when told, in order, and a bad statement is told to who brought it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.group_commit import GroupCommit, Statement
from city_platform.stores.sqlite import open_database
from city_platform.stores.worker import Worker
from tests.processes import WITHIN_S

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


@pytest.mark.parametrize("others", [0, 2])
def test_of_statements_that_belong_together_none_is_there_without_the_others(
    tmp_path: Path, others: int
) -> None:
    async def story() -> None:
        commits = make(tmp_path)
        apart = [commits.submit(PUT, (f"other {number}", 1)) for number in range(others)]
        refused = commits.submit_all([(PUT, ("a", 1)), (PUT, ("b", None))])
        kept = commits.submit_all([(PUT, ("c", 1)), (PUT, ("d", 1))]) if others else None
        with pytest.raises(sqlite3.IntegrityError):
            await refused
        await asyncio.gather(*apart)
        if kept is not None:
            await kept
        names = [row[0] for row in await commits.query("SELECT name FROM numbers ORDER BY name")]
        assert names == (["c", "d", "other 0", "other 1"] if others else [])
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


class CountingWorker(Worker):
    """Tells how many transactions there were."""

    calls = 0

    async def do(self, function, *args, **kwargs):  # type: ignore[no-untyped-def]  # as its parent's
        self.calls += 1
        return await super().do(function, *args, **kwargs)


@pytest.mark.slow
def test_what_comes_soon_after_a_commit_shares_the_next_one(tmp_path: Path) -> None:
    async def story() -> None:
        schema = "CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL)"
        worker = CountingWorker("numbers")
        database = open_database(tmp_path / "numbers.sqlite", schema)
        commits = GroupCommit(database, worker, gather_s=0.5)
        await commits.submit(PUT, ("a", 1))
        assert worker.calls == 1, "what comes alone is committed at once"
        waiting = []
        for number in range(20):
            waiting.append(commits.submit(PUT, (f"b{number}", number)))
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert worker.calls == 2
        await commits.close()

    asyncio.run(story())


def test_what_can_wait_shares_one_future_and_is_committed_with_what_cannot(tmp_path: Path) -> None:
    async def story() -> None:
        schema = "CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL)"
        worker = CountingWorker("numbers")
        database = open_database(tmp_path / "numbers.sqlite", schema)
        commits = GroupCommit(database, worker, gather_s=0.0, patience_s=3_600.0)
        await commits.submit_patiently(PUT, ("a", 1))
        first, second = (commits.submit_patiently(PUT, (name, 2)) for name in "bc")
        assert first is second
        await asyncio.sleep(0)
        assert not first.done()
        await commits.submit(PUT, ("d", 3))
        assert first.done()
        assert worker.calls == 2
        assert len(await commits.query("SELECT * FROM numbers")) == 4
        await commits.close()

    asyncio.run(story())


def test_a_refused_statement_is_told_to_all_that_wait_together(tmp_path: Path) -> None:
    async def story() -> None:
        commits = make(tmp_path)
        waiting = commits.submit_patiently(PUT, ("a", 1))
        commits.submit_patiently(PUT, ("b", None))
        with pytest.raises(sqlite3.IntegrityError):
            await waiting
        await commits.submit_patiently(PUT, ("c", 1))
        # What is put again is there twice as well as once; what is kept back for ever is not there.
        assert await commits.query("SELECT name FROM numbers") == [("a",), ("c",)]
        await commits.close()

    asyncio.run(story())


# By what a statement may be refused: SQLite, and Python before SQLite sees it.
BAD = {
    "null": (None, sqlite3.IntegrityError),
    "65 bits": (2**64, sqlite3.DataError),
    "half a letter": ("\ud800", sqlite3.DataError),
    "no value": (object(), sqlite3.Error),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_kept_is_told_to_its_caller_alone(tmp_path: Path, kind: str) -> None:
    value, error = BAD[kind]

    async def story() -> None:
        commits = make(tmp_path)
        good = [commits.submit(PUT, (f"a{n}", n)) for n in range(3)]
        bad = commits.submit(PUT, ("bad", value))
        good += [commits.submit(PUT, (f"b{n}", n)) for n in range(3)]
        async with asyncio.timeout(60):
            with pytest.raises(error):
                await bad
            await asyncio.gather(*good)
            with pytest.raises(error):  # alone in its transaction too
                await commits.submit(PUT, ("bad", value))
        found = await commits.query("SELECT name FROM numbers ORDER BY name")
        assert [name for (name,) in found] == ["a0", "a1", "a2", "b0", "b1", "b2"]
        await commits.close()

    asyncio.run(story())


def test_a_lock_is_told_to_all_and_nothing_of_it_is_there(tmp_path: Path) -> None:
    async def story() -> None:
        commits = make(tmp_path)
        await commits.submit("PRAGMA busy_timeout=0", ())
        with contextlib.closing(sqlite3.connect(tmp_path / "numbers.sqlite")) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = [commits.submit(PUT, ("a", 1)), commits.submit(PUT, ("bad", None))]
            for one in waiting:
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    await one
        await commits.submit(PUT, ("b", 1))
        assert await commits.query("SELECT name FROM numbers") == [("b",)]
        await commits.close()

    asyncio.run(story())


def test_who_comes_after_the_end_is_told_so(tmp_path: Path) -> None:
    async def story() -> None:
        commits = make(tmp_path)
        await commits.close()
        async with asyncio.timeout(60):
            with pytest.raises(RuntimeError, match="after shutdown"):
                await commits.submit(PUT, ("a", 1))

    asyncio.run(story())


def test_closing_does_not_wait_for_patience(tmp_path: Path) -> None:
    async def story() -> None:
        schema = "CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL)"
        database = open_database(tmp_path / "numbers.sqlite", schema)
        commits = GroupCommit(database, Worker("numbers"), patience_s=3_600.0)
        await commits.submit_patiently(PUT, ("a", 1))
        waiting = commits.submit_patiently(PUT, ("b", 1))
        await commits.close()
        assert waiting.done()

    asyncio.run(story())


PUT_PLAINLY = "INSERT INTO numbers VALUES (?, ?)"
REMOVE = "DELETE FROM numbers WHERE name = ?"
NAMES = st.sampled_from(["a", "b", "c"])
STATEMENTS = st.one_of(
    st.tuples(st.just(PUT), st.tuples(NAMES, st.integers(0, 9) | st.none())),
    # Refused when the name is there.
    st.tuples(st.just(PUT_PLAINLY), st.tuples(NAMES, st.integers(0, 9))),
    st.tuples(st.just(REMOVE), st.tuples(NAMES)),
)


def one_by_one(writes: list[list[Statement]]) -> tuple[list[bool], list[tuple[str, int]]]:
    """Which of them are kept, and what is there in the end, when each is committed alone."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL)")
    kept = []
    for write in writes:
        connection.execute("BEGIN")
        try:
            for statement, parameters in write:
                connection.execute(statement, parameters)
        except sqlite3.IntegrityError:
            connection.execute("ROLLBACK")
            kept.append(False)
        else:
            connection.execute("COMMIT")
            kept.append(True)
    rows = connection.execute("SELECT * FROM numbers ORDER BY name").fetchall()
    connection.close()
    return kept, rows


@given(writes=st.lists(st.lists(STATEMENTS, min_size=1, max_size=3), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_what_is_committed_together_is_as_if_each_were_alone(
    tmp_path_factory: pytest.TempPathFactory, writes: list[list[Statement]]
) -> None:
    async def story() -> tuple[list[bool], list[tuple[str, int]]]:
        commits = make(tmp_path_factory.mktemp("numbers"))
        ended = await asyncio.gather(
            *(commits.submit_all(write) for write in writes), return_exceptions=True
        )
        rows = await commits.query("SELECT * FROM numbers ORDER BY name")
        await commits.close()
        return [one is None for one in ended], rows

    assert asyncio.run(story()) == one_by_one(writes)


def test_what_is_urgent_does_not_wait_as_long_as_what_was_patient_before(tmp_path: Path) -> None:
    async def story() -> None:
        schema = "CREATE TABLE numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL)"
        database = open_database(tmp_path / "numbers.sqlite", schema)
        commits = GroupCommit(database, Worker("numbers"), gather_s=0.0, patience_s=3_600.0)
        await commits.submit(PUT, ("first", 1))
        patient = [commits.submit_patiently(PUT, (f"p{number}", 1)) for number in range(3)]
        async with asyncio.timeout(WITHIN_S):
            await commits.submit(PUT, ("urgent", 1))
            await asyncio.gather(*set(patient))
        await commits.close()

    asyncio.run(story())
