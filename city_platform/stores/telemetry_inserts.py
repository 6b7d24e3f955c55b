"""Puts packs and readings in their tables; tells new ones, repetitions and contradictions apart.

Names are stored once and referred to by number. A pack is one row: with a row for each reading,
and each in another place of the table, storing cost nearly twice as much.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from city_platform.stores.telemetry_records import ReadingRecord, UniformPack
from city_platform.stores.telemetry_schema import PLACES
from city_platform.stores.telemetry_series import DeviceSeries, PackSeries, SeriesTable

_ReadingRow: TypeAlias = tuple[int, int, float | int | str, int]
_PackRow: TypeAlias = tuple[float | int | str, ...]
_PUT_READING: Final = "INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?)"
# By the number of places that are filled.
_PUT_PACK: Final = tuple(
    f"INSERT OR IGNORE INTO packs ({', '.join(('series', 'time_us', *PLACES[:count]))})"
    f" VALUES ({', '.join('?' * (count + 2))})"
    for count in range(len(PLACES) + 1)
)


class ReadingsChangedElsewhere(sqlite3.OperationalError):
    """A reading is there that was newer than all of its series: somebody else writes the table.
    Nothing of the batch is stored; tried again, it is compared with what is there now."""


class Outcome(NamedTuple):
    """What became of readings: `packs` and `stored` are new, `duplicates` were there with the same
    value, `conflicts` with another."""

    packs: list[UniformPack]
    stored: list[ReadingRecord]
    duplicates: list[ReadingRecord]
    conflicts: list[ReadingRecord]


class ReadingInserts:
    """Inserts in the transaction at hand.

    What is newer than all of its series is new, and goes in together. Only the rest (repetitions,
    and what was kept during an outage and comes after newer ones) is compared with what is there,
    one by one.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._table = SeriesTable(connection)

    def forget_numbers(self) -> None:
        """After a rollback: numbers and times that it took back must not be used."""
        self._table.forget()

    def insert(
        self, readings: Iterable[ReadingRecord], packs: Iterable[UniformPack], at_us: int
    ) -> Outcome:
        """`at_us` is Unix time. Raises `ReadingsChangedElsewhere`: then the transaction must be
        taken back."""
        outcome = Outcome([], [], [], [])
        self._table.make_room()
        late_packs = self._insert_new_packs(packs, outcome.packs, at_us)
        behind = {pack.endpoint for pack in late_packs}
        late = self._insert_new_readings(readings, outcome.stored, behind, at_us)
        for pack in late_packs:
            self._insert_late_pack(pack, outcome, at_us)
        for reading in late:
            self._insert_late(reading, outcome, at_us)
        return outcome

    def _insert_new_packs(
        self, packs: Iterable[UniformPack], stored: list[UniformPack], at_us: int
    ) -> list[UniformPack]:
        """Put packs that are newer than what their device has; returns the others, and all that
        came behind them of the same device: of two that contradict each other the first is kept."""
        devices, late = self._table.devices, []
        behind: set[str] = set()
        rows: dict[int, list[_PackRow]] = {}
        for pack in packs:
            endpoint, tenant, time_us, layout, values = pack
            device = devices.get(endpoint)
            if device is None or time_us > device.horizon_us:
                device = self._table.open_device(endpoint, time_us, at_us)
            series = device.of_layout.get(layout)
            if series is None or series.tenant != tenant:
                series = self._table.series_of_packs(device, pack)
            if time_us > device.newest_us:
                device.newest_us = time_us
            elif any(time_us <= device.newest_of(path) for path in layout.paths):
                series = None
            if series is None or endpoint in behind:
                behind.add(endpoint)
                late.append(pack)
                continue
            if time_us > series.newest_us:
                series.newest_us = time_us
            rows.setdefault(len(values), []).append((series.number, time_us, *values))
            stored.append(pack)
        for count, some in rows.items():
            self._insert_all(_PUT_PACK[count], some)
        return late

    def _insert_new_readings(
        self,
        readings: Iterable[ReadingRecord],
        stored: list[ReadingRecord],
        behind: Container[str],
        at_us: int,
    ) -> list[ReadingRecord]:
        """The same of readings that are newer than what their path has; those of devices `behind`
        have late packs before them."""
        rows: list[_ReadingRow] = []
        late = []
        for reading in readings:
            device = self._device(reading, at_us)
            is_new = reading.time_us > device.newest_of(reading.path)
            if is_new and reading.endpoint not in behind:
                rows.append(self._row(device, reading))
                device.saw(reading.path, reading.time_us)
                stored.append(reading)
            else:
                late.append(reading)
        self._insert_all(_PUT_READING, rows)
        return late

    def _insert_all(self, statement: str, rows: Sequence[Sequence[float | int | str]]) -> None:
        before = self._connection.total_changes
        self._connection.executemany(statement, rows)
        if self._connection.total_changes - before != len(rows):
            raise ReadingsChangedElsewhere("readings were stored that this store did not write")

    def _insert_late_pack(self, pack: UniformPack, outcome: Outcome, at_us: int) -> None:
        """One row as well, where none of its readings is anywhere."""
        device = self._table.devices[pack.endpoint]
        series = self._table.series_of_packs(device, pack)
        held = any(self._held(device, path, pack.time_us) for path in pack.layout.paths)
        if series is not None and not held and self._put_pack(series, pack):
            series.newest_us = max(series.newest_us, pack.time_us)
            device.newest_us = max(device.newest_us, pack.time_us)
            outcome.packs.append(pack)
            return
        for reading in pack.readings():
            self._insert_late(reading, outcome, at_us)

    def _put_pack(self, series: PackSeries, pack: UniformPack) -> bool:
        row = (series.number, pack.time_us, *pack.values)
        return self._connection.execute(_PUT_PACK[len(pack.values)], row).rowcount == 1

    def _insert_late(self, reading: ReadingRecord, outcome: Outcome, at_us: int) -> None:
        device = self._device(reading, at_us)
        held = self._held(device, reading.path, reading.time_us)
        row = self._row(device, reading)
        if held is None:
            self._connection.execute(_PUT_READING, row)
            device.saw(reading.path, reading.time_us)
            outcome.stored.append(reading)
        # Whose device it was then, and in which unit, does not make it another reading.
        elif held == (reading.value, reading.kind) or not self._put_conflict(row):
            outcome.duplicates.append(reading)
        else:
            outcome.conflicts.append(reading)

    def _put_conflict(self, row: _ReadingRow) -> bool:
        statement = "INSERT OR IGNORE INTO conflicts VALUES (?, ?, ?, ?)"
        return self._connection.execute(statement, row).rowcount == 1

    def _device(self, reading: ReadingRecord, at_us: int) -> DeviceSeries:
        device = self._table.devices.get(reading.endpoint)
        if device is None or reading.time_us > device.horizon_us:
            device = self._table.open_device(reading.endpoint, reading.time_us, at_us)
        return device

    def _row(self, device: DeviceSeries, reading: ReadingRecord) -> _ReadingRow:
        _, path, time_us, value, kind, unit, time_source, tenant = reading
        description = self._table.number_of_description((kind, unit, time_source, tenant))
        return self._table.number_of_path(device, path), time_us, value, description

    def _held(
        self, device: DeviceSeries, path: str, time_us: int
    ) -> tuple[float | int | str, str] | None:
        """Value and kind of the reading that is there, None when none is."""
        if time_us > device.newest_of(path):
            return None
        found: tuple[float | int | str, str] | None = None
        if path in device.of_path:
            found = self._connection.execute(
                "SELECT value, kind FROM readings JOIN descriptions ON id = description"
                " WHERE series = ? AND time_us = ?",
                (device.of_path[path].number, time_us),
            ).fetchone()
        for series in device.of_number.values():
            place = series.places.get(path)
            if found is None and place is not None and time_us <= series.newest_us:
                found = self._connection.execute(
                    f"SELECT {place.column}, ? FROM packs WHERE series = ? AND time_us = ?"
                    f" AND {place.column} NOT NULL",
                    (place.kind, series.number, time_us),
                ).fetchone()
        return found
