"""What has just come is stored from memory, what memory no longer has from the spool's files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from city_platform.ingestion import intake as intake_module
from city_platform.ingestion.intake import Intake
from city_platform.ingestion.spool import Spool, SpoolReader
from city_platform.stores.worker import Worker
from harness.testing.clock import HandMovedClock
from tests.city_platform.ingestion.packs import NOW_S, ingesting, state, state_topic, stored

MANY = 1_000_000


async def taken(folder: Path, *batches: int) -> tuple[Intake, Spool, Worker]:
    """An intake that has written batches of so many messages; their topics count on."""
    spool, worker = Spool(folder, MANY), Worker("spool")
    intake = Intake(spool, worker, lambda: 1, MANY)
    running = asyncio.ensure_future(intake.run())
    number = 0
    for count in batches:
        for _ in range(count):
            accepted = intake.accept(f"topic/{number}", b"x" * 10)
            number += 1
        await accepted
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return intake, spool, worker


def test_messages_in_memory_are_those_of_the_spool(tmp_path: Path) -> None:
    async def story() -> None:
        intake, spool, worker = await taken(tmp_path, 3, 1, 4)
        reader = SpoolReader(tmp_path, 0)
        on_disk = reader.read(spool.end, MANY, MANY)
        assert intake.fresh(0, MANY, MANY) == on_disk
        assert intake.fresh(0, 5, MANY) == on_disk[:5]
        # After the first, at most so many bytes: a message has 17.
        assert intake.fresh(0, MANY, 1) == on_disk[:1]
        assert intake.fresh(2, MANY, 40) == on_disk[2:5]
        # What is before the position is forgotten, and then not in memory.
        assert intake.fresh(3, MANY, MANY) == on_disk[3:]
        assert intake.fresh(0, MANY, MANY) == []
        assert intake.fresh(8, MANY, MANY) == []
        reader.close()
        spool.close()
        worker.close()

    asyncio.run(story())


def test_a_reader_goes_on_behind_what_was_known(tmp_path: Path) -> None:
    async def story() -> None:
        _, spool, worker = await taken(tmp_path, 6)
        reader = SpoolReader(tmp_path, 0)
        assert [one.position for one in reader.read(spool.end, 2, MANY)] == [0, 1]
        reader.go_to(4)
        assert [one.position for one in reader.read(spool.end, MANY, MANY)] == [4, 5]
        reader.close()
        spool.close()
        worker.close()

    asyncio.run(story())


@pytest.mark.parametrize("memory_bytes", [0, 300, MANY])
def test_all_is_stored_once_however_little_memory_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int
) -> None:
    monkeypatch.setattr(intake_module, "FRESH_BYTES_MAX", memory_bytes)

    async def story() -> None:
        async with ingesting(tmp_path, HandMovedClock(wall_s=NOW_S)) as found:
            for sequence in range(1, 40):
                await found.intake.accept(state_topic(), state(sequence=sequence))
            await stored(found)
            counts = await found.store.counts()
            assert (counts.packs, counts.stored, counts.duplicates) == (39, 78, 0)

    asyncio.run(story())


def test_of_two_packs_that_contradict_each_other_the_first_is_kept_whatever_their_forms(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with ingesting(tmp_path, HandMovedClock(wall_s=NOW_S)) as found:
            # The same path twice is no uniform pack; it comes first, in the same batch.
            scattered = state(values={"3416/0/3": 1.0}).replace(b"\x81", b"\x82", 1)
            scattered += b"\xa3\x00\x693416/0/46\x02\x01\x06\x01"
            for payload in (scattered, state(values={"3416/0/3": 2.0})):
                accepted = found.intake.accept(state_topic(), payload)
            await accepted
            await stored(found)
            counts = await found.store.counts()
            assert (counts.stored, counts.conflicts, counts.dead_letters) == (2, 1, 0)
            rows = await found.store.readings("lamp-1", "/3416/0/3", 0, 2**62, 10)
            assert [row[3] for row in rows] == [1.0]

    asyncio.run(story())
