"""Packs that are one row answer every question as their readings in a row each do."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_platform.stores import telemetry_retention, telemetry_schema
from city_platform.stores.sqlite import open_database
from city_platform.stores.telemetry_inserts import ReadingsChangedElsewhere
from city_platform.stores.telemetry_queries import find_buckets, find_latest, find_readings
from city_platform.stores.telemetry_records import (
    PACK_READINGS_MAX,
    PackLayouts,
    ReadingRecord,
    TelemetryBatch,
    UniformPack,
)
from city_platform.stores.telemetry_retention import Bounds, Place, sweep_series
from city_platform.stores.telemetry_series import PACK_SERIES_MAX
from city_platform.stores.telemetry_store import SqliteTelemetryStore
from contracts.api import Commit

DAY_US = 86_400_000_000
PATHS = ("/3416/0/3", "/3416/0/46", "/3301/0/5700")
LAYOUTS = PackLayouts()


def readings_of(
    time_us: int, values: dict[str, Any], endpoint: str = "lamp-1", tenant: str = "harbour"
) -> list[ReadingRecord]:
    return [
        ReadingRecord(
            endpoint, path, time_us, int(value) if type(value) is bool else value,
            "boolean" if type(value) is bool else "number", "lm" if path[1] == "3" else None,
            "device", tenant,
        )
        for path, value in values.items()
    ]  # fmt: skip


def open_store(folder: Path) -> SqliteTelemetryStore:
    return SqliteTelemetryStore(folder / "telemetry.sqlite", now_ns=itertools.count(1).__next__)


def commit(
    store: SqliteTelemetryStore, packs: Sequence[list[ReadingRecord]], *, as_packs: bool = True
) -> Commit | None:
    first = store._state["position"]
    uniform = [LAYOUTS.uniform(one) for one in packs] if as_packs else []
    taken = [one for one in uniform if one is not None]
    assert len(taken) == len(uniform)
    alone = [] if as_packs else [one for pack in packs for one in pack]
    lines = store.commit_now(TelemetryBatch(first, first + 1, 77, alone, [], [], [], packs=taken))
    return msgspec.json.decode(lines[0].line, type=Commit) if lines else None


def rows_of(store: SqliteTelemetryStore, statement: str) -> list[Any]:
    return store._connection.execute(statement).fetchall()


def sweep(store: SqliteTelemetryStore, bounds_of: Callable[[str], Bounds]) -> int:
    deleted, place = 0, Place()
    while True:
        step = sweep_series(store._connection, "readings", bounds_of, place)
        deleted += step.deleted
        if step.place is None:
            return deleted
        place = step.place


def answers(store: SqliteTelemetryStore) -> Iterator[Any]:
    """Everything that can be asked of the readings."""
    connection = store._connection
    yield rows_of(store, "SELECT * FROM named_readings ORDER BY endpoint, path, time_us")
    yield rows_of(
        store,
        "SELECT endpoint, path, time_us, value, description FROM conflicts"
        " JOIN series ON series.id = series ORDER BY 1, 2, 3, 4",
    )
    for endpoint in ("lamp-1", "lamp-2"):
        yield find_latest(connection, endpoint)
        yield find_latest(connection, endpoint, 6)
        for path in (None, *PATHS):
            page = find_readings(connection, endpoint, path, -100, 100, 3)
            yield page
            yield find_readings(connection, endpoint, path, 2, 9, 5, page.before)
        for path, width in itertools.product(PATHS, (1, 4, 100)):
            yield find_buckets(connection, endpoint, path, -3, 9, width, 4)


value = st.sampled_from([1.0, 2.5, -3, 7, True, False])
one_pack = st.builds(
    readings_of,
    st.integers(-3, 12),
    st.dictionaries(st.sampled_from(PATHS), value, min_size=1),
    st.sampled_from(["lamp-1", "lamp-2"]),
    st.sampled_from(["harbour", "harbour", "harbour", "hills"]),
)
rule = st.builds(Bounds, st.none() | st.integers(-3, 12), st.none() | st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(one_pack, max_size=6), max_size=6), rule, st.booleans())
def test_every_question_is_answered_as_if_each_reading_were_a_row(
    batches: list[list[list[ReadingRecord]]], bounds: Bounds, is_restarted: bool
) -> None:
    with tempfile.TemporaryDirectory() as wide, tempfile.TemporaryDirectory() as narrow:
        packed, single = open_store(Path(wide)), open_store(Path(narrow))
        for packs in batches:
            one, other = commit(packed, packs), commit(single, packs, as_packs=False)
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                for field in ("readings", "duplicates", "conflicts"):
                    assert sorted(getattr(one, field), key=repr) == sorted(
                        getattr(other, field), key=repr
                    )
            if is_restarted:
                packed.close()
                packed = open_store(Path(wide))
        assert list(answers(packed)) == list(answers(single))
        assert packed._counts() == single._counts()
        tenants = {one.tenant for packs in batches for pack in packs for one in pack}
        if len(tenants) < 2:
            # Readings of two tenants in one series go by the newer one's rule, packs by their own.
            assert sweep(packed, lambda _: bounds) == sweep(single, lambda _: bounds)
            assert list(answers(packed)) == list(answers(single))
            left = rows_of(packed, "SELECT count(*) FROM packs WHERE coalesce(v0, v1, v2) IS NULL")
            assert left == [(0,)]
        packed.close()
        single.close()


def test_a_pack_is_one_row(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, [readings_of(time, dict.fromkeys(PATHS, 1.0)) for time in range(5)])
    assert rows_of(store, "SELECT count(*) FROM packs") == [(5,)]
    assert rows_of(store, "SELECT count(*) FROM readings") == [(0,)]
    store.close()


def test_a_late_pack_is_one_row_too(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for time in (9, 5, 7):
        commit(store, [readings_of(time, dict.fromkeys(PATHS, 1.0))])
    assert rows_of(store, "SELECT time_us FROM packs ORDER BY 1") == [(5,), (7,), (9,)]
    assert rows_of(store, "SELECT count(*) FROM readings") == [(0,)]
    store.close()


def test_a_device_with_other_readings_each_time_does_not_fill_the_table_of_series(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    for number in range(PACK_SERIES_MAX + 5):
        commit(store, [readings_of(number, {f"/3/{number}/1": 1.0})])
    assert rows_of(store, "SELECT count(*) FROM pack_series") == [(PACK_SERIES_MAX,)]
    assert rows_of(store, "SELECT count(*) FROM named_readings") == [(PACK_SERIES_MAX + 5,)]
    store.close()


def test_what_has_no_one_time_or_a_path_twice_or_is_long_is_no_uniform_pack() -> None:
    pack = readings_of(1, {"/3/0/1": 1.0, "/3/0/2": 2.0})
    many = {f"/3/0/{number}": 1.0 for number in range(PACK_READINGS_MAX + 1)}
    found = LAYOUTS.uniform(pack)
    assert isinstance(found, UniformPack)
    assert found.readings() == pack
    for other in (
        [],
        [pack[0], pack[1]._replace(time_us=2)],
        [pack[0], pack[0]],
        [one._replace(time_source="received") for one in pack],
        readings_of(1, many),
    ):
        assert LAYOUTS.uniform(other) is None


def test_packs_of_another_writer_are_compared_when_the_batch_comes_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, [readings_of(1, {PATHS[0]: 1.0})])
    with sqlite3.connect(tmp_path / "telemetry.sqlite") as other:
        other.execute("INSERT INTO packs (series, time_us, v0) SELECT series, 2, v0 FROM packs")
    again = [readings_of(time, {PATHS[0]: 1.0}) for time in (2, 3)]
    with pytest.raises(ReadingsChangedElsewhere):
        commit(store, again)
    found = commit(store, again)
    assert found is not None
    assert ([row[2] for row in found.readings], len(found.duplicates)) == ([3], 1)
    store.close()


def test_a_reading_far_ahead_neither_holds_the_latest_value_nor_makes_others_late(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    ahead_us = 400 * DAY_US
    commit(store, [readings_of(ahead_us, {PATHS[0]: 9.0, PATHS[1]: 9.0})])
    store.close()
    store = open_store(tmp_path)
    for time in (1, 2, 3):
        commit(store, [readings_of(time, {PATHS[0]: float(time)})])
    device = store._inserts._table.devices["lamp-1"]
    assert device.newest_us == 3
    latest = {one.path: one.time_us for one in find_latest(store._connection, "lamp-1", DAY_US)}
    # A path that has nothing else shows it: that is what is known.
    assert latest == {PATHS[0]: 3, PATHS[1]: ahead_us}
    assert find_latest(store._connection, "lamp-1")[1].time_us == ahead_us
    # The day it was dated comes: it is a repetition, and a contradiction, as any other is.
    found = commit(store, [readings_of(ahead_us, {PATHS[0]: 9.0, PATHS[1]: 8.0})])
    assert found is not None
    assert (len(found.readings), len(found.duplicates), len(found.conflicts)) == (0, 1, 1)
    store.close()


FIRST_SCHEMA = """
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
CREATE VIEW named_readings AS
    SELECT endpoint, path, time_us, value, kind, unit, time_source, tenant FROM readings
    JOIN series ON series.id = series JOIN descriptions ON descriptions.id = description;
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
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO series VALUES (1, 'lamp-1', '/3416/0/3');
INSERT INTO descriptions VALUES (1, 'number', 'lm', 'device', 'harbour');
INSERT INTO readings VALUES (1, 1, 1.5, 1), (1, 2, 2.5, 1);
INSERT INTO state VALUES ('position', 7), ('stored', 2)
"""


def test_a_store_of_the_first_version_goes_on_with_all_that_it_has(tmp_path: Path) -> None:
    open_database(tmp_path / "telemetry.sqlite", FIRST_SCHEMA).close()
    store = open_store(tmp_path)
    assert store._state["position"] == 7
    again, new = ({PATHS[0]: 2.5}, {PATHS[0]: 3.5, PATHS[1]: 1.0})
    found = commit(store, [readings_of(2, again), readings_of(3, new)])
    assert found is not None
    assert (len(found.readings), len(found.duplicates)) == (2, 1)
    page = find_readings(store._connection, "lamp-1", PATHS[0], 0, 10, 10)
    assert [(row[2], row[3]) for row in page.readings] == [(3, 3.5), (2, 2.5), (1, 1.5)]
    buckets = find_buckets(store._connection, "lamp-1", PATHS[0], 0, 10, 10, 5).buckets
    assert [(one.rows, one.total, one.last) for one in buckets] == [(3, 7.5, 3.5)]
    names = "SELECT path, time_us, value, unit FROM named_readings ORDER BY 1, 2"
    assert rows_of(store, names)[2] == (PATHS[0], 3, 3.5, "lm")
    version = rows_of(store, "PRAGMA user_version")
    assert version == [(telemetry_schema.VERSION,)]
    assert sweep(store, lambda _: Bounds(None, 1)) == 2
    store.close()
    made = open_store(tmp_path / "new")
    old = open_store(tmp_path)
    tables = "SELECT name FROM sqlite_master ORDER BY 1"
    assert rows_of(old, tables) == rows_of(made, tables)
    old.close()
    made.close()


def test_a_sweep_of_packs_is_many_small_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_retention, "ROWS_AT_ONCE", 10)
    store = open_store(tmp_path)
    commit(store, [readings_of(time, dict.fromkeys(PATHS, 1.0)) for time in range(20)])
    place: Place | None = Place(is_packs=True)
    steps = []
    while place is not None:
        step = sweep_series(store._connection, "readings", lambda _: Bounds(15, None), place)
        steps.append(step.deleted)
        place = step.place
    assert sum(steps) == 45
    assert max(steps) <= 12
    assert rows_of(store, "SELECT min(time_us) FROM packs") == [(15,)]
    store.close()
