"""Readings once, contradictions kept apart, and the spool position in the same transaction."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.stores.dead_letters import DeadLetter, SqliteDeadLetterStore
from city_platform.stores.telemetry_inserts import ReadingsChangedElsewhere
from city_platform.stores.telemetry_records import (
    ReadingRecord,
    TelemetryBatch,
    UnstampedPack,
    outward_rows,
)
from city_platform.stores.telemetry_store import OutOfOrder, SqliteTelemetryStore
from contracts.api import Commit

FOREVER = 2**62


def reading(
    time_us: int, value: float = 1.0, *, endpoint: str = "lamp-1", path: str = "/3416/0/3"
) -> ReadingRecord:
    return ReadingRecord(endpoint, path, time_us, value, "number", "/", "device", "harbour")


def batch(
    first: int, readings: list[ReadingRecord], unstamped: list[UnstampedPack] | None = None
) -> TelemetryBatch:
    return TelemetryBatch(first, first + 1, 77, readings, unstamped or [], [], [])


def open_store(folder: Path, **limits: int) -> SqliteTelemetryStore:
    clock = itertools.count(1_000)
    return SqliteTelemetryStore(folder / "telemetry.sqlite", now_ns=lambda: next(clock), **limits)


def commit(store: SqliteTelemetryStore, first: int, readings: list[ReadingRecord]) -> Commit:
    lines = store.commit_now(batch(first, readings))
    return msgspec.json.decode(lines[0].line, type=Commit)


def test_a_batch_that_does_not_continue_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, 0, [reading(1)])
    for first in (0, 2):
        with pytest.raises(OutOfOrder):
            store.commit_now(batch(first, [reading(2)]))
    store.close()


def test_repetitions_and_contradictions_within_one_batch_are_told_apart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    found = commit(
        store, 0, [reading(1), reading(1), reading(1, 2.0), reading(1, 2.0), reading(2), reading(1)]
    )
    first, second, contradiction = outward_rows([reading(1), reading(2), reading(1, 2.0)])
    assert found.readings == [first, second]
    assert found.conflicts == [contradiction]
    assert found.duplicates == [first, contradiction, first]
    store.close()


def test_what_comes_late_is_stored_and_told_from_what_is_there(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, 0, [reading(5), reading(9)])
    # Newer ones of another path between: each path has its own newest time.
    other = reading(6, path="/3301/0/5700")
    found = commit(
        store, 1, [reading(10), reading(7), other, reading(5), reading(9, 2.0), reading(8)]
    )
    assert [row[2] for row in found.readings] == [10, 6, 7, 8]
    assert [row[2] for row in found.duplicates] == [5]
    assert [row[2] for row in found.conflicts] == [9]
    store.close()


def test_a_repetition_is_one_also_for_the_next_process_and_after_a_batch_that_failed(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    commit(store, 0, [reading(1), reading(2)])
    with pytest.raises(sqlite3.Error):
        store.commit_now(batch(1, [reading(3), reading(4, object())]))  # type: ignore[arg-type]  # what no value can be
    assert [row[2] for row in commit(store, 1, [reading(3)]).readings] == [3]
    store.close()
    store = open_store(tmp_path)
    assert len(commit(store, 2, [reading(2), reading(3)]).duplicates) == 2
    store.close()


def test_readings_of_another_writer_are_compared_when_the_batch_comes_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, 0, [reading(1)])
    with sqlite3.connect(tmp_path / "telemetry.sqlite") as other:
        other.execute("INSERT INTO readings SELECT series, 2, value, description FROM readings")
    with pytest.raises(ReadingsChangedElsewhere):
        store.commit_now(batch(1, [reading(2), reading(3)]))
    found = commit(store, 1, [reading(2), reading(3)])
    assert ([row[2] for row in found.readings], len(found.duplicates)) == ([3], 1)
    store.close()


def test_true_and_one_are_not_the_same_value(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    flag = reading(1)._replace(value=1, kind="boolean")
    assert commit(store, 0, [flag]).readings == [("lamp-1", "/3416/0/3", 1, True)]
    assert commit(store, 1, [reading(1, 1)]).conflicts == [("lamp-1", "/3416/0/3", 1, 1)]
    store.close()


def test_a_commit_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    too_large = reading(2**70)
    with pytest.raises(OverflowError):
        store.commit_now(batch(0, [reading(1), too_large]))
    assert commit(store, 0, [reading(1)]).readings == outward_rows([reading(1)])
    store.close()


def test_readings_are_found_by_path_and_time_newest_first(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path)
        commit(store, 0, [reading(t, t, path=f"/3/0/{t % 2}") for t in range(10)])
        found = await store.readings("lamp-1", "/3/0/1", 3, 9, 2)
        assert [row[2] for row in found] == [7, 5]
        found = await store.readings("lamp-1", None, 0, FOREVER, 10_000)
        assert [row[2] for row in found] == list(range(9, -1, -1))
        assert await store.readings("nobody", None, 0, FOREVER, 1) == []
        store.close()

    asyncio.run(story())


def test_positions_and_counts_outlive_the_process(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path)
        commit(store, 0, [reading(1)])
        commit(store, 1, [reading(1)])
        await store.set_archived(1)
        counts = await store.counts()
        store.close()
        store = open_store(tmp_path)
        assert await store.counts() == counts
        assert (counts.packs, counts.stored, counts.duplicates) == (2, 1, 1)
        assert (await store.position(), await store.archived(), await store.newest()) == (2, 1, 2)
        store.close()

    asyncio.run(story())


def test_a_line_that_a_kill_left_without_stamp_gets_one_later_and_never_an_earlier_one(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        store = open_store(tmp_path)
        stamps = [commit(store, position, [reading(position)]).at_ns for position in range(3)]
        # As after a kill: the last stamp was never written.
        later = SqliteTelemetryStore(tmp_path / "telemetry.sqlite", now_ns=lambda: 9_999_999)
        page = await later.feed(0, 10)
        found = [msgspec.json.decode(line, type=Commit).at_ns for _, line in page.lines]
        assert found == [*stamps[:2], 9_999_999]
        later.close()
        store.close()

    asyncio.run(story())


def test_the_kept_feed_is_bounded(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(tmp_path, feed_bytes_max=2_000)
        for position in range(100):
            commit(store, position, [reading(position)])
        page = await store.feed(0, 1_000)
        assert 1 < len(page.lines) < 30
        assert page.lines[0].cursor == page.oldest
        assert page.lines[-1].cursor == 100
        store.close()

    asyncio.run(story())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=8),
        max_size=8,
    )
)
def test_the_first_value_of_each_key_is_kept_whatever_comes_again(
    batches: list[list[tuple[int, int]]],
) -> None:
    first: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        for position, given_batch in enumerate(batches):
            found = commit(store, position, [reading(time, value) for time, value in given_batch])
            new = {}
            for time, value in given_batch:
                if time not in first:
                    first[time] = new[time] = value
            assert {row[2]: row[3] for row in found.readings} == new
            shown = [*found.readings, *found.duplicates, *found.conflicts]
            assert len(shown) == len(given_batch)
        rows = asyncio.run(store.readings("lamp-1", None, 0, FOREVER, 10_000))
        assert {row[2]: row[3] for row in rows} == first
        store.close()


def test_dead_letters_are_kept_once_and_the_oldest_go_first(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteDeadLetterStore(tmp_path / "letters.sqlite", letters_max=3)
        letters = [
            DeadLetter(
                position=position,
                reason="malformed",
                topic="t",
                detail="d",
                endpoint="e",
                claimed="",
                received_us=1,
                payload=b"\x00",
            )
            for position in range(5)
        ]
        await store.put(letters[:2])
        await store.put(letters[1:])
        assert await store.read() == letters[2:]
        assert await store.read(after=3) == letters[4:]
        store.close()

    asyncio.run(story())
