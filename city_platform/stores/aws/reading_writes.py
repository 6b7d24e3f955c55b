"""Puts readings in the telemetry table and tells new ones, repetitions and contradictions apart.

Two ways: `insert` for the one writer that counts what it stores, in calls of many items; and
`put_once` for writers of whom there may be many at a time, an item a call, where only what is there
in the end matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from city_platform.stores.aws.calls import gathered
from city_platform.stores.aws.tables import Item, Table
from city_platform.stores.aws.telemetry_items import (
    Held,
    Key,
    conflict_key,
    held_from,
    reading_item,
    reading_key,
    series_item,
)
from city_platform.stores.telemetry_records import ReadingRecord

# Series that are known to be written down; the cache is for speed only.
_SERIES_MAX: Final = 200_000
_ABSENT: Final = "attribute_not_exists(pk)"


class Sorted(NamedTuple):
    """Readings by what they are, each in the order in which they came."""

    stored: list[ReadingRecord]
    duplicates: list[ReadingRecord]
    conflicts: list[ReadingRecord]


class Attempt(NamedTuple):
    """A try to store a batch. What `orphans` wrote was never told, because they did not end."""

    number: int
    orphans: frozenset[int]


class ReadingWrites:
    """Writes readings; remembers which series are written down."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._series: set[tuple[str, str]] = set()

    async def insert(self, readings: list[ReadingRecord], attempt: Attempt) -> Sorted:
        """Store those that are new; for one writer at a time."""
        keys = [reading_key(one) for one in readings]
        found = await self._table.get_many(keys)
        held = {key: held_from(item) for key, item in found.items()}
        known = {key: one for key, one in held.items() if one.attempt not in attempt.orphans}
        writes: dict[Key, Item] = {}
        are_other = [
            _is_other(key, one, known, writes, attempt)
            for key, one in zip(keys, readings, strict=True)
        ]
        sorted_readings = await self._sorted(readings, are_other, writes, attempt)
        new_series = self._new_series(readings)
        await self._table.put_many(
            [*writes.values(), *(series_item(*one) for one in new_series)],
        )
        self._remember(new_series)
        return sorted_readings

    async def put_once(self, readings: Sequence[ReadingRecord]) -> None:
        """Store each that is new; another value for a key goes to the conflicts. May be repeated,
        and done by many at the same time."""
        unique: dict[Key, ReadingRecord] = {}
        others: list[ReadingRecord] = []
        for one in readings:
            first = unique.setdefault(reading_key(one), one)
            if (first.value, first.kind) != (one.value, one.kind):
                others.append(one)
        existing = await gathered(
            [
                self._table.put_if(reading_item(key, one, 0), _ABSENT, {})
                for key, one in unique.items()
            ]
        )
        for one, item in zip(unique.values(), existing, strict=True):
            if item and not held_from(item).is_same(one):
                others.append(one)
        new_series = self._new_series(readings)
        conflicts = {conflict_key(one): one for one in others}
        await self._table.put_many(
            [
                *(reading_item(key, one, 0) for key, one in conflicts.items()),
                *(series_item(*one) for one in new_series),
            ]
        )
        self._remember(new_series)

    async def _sorted(
        self,
        readings: list[ReadingRecord],
        are_other: list[bool | None],
        writes: dict[Key, Item],
        attempt: Attempt,
    ) -> Sorted:
        """Sort what was judged; `are_other` is None for what is new. Adds the conflicts' items."""
        candidates = [
            conflict_key(one) for one, is_other in zip(readings, are_other, strict=True) if is_other
        ]
        told = {
            key
            for key, item in (await self._table.get_many(candidates)).items()
            if held_from(item).attempt not in attempt.orphans
        }
        found = Sorted([], [], [])
        for one, is_other in zip(readings, are_other, strict=True):
            if is_other is None:
                found.stored.append(one)
            elif is_other and (key := conflict_key(one)) not in told:
                told.add(key)
                writes[key] = reading_item(key, one, attempt.number)
                found.conflicts.append(one)
            else:
                found.duplicates.append(one)
        return found

    def _new_series(self, readings: Iterable[ReadingRecord]) -> list[tuple[str, str]]:
        all_series = dict.fromkeys((one.endpoint, one.path) for one in readings)
        return [one for one in all_series if one not in self._series]

    def _remember(self, new_series: list[tuple[str, str]]) -> None:
        if len(self._series) > _SERIES_MAX:
            self._series.clear()
        self._series.update(new_series)


def _is_other(
    key: Key,
    reading: ReadingRecord,
    known: dict[Key, Held],
    writes: dict[Key, Item],
    attempt: Attempt,
) -> bool | None:
    """None for a new reading, which is then known and among the writes; else whether its value is
    another one than the first."""
    held = known.get(key)
    if held is not None:
        return not held.is_same(reading)
    known[key] = Held(reading.value, reading.kind, attempt.number)
    writes[key] = reading_item(key, reading, attempt.number)
    return None
