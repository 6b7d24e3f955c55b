"""Readings and alarms go to DynamoDB first and then to the component's own store.

The own store says what is new, keeps the position, the feed and the life of alarms; DynamoDB keeps
what was measured, for as long as the account does, and answers for it. A batch that a kill cut off
between the two comes again and changes nothing in DynamoDB: its keys are the readings' own.
"""

from __future__ import annotations

from city_platform.stores.aws.reading_writes import Attempt, ReadingWrites
from city_platform.stores.aws.tables import Item, Table
from city_platform.stores.aws.telemetry_finds import find_alarms, find_readings
from city_platform.stores.aws.telemetry_items import alarm_item, alarm_key, pack_item
from city_platform.stores.telemetry_records import (
    AlarmRecord,
    FeedLine,
    FeedPage,
    ReadingRecord,
    TelemetryBatch,
    UnstampedPack,
)
from city_platform.stores.telemetry_store import TelemetryStore
from contracts.api import IngestionCounts, ReadingRow
from contracts.telemetry import Alarm

# The own store counts: here nobody asks which attempt wrote what.
_ATTEMPT = Attempt(0, frozenset())


class CopiedTelemetryStore:
    """See `TelemetryStore`. `own` keeps positions, feed and counts; the table answers for readings
    and alarms."""

    def __init__(self, own: TelemetryStore, table: Table, window_us: int) -> None:
        self._own = own
        self._table = table
        self._window_us = window_us
        self._writes = ReadingWrites(table)

    async def commit(self, batch: TelemetryBatch) -> list[FeedLine]:
        """See `TelemetryStore`. Raises `AwsUnavailable` too: it may be repeated."""
        fresh = await self._fresh(batch.unstamped)
        await self._writes.insert(batch.stamped() + fresh, _ATTEMPT)
        await self._put_alarms(batch.alarms)
        return await self._own.commit(batch)

    async def position(self) -> int:
        """See `TelemetryStore`."""
        return await self._own.position()

    async def newest(self) -> int:
        """See `TelemetryStore`."""
        return await self._own.newest()

    async def archived(self) -> int:
        """See `TelemetryStore`."""
        return await self._own.archived()

    async def set_archived(self, position: int) -> None:
        """See `TelemetryStore`."""
        await self._own.set_archived(position)

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
        return await self._own.feed(after, lines_max)

    async def counts(self) -> IngestionCounts:
        """See `TelemetryStore`."""
        return await self._own.counts()

    def close(self) -> None:
        """See `TelemetryStore`."""
        self._own.close()

    async def _fresh(self, packs: list[UnstampedPack]) -> list[ReadingRecord]:
        """Readings of packs that did not come within the window, or that are this very one."""
        items = [pack_item(pack, 0, self._window_us) for pack in packs]
        known = await self._table.get_many((str(one["pk"]), "-") for one in items)
        writes: dict[str, Item] = {}
        found: list[ReadingRecord] = []
        for pack, item in zip(packs, items, strict=True):
            pk = str(item["pk"])
            before = writes.get(pk) or known.get((pk, "-"))
            at_us = None if before is None else before["received_us"]
            if isinstance(at_us, int) and 0 != pack.received_us - at_us <= self._window_us:
                continue
            writes[pk] = item
            found += pack.readings
        await self._table.put_many(list(writes.values()))
        return found

    async def _put_alarms(self, alarms: list[AlarmRecord]) -> None:
        unique = {alarm_key(one.alarm): one for one in reversed(alarms)}
        known = await self._table.get_many(unique)
        new = [alarm_item(one, 0) for key, one in unique.items() if key not in known]
        await self._table.put_many(new)
