"""The tables of the embedded telemetry store: readings, alarms, state, feed, digests.

A pack is one row of `packs`, whose key is (series, device time): a series of packs being a device's
packs of one layout, and a layout which path, in which description, is at which place (`v0`, `v1`…).
A place that is null holds no reading. Readings that came alone, late or otherwise are one row each
of `readings`, whose series is a device's path. No reading is in both: who looks for one looks in
both. `named_readings` shows all readings with all their names, for people and their tools.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from typing import Final

from city_platform.stores.telemetry_records import PACK_READINGS_MAX

VERSION: Final = 2
PLACES: Final = tuple(f"v{number}" for number in range(PACK_READINGS_MAX))
_VALUE_AT_ITS_PLACE: Final = " ".join(
    f"WHEN {number} THEN {name}" for number, name in enumerate(PLACES)
)
_PACKS: Final = f"""
CREATE TABLE layouts (id INTEGER PRIMARY KEY, content TEXT NOT NULL UNIQUE);
CREATE TABLE places (
    layout INTEGER NOT NULL, place INTEGER NOT NULL, path TEXT NOT NULL,
    description INTEGER NOT NULL, PRIMARY KEY (layout, place)
) WITHOUT ROWID;
CREATE TABLE pack_series (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, layout INTEGER NOT NULL,
    UNIQUE (endpoint, layout)
);
CREATE TABLE packs (
    series INTEGER NOT NULL, time_us INTEGER NOT NULL, {", ".join(PLACES)},
    PRIMARY KEY (series, time_us)
) WITHOUT ROWID;
CREATE VIEW named_readings AS
    SELECT endpoint, path, time_us, value, kind, unit, time_source, tenant FROM readings
    JOIN series ON series.id = series JOIN descriptions ON descriptions.id = description
    UNION ALL
    SELECT endpoint, path, time_us, value, kind, unit, time_source, tenant FROM (
        SELECT endpoint, path, time_us, description, CASE place {_VALUE_AT_ITS_PLACE} END AS value
        FROM packs JOIN pack_series ON pack_series.id = packs.series
        JOIN places ON places.layout = pack_series.layout
    ) JOIN descriptions ON descriptions.id = description WHERE value IS NOT NULL;
"""
SCHEMA: Final = f"""
CREATE TABLE series (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, path TEXT NOT NULL, UNIQUE (endpoint, path)
);
CREATE TABLE descriptions (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, unit TEXT NOT NULL, time_source TEXT NOT NULL,
    tenant TEXT NOT NULL, UNIQUE (kind, unit, time_source, tenant)
);
CREATE TABLE readings (
    series INTEGER NOT NULL, time_us INTEGER NOT NULL, value NOT NULL, description INTEGER NOT NULL,
    PRIMARY KEY (series, time_us)
) WITHOUT ROWID;
CREATE TABLE conflicts (
    series INTEGER NOT NULL, time_us INTEGER NOT NULL, value NOT NULL, description INTEGER NOT NULL,
    PRIMARY KEY (series, time_us, value, description)
) WITHOUT ROWID;
{_PACKS}
CREATE TABLE alarms (
    endpoint TEXT NOT NULL, path TEXT NOT NULL, time_us INTEGER NOT NULL, alarm TEXT NOT NULL,
    raised INTEGER NOT NULL, severity TEXT NOT NULL, sequence INTEGER NOT NULL, value REAL,
    threshold REAL, boot TEXT NOT NULL, tenant TEXT NOT NULL,
    PRIMARY KEY (endpoint, path, alarm, time_us, raised)
) WITHOUT ROWID;
CREATE TABLE unstamped (digest BLOB PRIMARY KEY, received_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX unstamped_by_age ON unstamped (received_us);
CREATE TABLE feed (cursor INTEGER PRIMARY KEY, line BLOB NOT NULL);
CREATE TABLE stamps (cursor INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL);
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID
"""
# Version 1 had no packs: its readings stay where they are.
UPGRADES: Final = {1: f"DROP VIEW named_readings; {_PACKS}"}

_STATE = (
    "position",
    "archived",
    "cursor",
    "packs",
    "stored",
    "duplicates",
    "conflicts",
    "alarms",
    "dead_letters",
)


def load_state(connection: sqlite3.Connection) -> dict[str, int]:
    """Positions and counts, all 0 in a new store."""
    return dict.fromkeys(_STATE, 0) | dict(connection.execute("SELECT name, value FROM state"))


def save_state(connection: sqlite3.Connection, state: dict[str, int]) -> None:
    """Write positions and counts in the transaction at hand."""
    connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(state.items()))


def remember_digest(
    connection: sqlite3.Connection, digest: bytes, received_us: int, window_us: int
) -> bool:
    """Whether `digest` was not seen within the window; older ones are forgotten."""
    connection.execute("DELETE FROM unstamped WHERE received_us < ?", (received_us - window_us,))
    added = connection.execute(
        "INSERT OR IGNORE INTO unstamped VALUES (?, ?)", (digest, received_us)
    )
    return added.rowcount == 1


class FeedTable:
    """The kept lines of the feed, bounded in bytes; the oldest go first."""

    def __init__(self, connection: sqlite3.Connection, bytes_max: int) -> None:
        self._connection = connection
        self._bytes_max = bytes_max
        self.load()

    def load(self) -> None:
        """Read what is there: at the start, and after a transaction that was taken back."""
        self._sizes = deque[tuple[int, int]](
            self._connection.execute("SELECT cursor, length(line) FROM feed ORDER BY cursor")
        )
        self._bytes = sum(size for _, size in self._sizes)

    @property
    def oldest(self) -> int:
        """The cursor of the oldest line that is kept; 0 when there is none."""
        return self._sizes[0][0] if self._sizes else 0

    def append(self, lines: list[tuple[int, bytes]]) -> None:
        """Add lines in the transaction at hand."""
        self._connection.executemany("INSERT INTO feed VALUES (?, ?)", lines)
        self._sizes += [(cursor, len(line)) for cursor, line in lines]
        self._bytes += sum(len(line) for _, line in lines)
        if self._bytes > self._bytes_max:
            self._drop_oldest()

    def stamp(self, cursor: int, at_ns: int) -> None:
        """Lines up to `cursor` that have no stamp yet get this one."""
        self._connection.execute("INSERT OR IGNORE INTO stamps VALUES (?, ?)", (cursor, at_ns))

    def read(self, after: int, lines_max: int) -> list[tuple[int, bytes, int | None]]:
        """Cursor, line and stamp (None when not stamped yet) of lines after a cursor."""
        rows = self._connection.execute(
            "SELECT cursor, line, (SELECT at_ns FROM stamps s WHERE s.cursor >= f.cursor"
            " ORDER BY s.cursor LIMIT 1) FROM feed f WHERE cursor > ? ORDER BY cursor LIMIT ?",
            (after, lines_max),
        )
        return rows.fetchall()

    def _drop_oldest(self) -> None:
        last = 0
        while self._bytes > self._bytes_max and len(self._sizes) > 1:
            last, size = self._sizes.popleft()
            self._bytes -= size
        self._connection.execute("DELETE FROM feed WHERE cursor <= ?", (last,))
        self._connection.execute("DELETE FROM stamps WHERE cursor < ?", (last,))
