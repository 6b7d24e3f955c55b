"""Databases that several processes open at once."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from city_platform.stores.passing import is_passing
from city_platform.stores.sqlite import is_damage, open_database

TOGETHER = 8


def test_who_makes_a_database_at_the_same_time_as_others_finds_it_made(tmp_path: Path) -> None:
    barrier = threading.Barrier(TOGETHER)

    def open_it(path: Path) -> int:
        barrier.wait()
        connection = open_database(path, "CREATE TABLE devices (endpoint TEXT PRIMARY KEY)")
        try:
            return int(connection.execute("SELECT count(*) FROM devices").fetchone()[0])
        finally:
            connection.close()

    with ThreadPoolExecutor(TOGETHER) as threads:
        for attempt in range(5):
            path = tmp_path / f"{attempt}.sqlite"
            assert list(threads.map(open_it, [path] * TOGETHER)) == [0] * TOGETHER


def test_what_is_no_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError, match=r"users\.sqlite: .*restore it from") as refused:
        open_database(path, "CREATE TABLE users (name TEXT)")
    assert is_damage(refused.value)
    assert not is_passing(refused.value)


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    path.mkdir()
    with pytest.raises(sqlite3.OperationalError, match=r"users\.sqlite: unable to open") as refused:
        open_database(path, "CREATE TABLE users (name TEXT)")
    assert not is_damage(refused.value)


def test_a_database_that_another_holds_is_named_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("city_platform.stores.sqlite.BUSY_TIMEOUT_MS", 1)
    path = tmp_path / "users.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match=r"users\.sqlite: .*locked") as refused:
            open_database(path, "CREATE TABLE users (name TEXT)")
    assert is_passing(refused.value)
    open_database(path, "CREATE TABLE users (name TEXT)").close()
