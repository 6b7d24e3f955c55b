"""From the spool to the stores, the archive and the feed, over restarts and kills."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import sys
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest

from city_platform.ingestion.component import Ingestion, open_runner
from city_platform.ingestion.intake import Intake, IntakeFull
from city_platform.ingestion.spool import Spool
from city_platform.rules import RunnerLimits
from city_platform.stores.dead_letters import SqliteDeadLetterStore
from city_platform.stores.device_directory import SqliteDeviceDirectory
from city_platform.stores.worker import Worker
from contracts.api import AlarmStored, Commit, DeadLettered, FeedGap, FeedLine
from harness.testing.clock import HandMovedClock
from mqtt.connection import InboundMessage
from tests.city_platform.ingestion import kill_child
from tests.city_platform.ingestion.packs import (
    NAME,
    NOW_S,
    VALUE,
    alarm,
    alarm_topic,
    config,
    directory_entry,
    ingesting,
    state,
    state_topic,
    stored,
)
from tests.processes import WITHIN_S

FOREVER = 2**62
decode_line = msgspec.json.Decoder(FeedLine).decode


async def rows(found: Ingestion, endpoint: str = "lamp-1") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await found.store.readings(endpoint, None, 0, FOREVER, 10_000)]


async def feed_lines(found: Ingestion, after: int, count: int) -> list[FeedLine]:
    """The next `count` lines of the feed."""
    lines: list[FeedLine] = []
    async with contextlib.aclosing(found.feed.follow(after)) as pieces, asyncio.timeout(WITHIN_S):
        async for piece in pieces:
            lines += [decode_line(line) for line in piece.splitlines()]
            if len(lines) >= count:
                break
    return lines


def archived(folder: Path) -> list[dict[str, Any]]:
    """All lines of the archive, in the order of its objects' names."""
    return [
        msgspec.json.decode(line)
        for path in sorted(folder.glob("objects/archive/**/*.jsonl.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def test_a_pack_is_stored_archived_and_told(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock()
        async with ingesting(tmp_path, clock) as found:
            await found.intake.accept(state_topic(), state())
            await stored(found)
            (line,) = await feed_lines(found, 0, 1)
            time_us = int((NOW_S + 1) * 1e6)
            expected = [
                ("lamp-1", "/3416/0/3", time_us, 0.5),
                ("lamp-1", "/3416/0/46", time_us, 33.25),
            ]
            assert line == Commit(
                cursor=1, at_ns=clock.now_ns(), at_us=clock.wall_us(), readings=expected
            )
            assert await rows(found) == expected
            counts = await found.store.counts()
            assert (counts.packs, counts.stored, counts.backlog) == (1, 2, 0)
        lines = archived(tmp_path)
        assert [(line["path"], line["value"]) for line in lines] == [
            ("/3416/0/3", 0.5),
            ("/3416/0/46", 33.25),
        ]

    asyncio.run(story())


def test_the_same_pack_again_changes_nothing_and_another_value_is_a_conflict(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            for payload in (state(), state(), state(values={"3416/0/3": 0.75, "3416/0/5": True})):
                await found.intake.accept(state_topic(), payload)
                await stored(found)
            first, second, third = await feed_lines(found, 0, 3)
            assert isinstance(second, Commit)
            assert isinstance(third, Commit)
            assert isinstance(first, Commit)
            assert (second.readings, second.duplicates) == ([], first.readings)
            time_us = int((NOW_S + 1) * 1e6)
            assert third.conflicts == [("lamp-1", "/3416/0/3", time_us, 0.75)]
            assert third.readings == [("lamp-1", "/3416/0/5", time_us, True)]
            assert ("lamp-1", "/3416/0/3", time_us, 0.5) in await rows(found)
            counts = await found.store.counts()
            assert (counts.stored, counts.duplicates, counts.conflicts) == (3, 2, 1)

    asyncio.run(story())


def test_a_pack_without_times_is_stored_once_within_the_window(tmp_path: Path) -> None:
    pack = cbor2.dumps([{NAME: "3/0/9", VALUE: 80}])

    async def story() -> None:
        clock = HandMovedClock()
        async with ingesting(tmp_path, clock, unstamped_window_s=60.0) as found:
            for wait_s in (0, 59, 61):
                clock.advance(wait_s)
                await found.intake.accept(state_topic(), pack)
                await stored(found)
            counts = await found.store.counts()
            assert (counts.stored, counts.duplicates) == (2, 1)

    asyncio.run(story())


def test_alarms_are_kept_as_alarms_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await found.intake.accept(alarm_topic(), alarm(sequence=1))
            await found.intake.accept(alarm_topic(), alarm(sequence=1))
            await found.intake.accept(alarm_topic(), alarm(sequence=2, raised=False))
            await stored(found)
            raised, cleared = await feed_lines(found, 0, 2)
            assert isinstance(raised, AlarmStored)
            assert isinstance(cleared, AlarmStored)
            assert (raised.raised, raised.sequence, raised.severity) == (True, 1, "major")
            assert (cleared.raised, cleared.sequence) == (False, 2)
            kept = await found.store.alarms("lamp-1", 10)
            assert [(one.sequence, one.raised) for one in kept] == [(2, False), (1, True)]
            assert await rows(found) == []
            assert (await found.store.counts()).alarms == 2

    asyncio.run(story())


def test_what_cannot_be_stored_is_a_dead_letter_with_reason_topic_and_bytes(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await found.intake.accept(state_topic(), b"rubbish")
            await found.intake.accept(state_topic("lamp-2"), state("lamp-1"))
            await found.intake.accept("devices/a b/state", state())
            await found.intake.accept(state_topic(), state())
            await stored(found)
            lines = await feed_lines(found, 0, 4)
            letters = [line for line in lines if isinstance(line, DeadLettered)]
            assert [(one.reason, one.endpoint, one.claimed) for one in letters] == [
                ("malformed", "lamp-1", ""),
                ("claims_another_device", "lamp-2", "lamp-1"),
                ("illegal_topic", "", ""),
            ]
            assert await rows(found, "lamp-2") == []
            assert len(await rows(found)) == 2
            assert (await found.store.counts()).dead_letters == 3
        letters_kept = SqliteDeadLetterStore(tmp_path / "dead_letters.sqlite")
        kept = await letters_kept.read()
        letters_kept.close()
        assert [(one.position, one.topic, one.payload) for one in kept] == [
            (0, "devices/lamp-1/state", b"rubbish"),
            (1, "devices/lamp-2/state", state("lamp-1")),
            (2, "devices/a b/state", state()),
        ]

    asyncio.run(story())


def test_every_row_carries_the_tenant_and_unknown_devices_are_dead_lettered(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        path = tmp_path / "devices.sqlite"
        directory = SqliteDeviceDirectory(path)
        async with ingesting(tmp_path / "state", directory_file=path) as found:
            await found.intake.accept(state_topic(), state())
            await stored(found)
            await directory.put([directory_entry("lamp-1", "harbour")])
            await found.intake.accept(state_topic(), state(sequence=2))
            await stored(found)
            lines = await feed_lines(found, 0, 2)
            assert isinstance(lines[0], DeadLettered)
            assert lines[0].reason == "unknown_device"
            assert isinstance(lines[1], Commit)
        directory.close()
        assert {line["tenant"] for line in archived(tmp_path / "state")} == {"harbour"}

    asyncio.run(story())


def test_what_was_acknowledged_before_a_kill_is_stored_after_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with contextlib.AsyncExitStack() as opened:
            found = await Ingestion.open(config(tmp_path), HandMovedClock(), opened)
            writing = asyncio.ensure_future(found.intake.run())
            for sequence in range(1, 11):
                await found.intake.accept(state_topic(), state(sequence=sequence))
            writing.cancel()
            assert found.pipeline.backlog == 10
        for _ in range(2):
            async with ingesting(tmp_path) as found:
                await stored(found)
                assert len(await rows(found)) == 20
                counts = await found.store.counts()
                assert (counts.packs, counts.stored, counts.duplicates) == (10, 20, 0)
        assert len(archived(tmp_path)) == 20

    asyncio.run(story())


def test_archive_objects_are_cut_by_size_and_by_hour_received(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock()
        async with ingesting(tmp_path, clock, archive_bytes=1_000) as found:
            for sequence in range(1, 21):
                await found.intake.accept(state_topic(), state(sequence=sequence))
                await stored(found)
                clock.advance(400)
        lines = archived(tmp_path)
        assert len(lines) == 40

    asyncio.run(story())
    objects = list(tmp_path.glob("objects/archive/*/*/*/*/*.gz"))
    assert {path.parent.name for path in objects} == {"00", "01", "02"}
    assert len(objects) > 5


def test_the_spool_is_deleted_once_all_is_stored_and_archived(tmp_path: Path) -> None:
    async def story() -> None:
        for start in (1, 41, 81):
            async with ingesting(tmp_path, segment_bytes=500) as found:
                for sequence in range(start, start + 40):
                    await found.intake.accept(state_topic(), state(sequence=sequence))
                await stored(found)
        assert len(archived(tmp_path)) == 240

    asyncio.run(story())
    assert len(list(tmp_path.glob("spool/*.spool"))) == 1


def test_the_feed_goes_on_over_a_restart_and_tells_what_it_no_longer_has(tmp_path: Path) -> None:
    async def story() -> None:
        clock = HandMovedClock()
        limits = {"feed_memory_bytes": 300, "feed_kept_bytes": 1_200}
        async with ingesting(tmp_path, clock, **limits) as found:
            for sequence in range(1, 21):
                await found.intake.accept(state_topic(), state(sequence=sequence))
                await stored(found)
            stamped_ns = clock.now_ns()
        clock.advance(100)
        async with ingesting(tmp_path, clock, **limits) as found:
            gap, *lines = await feed_lines(found, 3, 2)
            assert isinstance(gap, FeedGap)
            assert gap.missed == gap.cursor - 3 > 0
            following = await feed_lines(found, gap.cursor, 20 - gap.cursor)
            assert [line.cursor for line in following] == list(range(gap.cursor + 1, 21))
            assert all(isinstance(line, Commit) for line in following)
            assert {line.at_ns for line in following if isinstance(line, Commit)} == {stamped_ns}
            assert lines == [] or lines[0].cursor == gap.cursor + 1

    asyncio.run(story())


def test_a_feed_reader_waits_for_lines_to_come_and_ends_when_the_feed_closes(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            reading = asyncio.ensure_future(feed_lines(found, 0, 2))
            for sequence in (1, 2):
                await found.intake.accept(state_topic(), state(sequence=sequence))
                await stored(found)
            assert [line.cursor for line in await reading] == [1, 2]
            waiting = asyncio.ensure_future(feed_lines(found, 2, 1))
            async with asyncio.timeout(WITHIN_S):
                while not found.feed.readers:  # noqa: ASYNC110 - a bounded look from outside
                    await asyncio.sleep(0)
            found.feed.close()
            assert await waiting == []

    asyncio.run(story())


def test_intake_is_bounded_and_takes_again_when_it_has_written(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path, waiting_bytes_max=200) as found:
            first = found.intake.accept(state_topic(), b"x" * 150)
            with pytest.raises(IntakeFull):
                found.intake.accept(state_topic(), b"x" * 150)
            await first
            await found.intake.accept(state_topic(), b"x" * 150)

    asyncio.run(story())


class SometimesFull(Spool):
    """Its disk is full for the first writes."""

    refusals_left = 5

    def _write_some(self, view: memoryview) -> int:
        if self.refusals_left:
            self.refusals_left -= 1
            raise OSError(28, "No space left on device")
        return super()._write_some(view)


class Acknowledgements:
    """An MQTT client's part that a rule runner uses."""

    def __init__(self) -> None:
        self.seen: list[InboundMessage] = []
        self.came = asyncio.Event()

    def acknowledge(self, message: InboundMessage) -> None:
        self.seen.append(message)
        self.came.set()


def test_while_the_disk_is_full_nothing_is_acknowledged_and_then_all_is_taken(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        spool, worker = SometimesFull(tmp_path, 1_000_000), Worker("spool")
        intake = Intake(spool, worker, lambda: 1, 1_000_000)
        writing = asyncio.ensure_future(intake.run())
        limits = RunnerLimits(tries_max=2, retry_s=0.001, retry_s_max=0.002)
        client = Acknowledgements()
        settings = msgspec.structs.replace(config(tmp_path), runner=limits)
        runner = open_runner(settings, intake, lambda size: bytes(size))
        runner.use_client(client)
        message = InboundMessage(state_topic(), state(), 1, 7, False, False, 1)
        runner.handle_message(message)
        await asyncio.wait_for(client.came.wait(), WITHIN_S)
        assert client.seen == [message]
        assert (spool.refusals_left, spool.end) == (0, 1)
        await runner.close()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        worker.close()
        spool.close()

    asyncio.run(story())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_at_any_point_loses_nothing_acknowledged_and_stores_nothing_twice(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)

    async def story() -> None:
        acknowledged: set[int] = set()
        for _ in range(6):
            # Some come again, as a broker delivers again what it got no PUBACK for.
            start = max(0, max(acknowledged, default=-1) + 1 - chance.randrange(5))
            acknowledged |= await _run_and_kill(tmp_path, start, chance)
        async with ingesting(tmp_path) as found:
            await stored(found)
            kept = {(row[0], row[1], row[2]): row[3] for row in await _all_rows(found)}
            counts = await found.store.counts()
        for number in acknowledged:
            for key, value in kill_child.readings_of(number):
                assert kept[key] == value, f"pack {number} was acknowledged"
        assert counts.stored == len(kept)
        assert counts.conflicts == counts.dead_letters == 0
        assert len(archived(tmp_path)) == counts.packs * kill_child.RECORDS
        assert counts.stored + counts.duplicates == counts.packs * kill_child.RECORDS

    asyncio.run(story())


async def _all_rows(found: Ingestion) -> list[tuple[Any, ...]]:
    return [row for name in kill_child.ENDPOINTS for row in await rows(found, name)]


async def _run_and_kill(folder: Path, start: int, chance: random.Random) -> set[int]:
    """Run an ingestion in a process of its own and kill it; returns what it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(kill_child.__file__),
        str(folder),
        str(start),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    wanted = chance.randrange(4, 400)
    acknowledged: set[int] = set()
    async with asyncio.timeout(WITHIN_S):
        while len(acknowledged) < wanted and (line := await process.stdout.readline()):
            acknowledged.add(int(line))
        assert len(acknowledged) >= wanted, "the child ended by itself"
        process.kill()
        # What it had still written was acknowledged, too.
        acknowledged |= {int(line) async for line in process.stdout if line.endswith(b"\n")}
        await process.wait()
    return acknowledged
