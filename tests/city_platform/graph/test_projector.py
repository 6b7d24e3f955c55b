"""The graph follows the directory: after changes, kills, backups, and a database that was gone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from city_platform.graph import (
    DeviceGraph,
    GraphProjector,
    GraphQuery,
    GraphUnavailable,
    KgliteBackend,
    Projection,
)
from city_platform.graph.backend import NO_CHANGES, DeviceChanges
from city_platform.graph.queries import Statement
from city_platform.stores.device_directory import DirectoryChange, SqliteDeviceDirectory
from tests.city_platform.graph.city import entry
from tests.processes import WITHIN_S

CHANCE = random.Random(5)
ENTRIES = [entry(number, CHANCE) for number in range(40)]


class Failing(KgliteBackend):
    """A graph database that can be reached only as long as it has `luck`."""

    def __init__(self, luck: int = 10**9) -> None:
        super().__init__()
        self.luck = luck

    async def write(
        self, statements: Sequence[Statement], changes: DeviceChanges = NO_CHANGES
    ) -> None:
        """Half of the statements reach it when the luck ends: it has no transactions."""
        self.luck -= 1
        if self.luck < 0:
            await super().write(statements[: len(statements) // 2], changes)
            raise GraphUnavailable("gone for a moment")
        await super().write(statements, changes)

    async def find(self, query: GraphQuery) -> list[Mapping[str, Any]]:
        if self.luck < 0:
            raise GraphUnavailable("gone for a moment")
        return await super().find(query)

    async def read(self, statement: Statement) -> list[Mapping[str, Any]]:
        if self.luck < 0:
            raise GraphUnavailable("gone for a moment")
        return await super().read(statement)


def following(
    kept: SqliteDeviceDirectory,
    graph: DeviceGraph,
    settle_s: float = 2.0,
    now_ns: Callable[[], int] = lambda: 0,
) -> GraphProjector:
    """A projector of the directory d1 whose tries chance does not put off."""
    return GraphProjector(kept, graph, "d1", now_ns, lambda: 0.999, settle_s)


@contextlib.asynccontextmanager
async def directory(tmp_path: Path) -> AsyncIterator[SqliteDeviceDirectory]:
    found = SqliteDeviceDirectory(tmp_path / "devices.sqlite")
    try:
        yield found
    finally:
        found.close()


async def is_the_same(kept: SqliteDeviceDirectory, graph: DeviceGraph) -> bool:
    """Whether the graph has exactly what the directory has."""
    from city_platform.stores.device_directory import DeviceQuery

    there = await kept.search(DeviceQuery())
    found = await graph.search(GraphQuery(limit=1_000))
    assert await graph.count() == len(there)
    return [(one.endpoint, one.street) for one in found] == [
        (one.endpoint, one.street) for one in there
    ]


def test_puts_replacements_firmware_and_deletions_arrive(tmp_path: Path) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:30])
            graph = DeviceGraph(KgliteBackend())
            projector = following(kept, graph)
            await projector.follow()
            assert await is_the_same(kept, graph)
            moved = entry(3, random.Random(9))
            await kept.put([moved, *ENTRIES[30:]])
            await kept.delete([ENTRIES[0].endpoint, "nobody"])
            assert await kept.put_firmware(ENTRIES[1].endpoint, "9.9")
            assert not await kept.put_firmware(ENTRIES[0].endpoint, "9.9")
            await projector.follow()
            assert await is_the_same(kept, graph)
            found = await graph.search(GraphQuery(firmware="9.9"))
            assert [one.endpoint for one in found] == [ENTRIES[1].endpoint]
            assert projector.revision == await kept.revision()
            await graph.close()

    asyncio.run(story())


@pytest.mark.parametrize("luck", range(5))
def test_wherever_it_fails_it_goes_on_to_the_same_graph(tmp_path: Path, luck: int) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:20])
            backend = Failing()
            graph = DeviceGraph(backend)
            projector = following(kept, graph, settle_s=0)
            if luck > 2:  # it fails in following, not in filling
                await projector.follow()
                await kept.put(ENTRIES[10:])
                await kept.delete([ENTRIES[2].endpoint])
            backend.luck = luck if luck <= 2 else luck - 3
            with contextlib.suppress(GraphUnavailable):
                await projector.follow()
            backend.luck = 10**9
            # As after a restart: nothing is remembered but what the graph says.
            again = following(kept, graph)
            await again.follow()
            assert await is_the_same(kept, graph)
            await graph.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "stale",
    [
        Projection("another", 3, True),  # follows another directory
        Projection("d1", 10**6, True),  # the directory came out of a backup
        Projection("d1", 3, False),  # was being filled
    ],
)
def test_what_cannot_be_gone_on_with_is_filled_again(tmp_path: Path, stale: Projection) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:5])
            graph = DeviceGraph(KgliteBackend())
            await graph.open()
            from city_platform.graph.devices import found_device

            await graph.put([found_device(ENTRIES[39], None)], [], stale)
            await following(kept, graph).follow()
            assert await is_the_same(kept, graph)
            await graph.close()

    asyncio.run(story())


def test_who_asks_waits_for_what_was_put_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            graph = DeviceGraph(KgliteBackend())
            projector = following(kept, graph, settle_s=3600)
            task = asyncio.ensure_future(projector.run())
            await kept.put(ENTRIES[:5])
            assert await projector.caught_up(within_s=30)
            assert await graph.count() == 5
            await kept.put(ENTRIES[5:9])
            assert await projector.caught_up(within_s=30)
            assert await graph.count() == 9
            task.cancel()
            await asyncio.wait({task})
            await graph.close()

    asyncio.run(story())


def test_a_graph_that_is_gone_says_why_and_is_not_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:5])
            graph = DeviceGraph(Failing(luck=0))
            projector = following(kept, graph, settle_s=0)
            task = asyncio.ensure_future(projector.run())
            assert not await projector.caught_up(within_s=0.2)
            assert "gone for a moment" in projector.last_problem
            task.cancel()
            await asyncio.wait({task})
            await graph.close()

    asyncio.run(story())


def test_what_failed_a_reader_is_looked_at_and_followed_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:5])
            backend = Failing()
            graph = DeviceGraph(backend)
            projector = following(kept, graph, settle_s=3600)
            assert await projector.check(within_s=30) == ""  # nothing was written yet
            task = asyncio.ensure_future(projector.run())
            assert await projector.caught_up(within_s=30)
            assert await projector.check(within_s=30) == ""
            backend.luck = -1
            assert "gone for a moment" in await projector.check(within_s=30)
            assert not await projector.caught_up(within_s=30)
            backend.luck = 10**9
            while not await projector.caught_up(within_s=30):
                pass
            assert await projector.check(within_s=30) == ""
            assert await is_the_same(kept, graph)
            task.cancel()
            await asyncio.wait({task})
            await graph.close()

    asyncio.run(story())


def test_a_graph_that_was_emptied_behind_our_back_is_filled_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:5])
            graph = DeviceGraph(KgliteBackend())
            projector = following(kept, graph, settle_s=0)
            await projector.follow()
            await graph.clear(Projection("d1", 0, True))
            assert "not what was written" in await projector.check(within_s=30)
            await projector.follow()
            assert await is_the_same(kept, graph)
            await graph.close()

    asyncio.run(story())


def test_a_directory_of_the_first_version_is_followed_from_its_devices(tmp_path: Path) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:5])
        connection = sqlite3.connect(tmp_path / "devices.sqlite")
        connection.executescript("DROP TABLE changes; DROP TABLE firmware;")
        connection.close()
        async with directory(tmp_path) as kept:
            changes = await kept.changes(0, 100)
            assert sorted(one.endpoint for one in changes) == sorted(
                one.endpoint for one in ENTRIES[:5]
            )
            assert all(one.entry is not None for one in changes)

    asyncio.run(story())


class Unreadable(SqliteDeviceDirectory):
    """A directory whose changes cannot be read as long as there is an `error`."""

    error: Exception | None = None

    async def changes(self, after: int, limit: int) -> list[DirectoryChange]:
        if self.error is not None:
            raise self.error
        return await super().changes(after, limit)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (sqlite3.OperationalError("database is locked"), "database is locked"),
        (sqlite3.OperationalError("database or disk is full"), "disk is full"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
def test_a_directory_that_cannot_be_read_is_told_and_followed_again_by_itself(
    tmp_path: Path, error: Exception, says: str
) -> None:
    async def story() -> None:
        kept = Unreadable(tmp_path / "devices.sqlite")
        await kept.put(ENTRIES[:5])
        graph = DeviceGraph(KgliteBackend())
        projector = following(kept, graph, settle_s=0)
        task = asyncio.ensure_future(projector.run())
        async with asyncio.timeout(60):
            assert await projector.caught_up(within_s=30)
            await kept.put(ENTRIES[5:9])
            kept.error = error
            assert not await projector.caught_up(within_s=30), "it does not wait for the end"
            matter = await projector.check(within_s=30)
            assert matter.startswith("the device directory cannot be read: ")
            assert says in matter
            assert projector.revision == 0
            kept.error = None
            while not await projector.caught_up(within_s=30):
                pass
            assert await projector.check(within_s=30) == ""
        assert await is_the_same(kept, graph)
        assert not task.done()
        task.cancel()
        await asyncio.wait({task}, timeout=WITHIN_S)
        await graph.close()
        kept.close()

    asyncio.run(story())


def test_a_graph_that_is_away_for_long_is_told_once_at_each_time_and_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "city_platform.graph")
    now_s = 0.0

    async def story() -> None:
        nonlocal now_s
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:5])
            backend = Failing(luck=0)
            graph = DeviceGraph(backend)
            projector = following(kept, graph, 0, lambda: int(now_s * 1e9))
            task = asyncio.ensure_future(projector.run())
            for at_s in (0.0, 1.0, 59.0, 61.0, 62.0, 700.0, 701.0):
                now_s = at_s
                # Who asks has it tried at once, and hears of that try.
                assert not await projector.caught_up(within_s=30)
            assert projector.away_s == 701.0
            backend.luck = 10**9
            async with asyncio.timeout(WITHIN_S):
                while not await projector.caught_up(within_s=30):
                    pass
            assert projector.away_s == 0.0
            task.cancel()
            await asyncio.wait({task}, timeout=WITHIN_S)
            await graph.close()

    asyncio.run(story())
    told = [(one.levelname, one.getMessage().partition(":")[0]) for one in caplog.records]
    assert [level for level, _ in told] == ["WARNING", "ERROR", "ERROR", "WARNING"]
    assert told[0][1].startswith("the device graph is behind, again in 0.1 s")
    assert "has been away for 61 s" in told[1][1]
    assert "has been away for 700 s" in told[2][1]
    assert told[3][1] == "the device graph is up to date again, after 701.0 s"


def test_a_database_that_comes_back_is_followed_by_itself_in_a_moment(tmp_path: Path) -> None:
    async def story() -> None:
        async with directory(tmp_path) as kept:
            await kept.put(ENTRIES[:5])
            backend = Failing(luck=0)
            graph = DeviceGraph(backend)
            projector = following(kept, graph, settle_s=0)
            task = asyncio.ensure_future(projector.run())
            assert not await projector.caught_up(within_s=30)
            backend.luck = 10**9
            # Nobody asks, and nobody wakes it.
            async with asyncio.timeout(WITHIN_S):
                while not projector.revision:
                    await vars(projector)["_moved"].wait()
                    vars(projector)["_moved"].clear()
            task.cancel()
            await asyncio.wait({task}, timeout=WITHIN_S)
            await graph.close()

    asyncio.run(story())


def test_what_is_wrong_with_the_directory_for_good_ends_the_projector(tmp_path: Path) -> None:
    async def story() -> None:
        kept = Unreadable(tmp_path / "devices.sqlite")
        kept.error = sqlite3.DatabaseError("database disk image is malformed")
        projector = following(kept, DeviceGraph(KgliteBackend()), settle_s=0)
        with pytest.raises(sqlite3.DatabaseError, match="malformed"):
            async with asyncio.timeout(60):
                await projector.run()
        kept.close()

    asyncio.run(story())
