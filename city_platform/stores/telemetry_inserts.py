"""Puts readings in their table and tells new ones, repetitions and contradictions apart."""

from __future__ import annotations

import sqlite3

from city_platform.stores.telemetry_records import ReadingRecord

CHUNK_ROWS = 500
_COLUMNS = "(?, ?, ?, ?, ?, ?, ?, ?)"
Sorted3 = tuple[list[ReadingRecord], list[ReadingRecord], list[ReadingRecord]]


class ReadingInserts:
    """Inserts in the transaction at hand.

    A chunk goes in as a whole; only when some of it was there already is it taken back and put in
    row by row, so that repetitions cost, and not the readings that come once.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def insert(self, readings: list[ReadingRecord]) -> Sorted3:
        """Those stored, those there already with the same value, and those with another."""
        sorted_out: Sorted3 = ([], [], [])
        for start in range(0, len(readings), CHUNK_ROWS):
            chunk = readings[start : start + CHUNK_ROWS]
            if self._insert_whole(chunk):
                sorted_out[0].extend(chunk)
            else:
                self._insert_each(chunk, sorted_out)
        return sorted_out

    def _insert_whole(self, chunk: list[ReadingRecord]) -> bool:
        connection = self._connection
        connection.execute("SAVEPOINT chunk")
        before = connection.total_changes
        connection.executemany(f"INSERT OR IGNORE INTO readings VALUES {_COLUMNS}", chunk)
        are_all_new = connection.total_changes - before == len(chunk)
        if not are_all_new:
            connection.execute("ROLLBACK TO chunk")
        connection.execute("RELEASE chunk")
        return are_all_new

    def _insert_each(self, chunk: list[ReadingRecord], sorted_out: Sorted3) -> None:
        stored, duplicates, conflicts = sorted_out
        for reading in chunk:
            if self._insert_one("readings", reading):
                stored.append(reading)
            elif self._is_same(reading) or not self._insert_one("conflicts", reading):
                duplicates.append(reading)
            else:
                conflicts.append(reading)

    def _insert_one(self, table: str, reading: ReadingRecord) -> bool:
        cursor = self._connection.execute(
            f"INSERT OR IGNORE INTO {table} VALUES {_COLUMNS}", reading
        )
        return cursor.rowcount == 1

    def _is_same(self, reading: ReadingRecord) -> bool:
        row = self._connection.execute(
            "SELECT value, kind FROM readings WHERE endpoint = ? AND path = ? AND time_us = ?",
            reading[:3],
        ).fetchone()
        return bool(row == (reading.value, reading.kind))
