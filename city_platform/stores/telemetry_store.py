"""Readings and alarms by device, path and device time: the interface, and SQLite.

A batch of spooled packs is one transaction with the spool position behind it: a replay after a kill
begins where the last commit ended, so nothing is stored twice. The feed of what was committed is
written in that same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import msgspec

from city_platform.stores import telemetry_schema as schema
from city_platform.stores.alarm_register import AlarmLevelNews, AlarmRegister, Signals
from city_platform.stores.alarm_states import AlarmSignal, FlappingLimits
from city_platform.stores.device_states import DeviceStateTable, PresenceNews
from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.telemetry_inserts import ReadingInserts
from city_platform.stores.telemetry_queries import READINGS_LIMIT_MAX, find_readings
from city_platform.stores.telemetry_records import (
    AlarmRecord,
    FeedLine,
    FeedPage,
    ReadingRecord,
    TelemetryBatch,
    UnstampedPack,
    outward_rows,
)
from city_platform.stores.worker import Worker
from contracts.api import AlarmStored, Commit, DeadLettered, IngestionCounts, ReadingRow
from contracts.telemetry import Alarm

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# 100,000 devices' readings come in any order: each changes another page of the table. Kept in
# memory and written home seldom, a page takes many of them: a quarter of the time of SQLite's own.
CACHE_KIB = 65_536
CHECKPOINT_PAGES = 8_000


class CommitNews(NamedTuple):
    """What commits changed of devices' alarms and presence since it was asked last."""

    levels: list[AlarmLevelNews]
    presence: list[PresenceNews]


class OutOfOrder(ValueError):
    """A batch does not continue where the store is: the caller is at fault."""


class TelemetryStore(Protocol):
    """Readings, alarms, the feed of both, and how far the spool has been stored."""

    async def commit(self, batch: TelemetryBatch) -> list[FeedLine]:
        """Store a batch whole; returns its feed lines once it is durable. Raises `OutOfOrder`."""

    async def position(self) -> int:
        """The first spool position that is not stored."""

    async def newest(self) -> int:
        """The cursor of the last feed line; 0 before the first."""

    async def archived(self) -> int:
        """The first spool position that is not archived."""

    async def set_archived(self, position: int) -> None:
        """Positions before `position` are in the archive."""

    async def readings(
        self, endpoint: str, path: str | None, from_us: int, to_us: int, limit: int
    ) -> list[ReadingRow]:
        """Readings of a device in [from_us, to_us), newest first."""

    async def alarms(self, endpoint: str, limit: int) -> list[Alarm]:
        """Alarms of a device, newest first."""

    async def feed(self, after: int, lines_max: int) -> FeedPage:
        """Feed lines with a cursor above `after`."""

    async def counts(self) -> IngestionCounts:
        """What has been stored since the store was made; `backlog` is 0 here."""

    def close(self) -> None:
        """Let go of what is held."""


_NO_SIGNALS: Mapping[tuple[int, int], AlarmSignal] = {}
_FLAPPING = FlappingLimits()


class SqliteTelemetryStore:
    """`TelemetryStore` in one SQLite file; a commit survives a power cut.

    `feed_bytes_max` bounds the kept feed, oldest lines first; `window_us` is how long an unstamped
    pack is remembered. `now_ns` is the monotonic clock that stamps the feed: a line's stamp reaches
    the disk with the next commit, and what a kill left without one gets the time of opening.
    `signals` are the boolean resources that raise and clear alarms by `flapping`'s thresholds.
    """

    def __init__(
        self,
        path: Path,
        *,
        now_ns: Callable[[], int],
        feed_bytes_max: int = 128 * 1024 * 1024,
        window_us: int = 600_000_000,
        signals: Signals = _NO_SIGNALS,
        flapping: FlappingLimits = _FLAPPING,
    ) -> None:
        self._connection = open_database(
            path, schema.SCHEMA, version=schema.VERSION, upgrades=schema.UPGRADES,
            cache_kib=CACHE_KIB, checkpoint_pages=CHECKPOINT_PAGES,
        )  # fmt: skip
        self._reader = open_database(path, schema.SCHEMA, version=schema.VERSION)
        self._state = schema.load_state(self._connection)
        self._inserts = ReadingInserts(self._connection)
        self.register = AlarmRegister(self._connection, signals, flapping)
        self.device_states = DeviceStateTable(self._connection)
        self._window_us = window_us
        self._feed = schema.FeedTable(self._connection, feed_bytes_max)
        self._feed.stamp(self._state["cursor"], now_ns())
        self._now_ns = now_ns
        self._stamp: tuple[int, int] | None = None
        self._encoder = msgspec.json.Encoder()
        self._writing = Worker("telemetry-store")
        self._reading = Worker("telemetry-reader")

    async def commit(self, batch: TelemetryBatch) -> list[FeedLine]:
        """See `TelemetryStore`."""
        return await self._writing.do(self.commit_now, batch)

    async def position(self) -> int:
        """See `TelemetryStore`."""
        return self._state["position"]

    async def newest(self) -> int:
        """See `TelemetryStore`."""
        return self._state["cursor"]

    async def archived(self) -> int:
        """See `TelemetryStore`."""
        return self._state["archived"]

    async def set_archived(self, position: int) -> None:
        """See `TelemetryStore`."""
        await self._writing.do(self._set_archived, position)

    async def readings(
        self, endpoint: str, path: str | None, from_us: int, to_us: int, limit: int
    ) -> list[ReadingRow]:
        """See `TelemetryStore`."""
        page = await self.read(find_readings, endpoint, path, from_us, to_us, limit)
        return page.readings

    async def alarms(self, endpoint: str, limit: int) -> list[Alarm]:
        """See `TelemetryStore`."""
        return await self._reading.do(self._alarms, endpoint, limit)

    async def feed(self, after: int, lines_max: int) -> FeedPage:
        """See `TelemetryStore`."""
        return await self._writing.do(self._feed_page, after, lines_max)

    async def counts(self) -> IngestionCounts:
        """See `TelemetryStore`."""
        return await self._writing.do(self._counts)

    async def write(
        self,
        function: Callable[Concatenate[sqlite3.Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """What `function` returns, called with the connection in a transaction, between commits."""
        return await self._writing.do(
            lambda: self._written(lambda: function(self._connection, *args, **kwargs))
        )

    async def read(
        self,
        function: Callable[Concatenate[sqlite3.Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """What `function` returns, called with a connection for reading; commits do not wait."""
        return await self._reading.do(function, self._reader, *args, **kwargs)

    async def inspect(self, look: Callable[[], Result]) -> Result:
        """What `look` returns, called between commits: for what commits keep in memory."""
        return await self._writing.do(look)

    def take_news(self) -> CommitNews:
        """What changed since the last call; call it while no commit is under way."""
        return CommitNews(self.register.take_news(), self.device_states.take_news())

    def close(self) -> None:
        """See `TelemetryStore`."""
        self._writing.close()
        self._reading.close()
        if self._stamp is not None:
            with transaction(self._connection):
                self._write_stamp()
        self._reader.close()
        self._connection.close()

    def commit_now(self, batch: TelemetryBatch) -> list[FeedLine]:
        """`commit` in the caller's thread."""
        if batch.first != self._state["position"]:
            raise OutOfOrder(f"batch begins at {batch.first}, stored up to {self._state}")
        state = dict(self._state)
        lines = self._written(lambda: self._commit(batch, state))
        self._state = state
        self._stamp = (state["cursor"], self._now_ns())
        return [_stamped(cursor, line, self._stamp[1]) for cursor, line in lines]

    def _written(self, write: Callable[[], Result]) -> Result:
        """What `write` returns, in a transaction; what is in memory goes back with it."""
        stamp = self._stamp
        try:
            with transaction(self._connection):
                return write()
        except BaseException:
            self._stamp = stamp
            self._inserts.forget_numbers()
            self._feed.load()
            self.register.load()
            self.device_states.forget_news()
            raise

    def _commit(self, batch: TelemetryBatch, state: dict[str, int]) -> list[tuple[int, bytes]]:
        self._write_stamp()
        lines = self._write(batch, state)
        self._feed.append(lines)
        schema.save_state(self._connection, state)
        return lines

    def _write(self, batch: TelemetryBatch, state: dict[str, int]) -> list[tuple[int, bytes]]:
        fresh, repeated = self._unstamped(batch.unstamped)
        packs, stored, duplicates, conflicts = self._inserts.insert(
            batch.readings + fresh, batch.packs, batch.at_us
        )
        duplicates += repeated
        alarms = [found for found in batch.alarms if self._insert_alarm(found)]
        # Alarms first: a reading that shows the same knows less of it.
        self.register.take_alarms(alarms, batch.at_us)
        for pack in packs:
            if pack.layout.has_booleans:
                self.register.take_readings(pack.readings(), batch.at_us)
        self.register.take_readings(stored, batch.at_us)
        self.device_states.take(batch.presence)
        state["position"] = batch.next
        new = [row for pack in packs for row in pack.rows()] + outward_rows(stored)
        for name, added in (
            ("packs", batch.next - batch.first),
            ("stored", len(new)),
            ("duplicates", len(duplicates)),
            ("conflicts", len(conflicts)),
            ("alarms", len(alarms)),
            ("dead_letters", len(batch.dead_letters)),
        ):
            state[name] += added
        rows = [new, outward_rows(duplicates), outward_rows(conflicts)]
        return self._lines(batch, state, rows, alarms)

    def _lines(
        self,
        batch: TelemetryBatch,
        state: dict[str, int],
        rows: list[list[ReadingRow]],
        alarms: list[AlarmRecord],
    ) -> list[tuple[int, bytes]]:
        lines: list[tuple[int, bytes]] = []

        def add(made: Commit | AlarmStored | DeadLettered) -> None:
            state["cursor"] = made.cursor
            lines.append((made.cursor, self._encoder.encode(made)))

        if any(rows):
            stored, duplicates, conflicts = rows
            add(
                Commit(
                    cursor=state["cursor"] + 1,
                    at_ns=0,
                    at_us=batch.at_us,
                    readings=stored,
                    duplicates=duplicates,
                    conflicts=conflicts,
                )
            )
        for found in alarms:
            add(_alarm_stored(state["cursor"] + 1, found.alarm))
        for letter in batch.dead_letters:
            add(msgspec.structs.replace(letter, cursor=state["cursor"] + 1, at_ns=0))
        return lines

    def _unstamped(
        self, packs: Sequence[UnstampedPack]
    ) -> tuple[list[ReadingRecord], list[ReadingRecord]]:
        fresh: list[ReadingRecord] = []
        repeated: list[ReadingRecord] = []
        for pack in packs:
            is_new = schema.remember_digest(
                self._connection, pack.digest, pack.received_us, self._window_us
            )
            (fresh if is_new else repeated).extend(pack.readings)
        return fresh, repeated

    def _insert_alarm(self, found: AlarmRecord) -> bool:
        cursor = self._connection.execute(
            "INSERT OR IGNORE INTO alarms VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*found.alarm, found.boot, found.tenant),
        )
        return cursor.rowcount == 1

    def _write_stamp(self) -> None:
        if self._stamp is not None:
            self._feed.stamp(*self._stamp)
            self._stamp = None

    def _feed_page(self, after: int, lines_max: int) -> FeedPage:
        last = self._stamp[1] if self._stamp else 0
        found = self._feed.read(after, lines_max)
        return FeedPage(
            [_stamped(cursor, line, last if at is None else at) for cursor, line, at in found],
            self._feed.oldest,
        )

    def _set_archived(self, position: int) -> None:
        self._state["archived"] = position
        with transaction(self._connection) as connection:
            schema.save_state(connection, self._state)

    def _alarms(self, endpoint: str, limit: int) -> list[Alarm]:
        rows = self._reader.execute(
            "SELECT endpoint, path, time_us, alarm, raised, severity, sequence, value, threshold"
            " FROM alarms WHERE endpoint = ? ORDER BY time_us DESC, path, alarm LIMIT ?",
            (endpoint, max(0, min(limit, READINGS_LIMIT_MAX))),
        )
        return [Alarm(*row)._replace(raised=bool(row[4])) for row in rows]

    def _counts(self) -> IngestionCounts:
        kept = IngestionCounts.__struct_fields__
        return IngestionCounts(**{name: self._state.get(name, 0) for name in kept})


def _alarm_stored(cursor: int, alarm: Alarm) -> AlarmStored:
    return AlarmStored(cursor=cursor, at_ns=0, **alarm._asdict())


def _stamped(cursor: int, line: bytes, at_ns: int) -> FeedLine:
    # A line is stored before its stamp is known; `kind` and `cursor`, which come before, are ours.
    return FeedLine(cursor, line.replace(b'"at_ns":0', b'"at_ns":%d' % at_ns, 1) + b"\n")
