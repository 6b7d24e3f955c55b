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
from city_platform.stores.telemetry_schema import PLACES
from contracts.api import ReadingRow
from contracts.telemetry import ReadingValue

READINGS_LIMIT_MAX: Final = 10_000
SERIES_MAX: Final = 1_000
# A row costs some 40 steps: a million rows and more.
STEPS_MAX: Final = 60_000_000
_STEPS_AT_ONCE: Final = 100_000
_FOREVER_US: Final = 2**63 - 1

# Where readings of a path may be: single ones, and a place of the packs of one layout.
_SINGLE: Final = (
    "SELECT time_us, value, kind, unit, time_source FROM readings"
    " JOIN descriptions ON id = description WHERE series = :series"
)
_PACKED: Final = (
    "SELECT time_us, {column} AS value, :kind AS kind, :unit AS unit, :time_source AS time_source"
    " FROM packs WHERE series = :series AND {column} NOT NULL"
)
_SOURCES: Final = """
SELECT path, '' AS place, id, '' AS kind, '' AS unit, '' AS time_source FROM series
WHERE endpoint = :endpoint AND path = coalesce(:path, path)
UNION ALL
SELECT p.path, p.place, s.id, d.kind, d.unit, d.time_source
FROM pack_series s JOIN places p ON p.layout = s.layout JOIN descriptions d ON d.id = p.description
WHERE s.endpoint = :endpoint AND p.path = coalesce(:path, p.path)
ORDER BY path
"""
# total() and not sum(): sums of large integers do not overflow.
_BUCKETS: Final = """
SELECT b.bucket, b.rows, b.numbers, b.least, b.most, b.total, r.time_us, r.value, r.kind, r.unit
FROM (
    SELECT time_us - ((time_us % :width) + :width) % :width AS bucket, count(*) AS rows,
        count(n) AS numbers, min(n) AS least, max(n) AS most, total(n) AS total,
        max(time_us) AS last_us
    FROM (
        SELECT time_us, CASE WHEN kind IN ('number', 'boolean') THEN value END AS n
        FROM ({readings} AND time_us >= :from_us AND time_us < :to_us)
    )
    GROUP BY bucket
) b
JOIN ({readings}) r ON r.time_us = b.last_us
ORDER BY b.bucket
"""


class QueryTooLarge(ValueError):
    """A question would read too many rows; the text says what to do."""


class _Source(NamedTuple):
    """A select, which goes on with AND, of (time, value, kind, unit, time source), and its
    parameters; and one of times alone without any."""

    select: str
    given: dict[str, int | str]
    times: str


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
        for found_path, sources in _series(connection, endpoint, path):
            until_us = to_us
            if before is not None:
                until_us = min(to_us, before[0] + (found_path > before[1]))
            # Each series in its own order of time: a long history is not sorted for its last rows.
            for source in sources:
                rows += (
                    (-time_us, found_path, outward_value(value, kind))
                    for time_us, value, kind in connection.execute(
                        f"SELECT time_us, value, kind FROM ({source.select})"
                        " WHERE time_us >= :from_us AND time_us < :to_us"
                        " ORDER BY time_us DESC LIMIT :limit",
                        source.given | {"from_us": from_us, "to_us": until_us, "limit": limit + 1},
                    )
                )
    newest = heapq.nsmallest(limit, rows, key=lambda row: row[:2])
    has_more = len(rows) > limit and bool(newest)
    return ReadingPage(
        [(endpoint, path, -negated_us, value) for negated_us, path, value in newest],
        (-newest[-1][0], newest[-1][1]) if has_more else None,
    )


def find_latest(
    connection: sqlite3.Connection, endpoint: str, latest_us: int = _FOREVER_US
) -> list[LatestValue]:
    """The newest reading of each path of a device, by path; of at most `SERIES_MAX` paths.

    One after `latest_us`, which a wrong clock dated, counts only where a path has no other.
    """
    found = []
    for path, sources in _series(connection, endpoint, None):
        row = _newest(connection, sources, "time_us <= :us", latest_us) or _newest(
            connection, sources, "time_us > :us", latest_us
        )
        if row is not None:
            time_us, value, kind, unit, source = row
            found.append(
                LatestValue(path, time_us, outward_value(value, kind), unit or None, source)
            )
    return found


def _newest(
    connection: sqlite3.Connection, sources: Sequence[_Source], condition: str, us: int
) -> tuple[Any, ...] | None:
    rows = [
        connection.execute(
            f"{source.select} AND {condition} ORDER BY time_us DESC LIMIT 1",
            source.given | {"us": us},
        ).fetchone()
        for source in sources
    ]
    return max((row for row in rows if row is not None), key=lambda row: row[0], default=None)


def oldest_of_newest(
    connection: sqlite3.Connection, endpoint: str, path: str, count: int
) -> int | None:
    """The time of the oldest of the `count` newest readings of a path, None when it has fewer."""
    series = _series(connection, endpoint, path)
    if not series:
        return None
    newest = " UNION ALL ".join(
        f"SELECT * FROM ({source.times} ORDER BY time_us DESC LIMIT :count)"
        for source in series[0][1]
    )
    row = connection.execute(
        f"SELECT time_us FROM ({newest}) ORDER BY time_us DESC LIMIT 1 OFFSET :count - 1",
        {"count": count},
    ).fetchone()
    return None if row is None else int(row[0])


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
    sources = series[0][1]
    found: list[Bucket] = []
    with _bounded(connection):
        next_us = _first_from(connection, sources, from_us, to_us)
        while next_us is not None and len(found) < limit:
            # As far as the page can reach: SQLite would group everything before it cuts.
            begin_us = next_us - next_us % width_us
            end_us = min(to_us, begin_us + width_us * (limit - len(found)), _FOREVER_US)
            given = {"from_us": next_us, "to_us": end_us, "width": width_us}
            found += _buckets(connection, sources, given)
            next_us = _first_from(connection, sources, end_us, to_us)
    return BucketPage(found, next_us)


def _buckets(
    connection: sqlite3.Connection, sources: Sequence[_Source], given: dict[str, int]
) -> list[Bucket]:
    found: dict[int, Bucket] = {}
    for source in sources:
        statement = _BUCKETS.format(readings=source.select)
        for row in connection.execute(statement, source.given | given):
            bucket = _bucket(row)
            other = found.get(bucket.from_us)
            found[bucket.from_us] = bucket if other is None else _together(other, bucket)
    return [found[from_us] for from_us in sorted(found)]


def _together(one: Bucket, other: Bucket) -> Bucket:
    """A bucket whose readings come from two sources; none of them is in both."""
    newest = max(one, other, key=lambda bucket: bucket.last_us)
    return newest._replace(
        rows=one.rows + other.rows,
        numbers=one.numbers + other.numbers,
        least=min((n for n in (one.least, other.least) if n is not None), default=None),
        most=max((n for n in (one.most, other.most) if n is not None), default=None),
        total=one.total + other.total,
    )


def _bucket(row: Sequence[Any]) -> Bucket:
    from_us, rows, numbers, least, most, total, last_us, value, kind, unit = row
    last = outward_value(value, kind)
    return Bucket(from_us, rows, numbers, least, most, total, last_us, last, unit or None)


def _series(
    connection: sqlite3.Connection, endpoint: str, path: str | None
) -> list[tuple[str, list[_Source]]]:
    """The paths of a device and where their readings are, by path."""
    found: dict[str, list[_Source]] = {}
    asked = {"endpoint": endpoint, "path": path}
    for name, place, number, kind, unit, time_source in connection.execute(_SOURCES, asked):
        if name not in found and len(found) == SERIES_MAX:
            break
        given: dict[str, int | str] = {"series": number}
        if place == "":
            times = f"SELECT time_us FROM readings WHERE series = {number:d}"
            source = _Source(_SINGLE, given, times)
        else:
            column = PLACES[place]
            given |= {"kind": kind, "unit": unit, "time_source": time_source}
            times = f"SELECT time_us FROM packs WHERE series = {number:d} AND {column} NOT NULL"
            source = _Source(_PACKED.format(column=column), given, times)
        found.setdefault(name, []).append(source)
    return list(found.items())


def _first_from(
    connection: sqlite3.Connection, sources: Sequence[_Source], from_us: int, to_us: int
) -> int | None:
    times = [
        row[0]
        for source in sources
        for row in connection.execute(
            f"{source.select} AND time_us >= :from_us AND time_us < :to_us"
            " ORDER BY time_us LIMIT 1",
            source.given | {"from_us": from_us, "to_us": to_us},
        )
    ]
    return min(times, default=None)


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
