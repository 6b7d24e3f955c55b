"""The disk full, the database locked, too much at once: held back, said, and taken up again."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import httpx
import msgspec
import pytest

from city_platform.ingestion.api import IngestionApi
from city_platform.ingestion.component import Ingestion, open_runner
from city_platform.ingestion.spool import Spool, SpoolFull, SpoolReader
from city_platform.rules import RunnerLimits
from city_platform.stores.object_store import FileObjectStore, NewObject
from city_platform.stores.sqlite import open_database, transaction
from mqtt.connection import InboundMessage
from runtime.http import make_app
from tests.city_platform.ingestion.packs import (
    config,
    ingesting,
    state,
    state_topic,
    stored,
)
from tests.processes import WITHIN_S


class Acknowledgements:
    """An MQTT client's part that a rule runner uses."""

    def __init__(self) -> None:
        self.seen: list[InboundMessage] = []

    def acknowledge(self, message: InboundMessage) -> None:
        self.seen.append(message)


def lock(folder: Path) -> sqlite3.Connection:
    """Another program's hold on the telemetry store."""
    connection = sqlite3.connect(folder / "telemetry.sqlite", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


async def until_troubled(found: Ingestion) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not found.trouble:  # noqa: ASYNC110 - a bounded look from outside
            await asyncio.sleep(0.002)


async def readiness(found: Ingestion) -> tuple[int, str]:
    api = IngestionApi(found.store, found.feed, lambda: 0, str, 1, lambda: found.trouble)
    transport = httpx.ASGITransport(make_app(api.routes(), None))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/readyz")
    return answer.status_code, answer.json().get("detail", "")


async def impatient(found: Ingestion) -> None:
    """Have a locked database be told at once: SQLite would wait five seconds."""
    await found.store.inspect(
        lambda: found.store._connection.execute("PRAGMA busy_timeout=1").fetchall()
    )


def test_while_the_store_is_locked_messages_are_taken_and_then_stored_without_a_restart(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await impatient(found)
            await found.intake.accept(state_topic(), state(sequence=1))
            await stored(found)
            held = lock(tmp_path)
            for sequence in range(2, 12):
                await found.intake.accept(state_topic(), state(sequence=sequence))
            await until_troubled(found)
            status, detail = await readiness(found)
            assert (status, "locked" in detail) == (503, True)
            assert len(await found.desk.latest("lamp-1")) == 2
            held.close()
            await stored(found)
            assert await readiness(found) == (200, "")
            counts = await found.store.counts()
            assert (counts.packs, counts.stored, counts.duplicates) == (11, 22, 0)
            # The feed has each of them once, stamped.
            page = await found.store.feed(0, 100)
            assert page.lines[-1].cursor == found.feed.newest == len(page.lines)

    asyncio.run(story())


def test_an_ingestion_can_be_stopped_while_its_store_is_locked(tmp_path: Path) -> None:
    async def story() -> None:
        async with ingesting(tmp_path) as found:
            await impatient(found)
            held = lock(tmp_path)
            await found.intake.accept(state_topic(), state())
            await until_troubled(found)
        held.close()
        async with ingesting(tmp_path) as found:
            await stored(found)
            assert (await found.store.counts()).stored == 2

    asyncio.run(story())


def test_more_than_the_spool_may_hold_is_not_acknowledged_and_comes_when_the_store_is_back(
    tmp_path: Path,
) -> None:
    """Memory does not grow with what a store that is away leaves undone: the broker waits."""

    async def story() -> None:
        limits = {"segment_bytes": 2_000, "spool_bytes_max": 8_000, "waiting_bytes_max": 2_000}
        async with ingesting(tmp_path, **limits) as found:
            await impatient(found)
            held = lock(tmp_path)
            client = Acknowledgements()
            retrying = RunnerLimits(concurrency_max=8, retry_s=0.01, retry_s_max=0.02)
            settings = msgspec.structs.replace(config(tmp_path), runner=retrying)
            runner = open_runner(settings, found.intake, lambda size: bytes(size))
            runner.use_client(client)
            sent = 200
            for number in range(1, sent + 1):
                pack = state(sequence=number)
                runner.handle_message(
                    InboundMessage(state_topic(), pack, 1, number, False, False, 1)
                )
            async with asyncio.timeout(WITHIN_S):
                while "spool" not in found.intake.trouble:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.002)
            acknowledged = len(client.seen)
            assert 0 < acknowledged < sent
            assert found.intake._spool.size_bytes <= 8_000
            assert found.intake._waiting_bytes <= 2_000
            assert (await readiness(found))[0] == 503
            held.close()
            async with asyncio.timeout(WITHIN_S):
                while len(client.seen) < sent:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.005)
            await stored(found)
            assert (await found.store.counts()).stored == 2 * sent
            assert [message.packet_id for message in client.seen] == list(range(1, sent + 1))
            await runner.close()

    asyncio.run(story())


class FullForAWhile(FileObjectStore):
    """Its disk is full for the first puts."""

    refusals_left = 3

    async def put(self, objects: list[NewObject], *, sync: bool = False) -> None:  # type: ignore[override] # a list is all that comes
        if self.refusals_left:
            self.refusals_left -= 1
            raise OSError(28, "No space left on device")
        await super().put(objects, sync=sync)


def test_an_archive_that_is_full_is_tried_again(tmp_path: Path) -> None:
    async def story() -> None:
        full = FullForAWhile(tmp_path / "objects")
        async with ingesting(tmp_path, archive_bytes=100) as found:
            found.pipeline._archive._objects = full
            for sequence in range(1, 4):
                await found.intake.accept(state_topic(), state(sequence=sequence))
                await stored(found)
            async with asyncio.timeout(WITHIN_S):
                while full.refusals_left or found.trouble:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.005)
        full.close()
        assert list((tmp_path / "objects").glob("archive/**/*.gz"))

    asyncio.run(story())


def test_a_spool_file_that_cannot_be_begun_hides_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100)
    spool.append([(1, "t", b"x" * 90)])
    blocked = tmp_path / f"{1:020d}.spool"
    blocked.symlink_to(tmp_path / "nowhere" / "file")
    with pytest.raises(SpoolFull):
        spool.append([(2, "t", b"y" * 90)])
    assert spool.append([(2, "t", b"z" * 90)]) == 2
    reader = SpoolReader(tmp_path, 0)
    assert [message.payload[:1] for message in reader.read(2, 10, 10_000)] == [b"x", b"z"]
    reader.close()
    spool.close()


def test_a_transaction_whose_commit_fails_is_taken_back(tmp_path: Path) -> None:
    connection = open_database(
        tmp_path / "a.sqlite",
        "CREATE TABLE parents (id INTEGER PRIMARY KEY); CREATE TABLE children (parent INTEGER"
        " REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    connection.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError), transaction(connection):
        connection.execute("INSERT INTO children VALUES (1)")
    with transaction(connection):
        connection.execute("INSERT INTO parents VALUES (1)")
    assert connection.execute("SELECT count(*) FROM children").fetchone() == (0,)
    connection.close()
