"""Databases that several processes open at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from city_platform.stores.sqlite import open_database

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
