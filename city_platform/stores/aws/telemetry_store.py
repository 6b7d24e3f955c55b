"""`TelemetryStore` in a DynamoDB table.

DynamoDB has no transaction over a batch. So an attempt is written down before it begins, every item
says which attempt wrote it, and the new position is written last: after a kill the batch comes
again, and what the attempt that did not end had written counts as new, once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from city_platform.stores.aws.errors import StoreTaken
from city_platform.stores.aws.reading_writes import Attempt, ReadingWrites, Sorted
from city_platform.stores.aws.tables import Item, Table
from city_platform.stores.aws.telemetry_finds import find_alarms, find_readings
from city_platform.stores.aws.telemetry_items import (
    alarm_item,
    alarm_key,
    pack_item,
)
from city_platform.stores.telemetry_records import (
    AlarmRecord,
    FeedLine,
    FeedPage,
    ReadingRecord,
    TelemetryBatch,
    UnstampedPack,
    outward_rows,
)
from city_platform.stores.telemetry_store import OutOfOrder
from contracts.api import AlarmStored, Commit, DeadLettered, IngestionCounts, ReadingRow
from contracts.telemetry import Alarm

# An item has 400 KB at most: a commit with more readings becomes several lines of the feed.
LINE_READINGS_MAX: Final = 1_500
STAMPS_MAX: Final = 10_000
FEED_KEPT_S: Final = 86_400
_STATE: Final = ("state", "ingestion")


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """Where the store is. `open_attempts` may have written items up to `open_until` that were
    never told; `fence` is the number of the process that writes."""

    fence: int = 0
    position: int = 0
    archived: int = 0
    cursor: int = 0
    attempts: int = 0
    open_attempts: tuple[int, ...] = ()
    open_until: int = 0
    packs: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    alarms: int = 0
    dead_letters: int = 0


class DynamoTelemetryStore:
    """See `TelemetryStore`; made by `open`. One process writes: one that was opened later takes the
    store over, and the earlier one's next commit raises `StoreTaken`.

    The feed's lines are kept for a day. Their stamps are kept in memory: what an earlier process
    left gets the time of opening.
    """

    def __init__(
        self, table: Table, state: _State, now_ns: Callable[[], int], window_us: int
    ) -> None:
        self._table = table
        self._state = state
        self._now_ns = now_ns
        self._window_us = window_us
        self._writes = ReadingWrites(table)
        self._turn = asyncio.Lock()
        self._stamps = deque[tuple[int, int]]([(state.cursor, now_ns())], STAMPS_MAX)
        self._encoder = msgspec.json.Encoder()

    @classmethod
    async def open(
        cls, table: Table, *, now_ns: Callable[[], int], window_us: int = 600_000_000
    ) -> DynamoTelemetryStore:
        """Take the store over. Raises `AwsError`."""
        item = await table.get(*_STATE)
        before = _State() if item is None else _state_from(item)
        state = msgspec.structs.replace(before, fence=before.fence + 1)
        await _save(table, state, None if item is None else before)
        return cls(table, state, now_ns, window_us)

    async def commit(self, batch: TelemetryBatch) -> list[FeedLine]:
        """See `TelemetryStore`. Raises `StoreTaken` and `AwsUnavailable`: it may be repeated."""
        async with self._turn:
            if batch.first != self._state.position:
                raise OutOfOrder(f"batch begins at {batch.first}, not {self._state.position}")
            attempt = await self._begin(batch)
            fresh, repeated = await self._unstamped(batch.unstamped, attempt)
            found = await self._writes.insert(batch.stamped() + fresh, attempt)
            found.duplicates.extend(repeated)
            alarms = await self._alarms(batch.alarms, attempt)
            state = self._counted(batch, found, alarms)
            lines = self._lines(batch, found, alarms)
            state = msgspec.structs.replace(state, cursor=state.cursor + len(lines))
            await self._table.put_many(
                [_feed_item(cursor, line, batch.at_us) for cursor, line in lines]
            )
            await self._move_to(state)
            at_ns = self._now_ns()
            self._stamps.append((state.cursor, at_ns))
            return [_stamped(cursor, line, at_ns) for cursor, line in lines]

    async def position(self) -> int:
        """See `TelemetryStore`."""
        return self._state.position

    async def newest(self) -> int:
        """See `TelemetryStore`."""
        return self._state.cursor

    async def archived(self) -> int:
        """See `TelemetryStore`."""
        return self._state.archived

    async def set_archived(self, position: int) -> None:
        """See `TelemetryStore`."""
        async with self._turn:
            await self._move_to(msgspec.structs.replace(self._state, archived=position))

    async def readings(
        self, endpoint: str, path: str | None, from_us: int, to_us: int, limit: int
    ) -> list[ReadingRow]:
        """See `TelemetryStore`."""
        return await find_readings(self._table, endpoint, path, from_us, to_us, limit)

    async def alarms(self, endpoint: str, limit: int) -> list[Alarm]:
        """See `TelemetryStore`."""
        return await find_alarms(self._table, endpoint, limit)

    async def feed(self, after: int, lines_max: int) -> FeedPage:
        """See `TelemetryStore`."""
        newest = self._state.cursor
        oldest = await self._table.query("feed", limit=1)
        found: list[Item] = []
        if after < newest:
            # Behind the last commit there may be lines of an attempt that did not end.
            between = (f"{after + 1:020d}", f"{newest:020d}")
            found = await self._table.query("feed", between=between, limit=lines_max)
        first = int(str(oldest[0]["sk"])) if oldest else 0
        return FeedPage([self._line(item) for item in found], first if first <= newest else 0)

    async def counts(self) -> IngestionCounts:
        """See `TelemetryStore`."""
        kept = IngestionCounts.__struct_fields__
        return IngestionCounts(**{name: getattr(self._state, name, 0) for name in kept})

    def close(self) -> None:
        """See `TelemetryStore`: the account's clients are closed by who opened them."""

    # ---- a commit's steps ----

    async def _begin(self, batch: TelemetryBatch) -> Attempt:
        state = self._state
        number = state.attempts + 1
        orphans = state.open_attempts if batch.first < state.open_until else ()
        until = max(batch.next, state.open_until) if orphans else batch.next
        await self._move_to(
            msgspec.structs.replace(
                state, attempts=number, open_attempts=(*orphans, number), open_until=until
            )
        )
        return Attempt(number, frozenset(orphans))

    async def _unstamped(
        self, packs: list[UnstampedPack], attempt: Attempt
    ) -> tuple[list[ReadingRecord], list[ReadingRecord]]:
        items = [pack_item(pack, attempt.number, self._window_us) for pack in packs]
        known = await self._table.get_many((str(one["pk"]), "-") for one in items)
        fresh: list[ReadingRecord] = []
        repeated: list[ReadingRecord] = []
        writes: dict[str, Item] = {}
        for pack, item in zip(packs, items, strict=True):
            pk = str(item["pk"])
            before = writes.get(pk) or known.get((pk, "-"))
            if before is None or self._is_over(before, pack) or _is_orphan(before, attempt):
                writes[pk] = item
                fresh.extend(pack.readings)
            else:
                repeated.extend(pack.readings)
        await self._table.put_many(list(writes.values()))
        return fresh, repeated

    def _is_over(self, before: Item, pack: UnstampedPack) -> bool:
        received_us = before["received_us"]
        return isinstance(received_us, int) and received_us < pack.received_us - self._window_us

    async def _alarms(self, alarms: list[AlarmRecord], attempt: Attempt) -> list[AlarmRecord]:
        """Those that are new."""
        unique: dict[tuple[str, str], AlarmRecord] = {}
        for one in alarms:
            unique.setdefault(alarm_key(one.alarm), one)
        known = await self._table.get_many(unique)
        new = {
            key: one
            for key, one in unique.items()
            if key not in known or _is_orphan(known[key], attempt)
        }
        await self._table.put_many([alarm_item(one, attempt.number) for one in new.values()])
        return list(new.values())

    def _counted(self, batch: TelemetryBatch, found: Sorted, alarms: list[AlarmRecord]) -> _State:
        state = self._state
        is_open = batch.next < state.open_until
        return msgspec.structs.replace(
            state,
            position=batch.next,
            open_attempts=state.open_attempts[:-1] if is_open else (),
            packs=state.packs + batch.next - batch.first,
            stored=state.stored + len(found.stored),
            duplicates=state.duplicates + len(found.duplicates),
            conflicts=state.conflicts + len(found.conflicts),
            alarms=state.alarms + len(alarms),
            dead_letters=state.dead_letters + len(batch.dead_letters),
        )

    def _lines(
        self, batch: TelemetryBatch, found: Sorted, alarms: list[AlarmRecord]
    ) -> list[tuple[int, bytes]]:
        made: list[Commit | AlarmStored | DeadLettered] = []
        longest = max(len(one) for one in found)
        for start in range(0, longest, LINE_READINGS_MAX):
            stored, duplicates, conflicts = (
                outward_rows(one[start : start + LINE_READINGS_MAX]) for one in found
            )
            made.append(
                Commit(
                    cursor=0,
                    at_ns=0,
                    at_us=batch.at_us,
                    readings=stored,
                    duplicates=duplicates,
                    conflicts=conflicts,
                )
            )
        made += [AlarmStored(cursor=0, at_ns=0, **one.alarm._asdict()) for one in alarms]
        made += batch.dead_letters
        return [
            (cursor, self._encoder.encode(msgspec.structs.replace(one, cursor=cursor, at_ns=0)))
            for cursor, one in enumerate(made, self._state.cursor + 1)
        ]

    async def _move_to(self, state: _State) -> None:
        await _save(self._table, state, self._state)
        self._state = state

    def _line(self, item: Item) -> FeedLine:
        cursor = int(str(item["sk"]))
        at_ns = next((at for last, at in self._stamps if last >= cursor), self._stamps[0][1])
        return _stamped(cursor, str(item["line"]).encode(), at_ns)


async def _save(table: Table, state: _State, before: _State | None) -> None:
    """Put the state in the place of the one before. Raises `StoreTaken`."""
    item: Item = {
        "pk": _STATE[0],
        "sk": _STATE[1],
        "fence": state.fence,
        "doc": msgspec.json.encode(state).decode(),
    }
    if before is None:
        refused = await table.put_if(item, "attribute_not_exists(pk)", {})
    else:
        refused = await table.put_if(item, "fence = :fence", {":fence": before.fence})
    # A call whose answer was lost is tried again, and finds what it put itself.
    if refused is not None and refused.get("doc") != item["doc"]:
        raise StoreTaken(f"another process writes {table.name} now: end this one")


def _state_from(item: Item) -> _State:
    return msgspec.json.decode(str(item["doc"]), type=_State)


def _feed_item(cursor: int, line: bytes, at_us: int) -> Item:
    return {
        "pk": "feed",
        "sk": f"{cursor:020d}",
        "line": line.decode(),
        "expires_s": at_us // 1_000_000 + FEED_KEPT_S,
    }


def _is_orphan(item: Item, attempt: Attempt) -> bool:
    return item.get("attempt") in attempt.orphans


def _stamped(cursor: int, line: bytes, at_ns: int) -> FeedLine:
    # A line is stored before its stamp is known; `kind` and `cursor`, which come before, are ours.
    return FeedLine(cursor, line.replace(b'"at_ns":0', b'"at_ns":%d' % at_ns, 1) + b"\n")
