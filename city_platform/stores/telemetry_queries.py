"""Questions to the readings: pages, buckets of time, latest values. Read-only, in SQL.

What one question may cost is bounded in steps of SQLite's machine, which is the same whatever else
the computer does: a question that is too large is refused and keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from city_platform.stores.telemetry_records import outward_value
from contracts.api import ReadingRow
from contracts.telemetry import ReadingValue

READINGS_LIMIT_MAX: Final = 10_000
SERIES_MAX: Final = 1_000
# A row costs some 40 steps: a million rows and more.
STEPS_MAX: Final = 60_000_000
_STEPS_AT_ONCE: Final = 100_000
_FOREVER_US: Final = 2**63 - 1

_LATEST: Final = (
    "SELECT time_us, value, kind, unit, time_source FROM readings"
    " JOIN descriptions ON id = description WHERE series = ? ORDER BY time_us DESC LIMIT 1"
)
# total() and not sum(): sums of large integers do not overflow.
_BUCKETS: Final = """
SELECT b.bucket, b.rows, b.numbers, b.least, b.most, b.total, r.time_us, r.value, d.kind, d.unit
FROM (
    SELECT series, time_us - ((time_us % :width) + :width) % :width AS bucket, count(*) AS rows,
        count(n) AS numbers, min(n) AS least, max(n) AS most, total(n) AS total,
        max(time_us) AS last_us
    FROM (
        SELECT series, time_us, CASE WHEN kind IN ('number', 'boolean') THEN value END AS n
        FROM readings JOIN descriptions ON id = description
        WHERE series = :series AND time_us >= :from_us AND time_us < :to_us
    )
    GROUP BY bucket
) b
JOIN readings r ON r.series = b.series AND r.time_us = b.last_us
JOIN descriptions d ON d.id = r.description
ORDER BY b.bucket
"""


class QueryTooLarge(ValueError):
    """A question would read too many rows; the text says what to do."""


class ReadingPage(NamedTuple):
    """Readings, newest first; `before` continues behind the last: its time and path."""

    readings: list[ReadingRow]
    before: tuple[int, str] | None


class LatestValue(NamedTuple):
    """The newest reading of a path, by device time. `unit` is the one it was sent with."""

    path: str
    time_us: int
    value: ReadingValue
    unit: str | None
    time_source: str


class Bucket(NamedTuple):
    """The readings of one path from `from_us` on, for one bucket's width.

    `rows` is all of them; `least`, `most` and `total` are of the `numbers` among them (true is 1,
    false 0). `last` is the value at `last_us`, `unit` the one that it was sent with.
    """

    from_us: int
    rows: int
    numbers: int
    least: float | None
    most: float | None
    total: float
    last_us: int
    last: ReadingValue
    unit: str | None


class BucketPage(NamedTuple):
    """Buckets in order of time, those without readings left out; `next_us` continues."""

    buckets: list[Bucket]
    next_us: int | None


def find_readings(
    connection: sqlite3.Connection,
    endpoint: str,
    path: str | None,
    from_us: int,
    to_us: int,
    limit: int,
    before: tuple[int, str] | None = None,
) -> ReadingPage:
    """Readings of a device in [from_us, to_us), newest first, those of one time by path."""
    limit = max(0, min(limit, READINGS_LIMIT_MAX))
    rows: list[tuple[int, str, ReadingValue]] = []
    with _bounded(connection):
        for number, found_path in _series(connection, endpoint, path):
            until_us = to_us
            if before is not None:
                until_us = min(to_us, before[0] + (found_path > before[1]))
            # Each series in its own order of time: a long history is not sorted for its last rows.
            rows += (
                (-time_us, found_path, outward_value(value, kind))
                for time_us, value, kind in connection.execute(
                    "SELECT time_us, value, kind FROM readings"
                    " JOIN descriptions ON id = description"
                    " WHERE series = ? AND time_us >= ? AND time_us < ?"
                    " ORDER BY time_us DESC LIMIT ?",
                    (number, from_us, until_us, limit + 1),
                )
            )
    newest = heapq.nsmallest(limit, rows, key=lambda row: row[:2])
    has_more = len(rows) > limit and bool(newest)
    return ReadingPage(
        [(endpoint, path, -negated_us, value) for negated_us, path, value in newest],
        (-newest[-1][0], newest[-1][1]) if has_more else None,
    )


def find_latest(connection: sqlite3.Connection, endpoint: str) -> list[LatestValue]:
    """The newest reading of each path of a device, by path; of at most `SERIES_MAX` paths."""
    found = []
    for number, path in _series(connection, endpoint, None):
        row = connection.execute(_LATEST, (number,)).fetchone()
        if row is not None:
            time_us, value, kind, unit, source = row
            found.append(
                LatestValue(path, time_us, outward_value(value, kind), unit or None, source)
            )
    return found


def find_buckets(
    connection: sqlite3.Connection,
    endpoint: str,
    path: str,
    from_us: int,
    to_us: int,
    width_us: int,
    limit: int,
) -> BucketPage:
    """Buckets of one path in [from_us, to_us), whose borders are multiples of the width.

    Raises `QueryTooLarge`.
    """
    series = _series(connection, endpoint, path)
    if not series:
        return BucketPage([], None)
    number = series[0][0]
    found: list[Bucket] = []
    with _bounded(connection):
        next_us = _first_from(connection, number, from_us, to_us)
        while next_us is not None and len(found) < limit:
            # As far as the page can reach: SQLite would group everything before it cuts.
            begin_us = next_us - next_us % width_us
            end_us = min(to_us, begin_us + width_us * (limit - len(found)), _FOREVER_US)
            given = {"series": number, "from_us": next_us, "to_us": end_us, "width": width_us}
            found += [_bucket(row) for row in connection.execute(_BUCKETS, given)]
            next_us = _first_from(connection, number, end_us, to_us)
    return BucketPage(found, next_us)


def _bucket(row: Sequence[Any]) -> Bucket:
    from_us, rows, numbers, least, most, total, last_us, value, kind, unit = row
    last = outward_value(value, kind)
    return Bucket(from_us, rows, numbers, least, most, total, last_us, last, unit or None)


def _series(
    connection: sqlite3.Connection, endpoint: str, path: str | None
) -> list[tuple[int, str]]:
    return connection.execute(
        "SELECT id, path FROM series WHERE endpoint = ? AND path = coalesce(?, path)"
        " ORDER BY path LIMIT ?",
        (endpoint, path, SERIES_MAX),
    ).fetchall()


def _first_from(
    connection: sqlite3.Connection, number: int, from_us: int, to_us: int
) -> int | None:
    row = connection.execute(
        "SELECT time_us FROM readings WHERE series = ? AND time_us >= ? AND time_us < ?"
        " ORDER BY time_us LIMIT 1",
        (number, from_us, to_us),
    ).fetchone()
    return None if row is None else int(row[0])


@contextlib.contextmanager
def _bounded(connection: sqlite3.Connection) -> Iterator[None]:
    """Let the block's statements take `STEPS_MAX` steps together."""
    left = STEPS_MAX // _STEPS_AT_ONCE

    def is_too_much() -> int:
        nonlocal left
        left -= 1
        return left < 0

    connection.set_progress_handler(is_too_much, _STEPS_AT_ONCE)
    try:
        yield
    except sqlite3.OperationalError:
        if left >= 0:
            raise
        raise QueryTooLarge("ask for a shorter time, or for a smaller limit") from None
    finally:
        connection.set_progress_handler(None, 0)
