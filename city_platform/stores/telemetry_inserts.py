"""Puts readings in their table and tells new ones, repetitions and contradictions apart.

Names are stored once and referred to by number: a row is four numbers, which halves what a reading
costs in time and space.
"""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from city_platform.stores.telemetry_records import ReadingRecord

# Numbers of names that are kept in memory: 100,000 devices of ten resources each use the table.
_NUMBERS_MAX = 200_000
# SQLite's smallest integer: no device time is so early.
_BEFORE_ALL_US = -(2**63)

_Row: TypeAlias = tuple[int, int, float | int | str, int]
_Outcome: TypeAlias = tuple[list[ReadingRecord], list[ReadingRecord], list[ReadingRecord]]


class ReadingsChangedElsewhere(sqlite3.OperationalError):
    """A reading is there that was newer than all of its series: somebody else writes the table.
    Nothing of the batch is stored; tried again, it is compared with what is there now."""


class _Series:
    """A path of a device: its number, and a time that none of its readings is after."""

    __slots__ = ("newest_us", "number")

    def __init__(self, number: int, newest_us: int) -> None:
        self.number = number
        self.newest_us = newest_us


class ReadingInserts:
    """Inserts in the transaction at hand.

    A reading that is newer than all of its series is new, and such readings go in together. Only
    the others (repetitions, and what was kept during an outage and comes after newer ones) are
    compared with what is there, one by one.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._series: dict[tuple[str, str], _Series] = {}
        self._descriptions: dict[tuple[str, str | None, str, str], int] = {}

    def forget_numbers(self) -> None:
        """After a rollback: numbers and times that it took back must not be used."""
        self._series.clear()
        self._descriptions.clear()

    def insert(self, readings: list[ReadingRecord]) -> _Outcome:
        """Those stored, those there already with the same value, and those with another.

        Raises `ReadingsChangedElsewhere`: then the transaction must be taken back.
        """
        stored, rows, old, old_rows = self._rows(readings)
        self._insert_new(rows)
        outcome: _Outcome = (stored, [], [])
        self._insert_each(old, old_rows, outcome)
        return outcome

    def _rows(
        self, readings: list[ReadingRecord]
    ) -> tuple[list[ReadingRecord], list[_Row], list[ReadingRecord], list[_Row]]:
        """Readings that are newer than their series and their rows, other readings and theirs."""
        known, descriptions = self._series, self._descriptions
        if len(known) > _NUMBERS_MAX or len(descriptions) > _NUMBERS_MAX:
            self.forget_numbers()
        new: list[ReadingRecord] = []
        old: list[ReadingRecord] = []
        new_rows: list[_Row] = []
        old_rows: list[_Row] = []
        for reading in readings:
            endpoint, path, time_us, value, kind, unit, time_source, tenant = reading
            series = known.get((endpoint, path))
            if series is None:
                series = known[endpoint, path] = self._open_series((endpoint, path))
            description = (kind, unit, time_source, tenant)
            described = descriptions.get(description)
            if described is None:
                described = self._number_of_description(description)
                descriptions[description] = described
            row = (series.number, time_us, value, described)
            if time_us > series.newest_us:
                series.newest_us = time_us
                new.append(reading)
                new_rows.append(row)
            else:
                old.append(reading)
                old_rows.append(row)
        return new, new_rows, old, old_rows

    def _open_series(self, name: tuple[str, str]) -> _Series:
        number = self._number_of_series(name)
        newest: int | None = self._connection.execute(
            "SELECT max(time_us) FROM readings WHERE series = ?", (number,)
        ).fetchone()[0]
        return _Series(number, _BEFORE_ALL_US if newest is None else newest)

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

    def _insert_new(self, rows: list[_Row]) -> None:
        before = self._connection.total_changes
        self._connection.executemany("INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?)", rows)
        if self._connection.total_changes - before != len(rows):
            raise ReadingsChangedElsewhere("readings were stored that this store did not write")

    def _insert_each(
        self, readings: list[ReadingRecord], rows: list[_Row], outcome: _Outcome
    ) -> None:
        stored, duplicates, conflicts = outcome
        for reading, row in zip(readings, rows, strict=True):
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
