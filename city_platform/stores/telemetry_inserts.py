"""Puts readings in their table and tells new ones, repetitions and contradictions apart.

Names are stored once and referred to by number: a row is four numbers, which halves what a reading
costs in time and space.
"""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from city_platform.stores.telemetry_records import ReadingRecord

CHUNK_ROWS = 500
# Numbers of names that are kept in memory: 100,000 devices of ten resources each use the table.
_NUMBERS_MAX = 200_000

_Row: TypeAlias = tuple[int, int, float | int | str, int]
_Outcome: TypeAlias = tuple[list[ReadingRecord], list[ReadingRecord], list[ReadingRecord]]


class ReadingInserts:
    """Inserts in the transaction at hand.

    A chunk goes in as a whole; only when some of it was there already is it taken back and put in
    row by row, so that repetitions cost, and not the readings that come once.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._series: dict[tuple[str, str], int] = {}
        self._descriptions: dict[tuple[str, str | None, str, str], int] = {}

    def forget_numbers(self) -> None:
        """After a rollback: numbers that it took back must not be used."""
        self._series.clear()
        self._descriptions.clear()

    def insert(self, readings: list[ReadingRecord]) -> _Outcome:
        """Those stored, those there already with the same value, and those with another."""
        outcome: _Outcome = ([], [], [])
        for start in range(0, len(readings), CHUNK_ROWS):
            chunk = readings[start : start + CHUNK_ROWS]
            rows = self._rows(chunk)
            if self._insert_whole(rows):
                outcome[0].extend(chunk)
            else:
                self._insert_each(chunk, rows, outcome)
        return outcome

    def _rows(self, chunk: list[ReadingRecord]) -> list[_Row]:
        series, descriptions = self._series, self._descriptions
        if len(series) > _NUMBERS_MAX or len(descriptions) > _NUMBERS_MAX:
            self.forget_numbers()
        rows = []
        for endpoint, path, time_us, value, kind, unit, time_source, tenant in chunk:
            name = (endpoint, path)
            number = series.get(name)
            if number is None:
                number = series[name] = self._number_of_series(name)
            description = (kind, unit, time_source, tenant)
            described = descriptions.get(description)
            if described is None:
                described = self._number_of_description(description)
                descriptions[description] = described
            rows.append((number, time_us, value, described))
        return rows

    def _number_of_series(self, name: tuple[str, str]) -> int:
        self._connection.execute(
            "INSERT OR IGNORE INTO series (endpoint, path) VALUES (?, ?)", name
        )
        found: int = self._connection.execute(
            "SELECT id FROM series WHERE endpoint = ? AND path = ?", name
        ).fetchone()[0]
        return found

    def _number_of_description(self, description: tuple[str, str | None, str, str]) -> int:
        kind, unit, time_source, tenant = description
        # Empty for none: SQL's null would be another one each time.
        row = (kind, unit or "", time_source, tenant)
        self._connection.execute(
            "INSERT OR IGNORE INTO descriptions (kind, unit, time_source, tenant)"
            " VALUES (?, ?, ?, ?)",
            row,
        )
        found: int = self._connection.execute(
            "SELECT id FROM descriptions WHERE kind = ? AND unit = ? AND time_source = ?"
            " AND tenant = ?",
            row,
        ).fetchone()[0]
        return found

    def _insert_whole(self, rows: list[_Row]) -> bool:
        connection = self._connection
        connection.execute("SAVEPOINT chunk")
        before = connection.total_changes
        connection.executemany("INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?)", rows)
        are_all_new = connection.total_changes - before == len(rows)
        if not are_all_new:
            connection.execute("ROLLBACK TO chunk")
        connection.execute("RELEASE chunk")
        return are_all_new

    def _insert_each(self, chunk: list[ReadingRecord], rows: list[_Row], outcome: _Outcome) -> None:
        stored, duplicates, conflicts = outcome
        for reading, row in zip(chunk, rows, strict=True):
            if self._insert_one("readings", row):
                stored.append(reading)
            elif self._is_same(reading, row) or not self._insert_one("conflicts", row):
                duplicates.append(reading)
            else:
                conflicts.append(reading)

    def _insert_one(self, table: str, row: _Row) -> bool:
        cursor = self._connection.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?)", row)
        return cursor.rowcount == 1

    def _is_same(self, reading: ReadingRecord, row: _Row) -> bool:
        # Whose device it was then, and in which unit, does not make it another reading.
        found = self._connection.execute(
            "SELECT value, kind FROM readings JOIN descriptions ON id = description"
            " WHERE series = ? AND time_us = ?",
            row[:2],
        ).fetchone()
        return bool(found == (reading.value, reading.kind))
