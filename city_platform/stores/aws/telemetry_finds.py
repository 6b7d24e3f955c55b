"""Finds readings and alarms in the telemetry table, newest first."""

from __future__ import annotations

import heapq
from typing import Final

from city_platform.stores.aws.calls import gathered
from city_platform.stores.aws.tables import Table
from city_platform.stores.aws.telemetry_items import (
    TIME_MAX_US,
    TIME_MIN_US,
    alarm_from,
    row_from,
    time_key,
)
from contracts.api import ReadingRow
from contracts.telemetry import Alarm

LIMIT_MAX: Final = 10_000


async def find_readings(
    table: Table, endpoint: str, path: str | None, from_us: int, to_us: int, limit: int
) -> list[ReadingRow]:
    """Readings of a device in [from_us, to_us); of all its paths when `path` is None."""
    limit = max(0, min(limit, LIMIT_MAX))
    first, last = max(from_us, TIME_MIN_US), min(to_us - 1, TIME_MAX_US)
    if limit == 0 or first > last:
        return []
    paths = [path]
    if path is None:
        paths = [str(one["sk"]) for one in await table.query(f"series#{endpoint}")]
    pages = await gathered(
        [
            table.query(
                f"reading#{endpoint}#{one}",
                between=(time_key(first), time_key(last)),
                limit=limit,
                newest_first=True,
            )
            for one in paths
        ]
    )
    rows = [
        row_from(endpoint, str(one), item)
        for one, page in zip(paths, pages, strict=True)
        for item in page
    ]
    return heapq.nsmallest(limit, rows, key=lambda row: (-row[2], row[1]))


async def find_alarms(table: Table, endpoint: str, limit: int) -> list[Alarm]:
    """Alarms of a device."""
    found = await table.query(f"alarm#{endpoint}", limit=max(0, min(limit, LIMIT_MAX)))
    return [alarm_from(item) for item in found]
