"""kill -9 at each point where something is half done: nothing acknowledged is lost, all once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from city_platform.ingestion.component import Ingestion
from city_platform.stores.alarm_register import AlarmQuery
from contracts.api import IngestionCounts
from tests.city_platform.ingestion import kill_points_child
from tests.city_platform.ingestion.packs import ingesting, stored

pytestmark = pytest.mark.slow
OCCURRENCES = (1, 3, 2)


@pytest.mark.parametrize("point", kill_points_child.POINTS)
def test_a_kill_at_a_point_loses_nothing_acknowledged_and_does_nothing_twice(
    tmp_path: Path, point: str
) -> None:
    async def story() -> None:
        acknowledged: set[int] = set()
        for occurrence in OCCURRENCES:
            # Some come again, as a broker delivers again what it got no PUBACK for.
            start = max(0, max(acknowledged, default=-1) - 2)
            acknowledged |= await _run_until_it_dies(tmp_path, start, point, occurrence)
        async with ingesting(tmp_path) as found:
            await stored(found)
            await _check(found, acknowledged)

    asyncio.run(story())


async def _check(found: Ingestion, acknowledged: set[int]) -> None:
    counts: IngestionCounts = await found.store.counts()
    rows = await found.store.readings("lamp-1", None, 0, 2**62, 10_000)
    numbers = {int(row[3]) for row in rows}
    letters = await found.letters.read(limit=10_000)
    refused = {int(one.payload.split()[1]) for one in letters}
    alarms = await found.store.alarms("lamp-1", 10_000)
    for number in acknowledged:
        if number % 10 == 9:
            assert number in refused
        elif number % 3:
            assert number in numbers
        else:
            assert any(one.sequence == number for one in alarms)
    assert len(rows) == counts.stored
    assert len(letters) == counts.dead_letters
    assert len(alarms) == counts.alarms
    (episode,) = await found.desk.episodes(AlarmQuery())
    # Each raising once: what came again is no repetition.
    assert episode.raises == counts.alarms


async def _run_until_it_dies(folder: Path, start: int, point: str, occurrence: int) -> set[int]:
    """What an ingestion acknowledged before it killed itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(kill_points_child.__file__),
        str(folder),
        str(start),
        point,
        str(occurrence),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        acknowledged = {int(line) async for line in process.stdout if line.endswith(b"\n")}
        assert await process.wait() == -9, "it did not come to the point"
    return acknowledged
