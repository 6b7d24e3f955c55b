"""The device graph in a real Neo4j, over Bolt with the official driver, and while that is gone.

They run where Java 17 is and `python -m tests.city_platform.graph.fetch_neo4j` fetched Neo4j. It
plans each form of a question anew, which takes most of the time here:
LAMPLIGHTER_TEST_GRAPH_QUESTIONS=400 asks all that the bar wants.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from city_platform.graph import (
    BoltBackend,
    DeviceGraph,
    GraphQuery,
    GraphUnavailable,
)
from city_platform.graph.backend import GraphBackend
from city_platform.graph.queries import Statement
from city_platform.graph.statements import MERGE_TENANTS
from contracts.api import DevicePage
from runtime.http_client import HttpError
from tests.city_platform.graph import stories
from tests.city_platform.graph.fetch_neo4j import kept
from tests.city_platform.graph.neo4j_server import Neo4jServer
from tests.city_platform.graph.test_bolt import free_port
from tests.city_platform.provisioning.installation import Installation, installed
from tests.city_platform.provisioning.rows import as_csv, row
from tests.maven import PeerMissing

QUESTIONS = int(os.environ.get("LAMPLIGHTER_TEST_GRAPH_QUESTIONS", "100"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.neo4j,
    pytest.mark.timeout(300 + QUESTIONS),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neo4jServer]:
    if importlib.util.find_spec("neo4j") is None:
        pytest.skip("the package neo4j is not installed")
    try:
        jars = kept()
    except PeerMissing as missing:
        pytest.skip(f"Neo4j: {missing}")
    with Neo4jServer(jars, tmp_path_factory.mktemp("neo4j"), free_port()) as running:
        running.start()
        yield running


def told(server: Neo4jServer, story: Callable[[GraphBackend], Awaitable[None]]) -> None:
    async def with_backend() -> None:
        backend = BoltBackend(server.uri, None, None)
        try:
            await story(backend)
        finally:
            await backend.close()

    asyncio.run(with_backend())


def test_generated_questions_are_answered_as_by_plain_python(server: Neo4jServer) -> None:
    told(server, lambda backend: stories.answers_as_the_oracle(backend, 500, QUESTIONS))


def test_changes_keep_answers_right(server: Neo4jServer) -> None:
    told(server, lambda backend: stories.changes_keep_answers_right(backend, seed=6, steps=5))


def test_relations_are_followed(server: Neo4jServer) -> None:
    told(server, stories.relations_are_followed)


def test_a_write_that_fails_in_its_middle_changes_nothing(server: Neo4jServer) -> None:
    async def story(backend: GraphBackend) -> None:
        graph = DeviceGraph(backend)
        await graph.open()
        await graph.clear(stories.BEGUN)
        with pytest.raises(GraphUnavailable):
            await backend.write(
                [Statement(MERGE_TENANTS, {"ids": ["t"]}), Statement("MATCH (", {})]
            )
        assert await backend.read(Statement("MATCH (t:Tenant) RETURN t.id AS id", {})) == []

    told(server, story)


def test_a_restart_that_nobody_noticed_costs_nobody_an_error(server: Neo4jServer) -> None:
    async def story(backend: GraphBackend) -> None:
        graph = DeviceGraph(backend)
        await graph.open()
        await graph.clear(stories.BEGUN)
        await in_thread(server.stop)
        await in_thread(server.start)
        assert await graph.projection() == stories.BEGUN

    told(server, story)


def test_while_it_is_gone_that_is_said_and_after_it_all_is_there(
    server: Neo4jServer, tmp_path: Path
) -> None:
    async def story() -> None:
        async with installed(tmp_path, graph_uri=server.uri) as installation:
            await installation.bring(as_csv([row(n) for n in range(1, 4)]))
            await until(installation, "/v1/devices", 200)
            assert await answered(installation, "/readyz") == (200, "")
            await in_thread(server.stop)
            try:
                status, text = await answered(installation, "/readyz")
                assert status == 503
                assert server.uri in text
                status, text = await answered(installation, "/v1/devices?text=kade")
                assert status == 503
                assert await answered(installation, "/healthz") == (200, "")
                # What is provisioned meanwhile is taken, and waits for the graph.
                job, _ = await installation.bring(as_csv([row(n) for n in range(4, 7)]))
                assert job.created == 3
            finally:
                await in_thread(server.start)
            await until(installation, "/v1/devices", 200)
            assert await answered(installation, "/readyz") == (200, "")
            page = await installation.client.get("/v1/devices", DevicePage)
            assert [one.endpoint for one in page.devices] == [f"lamp-{n}" for n in range(1, 7)]

    asyncio.run(story())


def test_a_graph_that_somebody_emptied_is_seen_and_filled_again(
    server: Neo4jServer, tmp_path: Path
) -> None:
    async def story(backend: GraphBackend) -> None:
        from city_platform.stores.device_directory import SqliteDeviceDirectory
        from tests.city_platform.graph.test_projector import ENTRIES, following

        kept = SqliteDeviceDirectory(tmp_path / "devices.sqlite")
        await kept.put(ENTRIES[:5])
        graph = DeviceGraph(backend)
        projector = following(kept, graph, settle_s=0)
        await projector.follow()
        await graph.clear(stories.BEGUN)
        assert "not what was written" in await projector.check(within_s=30)
        await projector.follow()
        assert await projector.caught_up(within_s=0)
        assert len(await graph.search(GraphQuery())) == 5
        kept.close()

    told(server, story)


async def in_thread(function: Callable[[], None]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, function)


async def answered(installation: Installation, path: str) -> tuple[int, str]:
    """Status and problem of a GET."""
    try:
        await installation.client.get(path, object)
    except HttpError as error:
        return error.status, error.detail
    return 200, ""


async def until(installation: Installation, path: str, status: int) -> None:
    """Ask until the answer is this: each answer waits for the graph itself, a second or more."""
    async with asyncio.timeout(300):
        while (await answered(installation, path))[0] != status:
            pass
