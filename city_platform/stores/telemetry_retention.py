"""Forgets what is older, or more, than it may be, a few rows at a time. In SQL.

A step is one short transaction; a sweep is steps from a place on until there is none. Whose rows
they are says the description that they were stored with, or the episode's tenant.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from city_platform.stores.telemetry_queries import oldest_of_newest
from city_platform.stores.telemetry_schema import PLACES

RetentionKind = Literal["readings", "conflicts", "alarms", "dead_letters", "states"]
KINDS: Final[tuple[RetentionKind, ...]] = (
    "readings", "conflicts", "alarms", "dead_letters", "states",
)  # fmt: skip
EVERY_TENANT: Final = "*"
# What one step looks at, and how many rows it deletes at most: some milliseconds.
SERIES_AT_ONCE: Final = 200
ROWS_AT_ONCE: Final = 2_000


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a kind of rows of a tenant is kept. A tenant's own rule wins over that of `*`.

    `age_days_max`: by device time (readings, conflicts), by the time of the last change (alarms),
    by receipt (dead letters, device states). `rows_max`: newest kept of one path of one device
    (readings, conflicts), of one device (alarms), of the installation (dead letters).
    """

    kind: RetentionKind
    tenant: str = EVERY_TENANT
    age_days_max: float | None = None
    rows_max: int | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError`, as msgspec wants it, for what cannot be meant."""
        if self.age_days_max is not None and not 0 < self.age_days_max <= 36_525:
            raise ValueError("age_days_max is more than 0 and at most 36525 (a century)")
        if self.rows_max is not None and self.rows_max < 1:
            raise ValueError("rows_max is 1 or more: leave it out to keep all")
        if self.kind == "states" and self.rows_max is not None:
            raise ValueError("a device has one state: states have no rows_max")
        if self.kind == "dead_letters" and self.tenant != EVERY_TENANT:
            raise ValueError("dead letters belong to no tenant: their rule is for *")


class Bounds(NamedTuple):
    """What a rule comes to now: rows before `before_us` go, and of the others all but the newest
    `rows_max`."""

    before_us: int | None
    rows_max: int | None


class Place(NamedTuple):
    """Where a sweep goes on: behind this series' number (of packs or not), or this device's
    name."""

    series: int = 0
    endpoint: str = ""
    is_packs: bool = False


class Step(NamedTuple):
    """What a step did; `place` is None when the sweep is at its end."""

    deleted: int
    place: Place | None


def bounds(
    rules: Mapping[tuple[RetentionKind, str], RetentionRule], kind: RetentionKind, tenant: str,
    now_us: int,
) -> Bounds:  # fmt: skip
    """What holds for a tenant's rows of a kind."""
    rule = rules.get((kind, tenant)) or rules.get((kind, EVERY_TENANT))
    if rule is None:
        return Bounds(None, None)
    age = rule.age_days_max
    return Bounds(None if age is None else now_us - int(age * 86_400e6), rule.rows_max)


BoundsOf = Callable[[str], Bounds]


def sweep_series(
    connection: sqlite3.Connection,
    table: Literal["readings", "conflicts"],
    bounds_of: BoundsOf,
    place: Place,
) -> Step:
    """One step over the series of readings, or of conflicts. The transaction is the caller's.

    Readings are single ones first, and then those of packs.
    """
    if place.is_packs:
        return sweep_packs(connection, bounds_of, place)
    rows = connection.execute(
        "SELECT id FROM series WHERE id > ? ORDER BY id LIMIT ?", (place.series, SERIES_AT_ONCE)
    ).fetchall()
    deleted = 0
    for (number,) in rows:
        limit_us = _limit_of_series(connection, table, number, bounds_of)
        if limit_us is None:
            continue
        deleted += _delete_before(connection, table, number, limit_us, ROWS_AT_ONCE - deleted)
        if deleted >= ROWS_AT_ONCE:
            # There may be more of this one.
            return Step(deleted, Place(series=number - 1))
    if len(rows) == SERIES_AT_ONCE:
        return Step(deleted, Place(series=rows[-1][0]))
    return Step(deleted, Place(is_packs=True) if table == "readings" else None)


def _limit_of_series(
    connection: sqlite3.Connection, table: str, number: int, bounds_of: BoundsOf
) -> int | None:
    """Rows of the series before this time go; None: none do."""
    row = connection.execute(
        f"SELECT tenant FROM {table} JOIN descriptions ON id = description WHERE series = ?"
        " ORDER BY time_us DESC LIMIT 1",
        (number,),
    ).fetchone()
    if row is None:
        return None
    found = bounds_of(row[0])
    if found.rows_max is None:
        return found.before_us
    if table == "readings":
        endpoint, path = connection.execute(
            "SELECT endpoint, path FROM series WHERE id = ?", (number,)
        ).fetchone()
        oldest_kept = oldest_of_newest(connection, endpoint, path, found.rows_max)
    else:
        oldest_kept = _first(
            connection.execute(
                "SELECT time_us FROM conflicts WHERE series = ? ORDER BY time_us DESC"
                " LIMIT 1 OFFSET ?",
                (number, found.rows_max - 1),
            ).fetchone()
        )
    return _later(found.before_us, oldest_kept)


def _first(row: tuple[int] | None) -> int | None:
    return None if row is None else row[0]


def _later(one: int | None, other: int | None) -> int | None:
    return max((at for at in (one, other) if at is not None), default=None)


def _delete_before(
    connection: sqlite3.Connection, table: str, number: int, limit_us: int, rows_max: int
) -> int:
    last = connection.execute(
        f"SELECT max(time_us) FROM (SELECT time_us FROM {table}"
        " WHERE series = ? AND time_us < ? ORDER BY time_us LIMIT ?)",
        (number, limit_us, rows_max),
    ).fetchone()[0]
    if last is None:
        return 0
    return connection.execute(
        f"DELETE FROM {table} WHERE series = ? AND time_us <= ?", (number, last)
    ).rowcount


def sweep_packs(connection: sqlite3.Connection, bounds_of: BoundsOf, place: Place) -> Step:
    """One step over the series of packs: rows of which every reading goes, and of the others the
    places of those that go."""
    rows = connection.execute(
        "SELECT id, endpoint, layout FROM pack_series WHERE id > ? ORDER BY id LIMIT ?",
        (place.series, SERIES_AT_ONCE),
    ).fetchall()
    deleted = 0
    for number, endpoint, layout in rows:
        limits = _limits_of_packs(connection, endpoint, layout, bounds_of)
        most = min((limit for limit in limits.values() if limit is not None), default=None)
        if most is None:
            continue
        # A path without a limit keeps the rows that it is in.
        least = None if None in limits.values() else most
        room = ROWS_AT_ONCE - deleted
        if least is not None:
            deleted += _delete_packs(connection, number, least, len(limits), room)
        for column, limit in limits.items():
            if limit is not None and limit != least and deleted < ROWS_AT_ONCE:
                deleted += _empty_places(connection, number, column, limit, ROWS_AT_ONCE - deleted)
        if deleted >= ROWS_AT_ONCE:
            # There may be more of this one.
            return Step(deleted, Place(series=number - 1, is_packs=True))
    is_end = len(rows) < SERIES_AT_ONCE
    return Step(deleted, None if is_end else Place(series=rows[-1][0], is_packs=True))


def _limits_of_packs(
    connection: sqlite3.Connection, endpoint: str, layout: int, bounds_of: BoundsOf
) -> dict[str, int | None]:
    """By column, before which time its readings go; None: none do."""
    limits: dict[str, int | None] = {}
    for place, path, tenant in connection.execute(
        "SELECT place, path, tenant FROM places JOIN descriptions ON id = description"
        " WHERE layout = ?",
        (layout,),
    ).fetchall():
        found = bounds_of(tenant)
        kept = None
        if found.rows_max is not None:
            kept = oldest_of_newest(connection, endpoint, path, found.rows_max)
        limits[PLACES[place]] = _later(found.before_us, kept)
    return limits


def _delete_packs(
    connection: sqlite3.Connection, number: int, limit_us: int, places: int, readings_max: int
) -> int:
    """Delete the oldest rows before a time; how many readings they held."""
    held = " + ".join(f"({column} NOT NULL)" for column in PLACES[:places])
    # As many as it takes: a step that ends for its bound is followed by one for the same series.
    rows_max = max(1, -(-readings_max // places))
    last, count, rows = connection.execute(
        f"SELECT max(time_us), sum({held}), count(*) FROM (SELECT * FROM packs"
        " WHERE series = ? AND time_us < ? ORDER BY time_us LIMIT ?)",
        (number, limit_us, rows_max),
    ).fetchone()
    if last is None:
        return 0
    connection.execute("DELETE FROM packs WHERE series = ? AND time_us <= ?", (number, last))
    if count < readings_max and rows == rows_max:
        # Some places were empty already.
        count += _delete_packs(connection, number, limit_us, places, readings_max - count)
    return int(count)


def _empty_places(
    connection: sqlite3.Connection, number: int, column: str, limit_us: int, rows_max: int
) -> int:
    """Forget the oldest readings of one place before a time, and rows that hold none any more."""
    last = connection.execute(
        f"SELECT max(time_us) FROM (SELECT time_us FROM packs WHERE series = ? AND time_us < ?"
        f" AND {column} NOT NULL ORDER BY time_us LIMIT ?)",
        (number, limit_us, rows_max),
    ).fetchone()[0]
    if last is None:
        return 0
    count = connection.execute(
        f"UPDATE packs SET {column} = NULL WHERE series = ? AND time_us <= ? AND {column} NOT NULL",
        (number, last),
    ).rowcount
    connection.execute(
        f"DELETE FROM packs WHERE series = ? AND time_us <= ? AND coalesce({', '.join(PLACES)})"
        " IS NULL",
        (number, last),
    )
    return count


def sweep_alarms(connection: sqlite3.Connection, bounds_of: BoundsOf, place: Place) -> Step:
    """One step over the devices that have alarms: what they sent, and episodes that do not stand.

    What stands is kept however old it is: it is so now.
    """
    rows = connection.execute(
        "SELECT endpoint, (SELECT tenant FROM alarms a WHERE a.endpoint = d.endpoint LIMIT 1),"
        " (SELECT tenant FROM episodes e WHERE e.endpoint = d.endpoint ORDER BY id DESC LIMIT 1)"
        " FROM (SELECT endpoint FROM alarms WHERE endpoint > :after UNION"
        " SELECT endpoint FROM episodes WHERE endpoint > :after ORDER BY endpoint LIMIT :most) d",
        {"after": place.endpoint, "most": SERIES_AT_ONCE},
    ).fetchall()
    deleted, previous = 0, place
    for endpoint, alarm_tenant, episode_tenant in rows:
        found = bounds_of(episode_tenant if episode_tenant is not None else alarm_tenant or "")
        deleted += _delete_alarms(connection, endpoint, found)
        deleted += _delete_episodes(connection, endpoint, found)
        if deleted >= ROWS_AT_ONCE:
            # There may be more of this one.
            return Step(deleted, previous)
        previous = Place(endpoint=endpoint)
    is_end = len(rows) < SERIES_AT_ONCE
    return Step(deleted, None if is_end else Place(endpoint=rows[-1][0]))


def _delete_alarms(connection: sqlite3.Connection, endpoint: str, found: Bounds) -> int:
    limit_us = found.before_us
    if found.rows_max is not None:
        oldest_kept = connection.execute(
            "SELECT time_us FROM alarms WHERE endpoint = ? ORDER BY time_us DESC LIMIT 1 OFFSET ?",
            (endpoint, found.rows_max - 1),
        ).fetchone()
        if oldest_kept is not None and (limit_us is None or oldest_kept[0] > limit_us):
            limit_us = oldest_kept[0]
    if limit_us is None:
        return 0
    last = connection.execute(
        "SELECT max(time_us) FROM (SELECT time_us FROM alarms"
        " WHERE endpoint = ? AND time_us < ? ORDER BY time_us LIMIT ?)",
        (endpoint, limit_us, ROWS_AT_ONCE),
    ).fetchone()[0]
    return connection.execute(
        "DELETE FROM alarms WHERE endpoint = ? AND time_us <= ?", (endpoint, last)
    ).rowcount


def _delete_episodes(connection: sqlite3.Connection, endpoint: str, found: Bounds) -> int:
    before_us = found.before_us if found.before_us is not None else -(2**63)
    rows = connection.execute(
        "SELECT id FROM episodes WHERE endpoint = :endpoint AND state IN ('cleared', 'closed')"
        " AND (changed_us < :before OR id NOT IN (SELECT id FROM episodes"
        " WHERE endpoint = :endpoint ORDER BY id DESC LIMIT :most)) LIMIT :at_once",
        {
            "endpoint": endpoint,
            "before": before_us,
            # SQLite: a negative limit is none.
            "most": -1 if found.rows_max is None else found.rows_max,
            "at_once": ROWS_AT_ONCE,
        },
    ).fetchall()
    connection.executemany("DELETE FROM episode_steps WHERE episode = ?", rows)
    connection.executemany("DELETE FROM episodes WHERE id = ?", rows)
    return len(rows)


def sweep_states(connection: sqlite3.Connection, bounds_of: BoundsOf, place: Place) -> Step:
    """One step over the states of devices: those not heard of for long go."""
    rows = connection.execute(
        "SELECT endpoint, tenant, max(last_seen_us, since_us) FROM device_states"
        " WHERE endpoint > ? ORDER BY endpoint LIMIT ?",
        (place.endpoint, ROWS_AT_ONCE),
    ).fetchall()
    gone = []
    for endpoint, tenant, seen_us in rows:
        before_us = bounds_of(tenant).before_us
        if before_us is not None and seen_us < before_us:
            gone.append((endpoint,))
    connection.executemany("DELETE FROM device_states WHERE endpoint = ?", gone)
    is_end = len(rows) < ROWS_AT_ONCE
    return Step(len(gone), None if is_end else Place(endpoint=rows[-1][0]))
