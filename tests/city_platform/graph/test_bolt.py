"""The device graph over Bolt: the official driver against ArcadeDB, or a Neo4j by URI.

ArcadeDB comes as a wheel with its own JVM (`pip install arcadedb-embedded neo4j`); without it these
tests are skipped. LAMPLIGHTER_TEST_NEO4J=bolt://host:port asks a Neo4j of the machine instead, and
LAMPLIGHTER_TEST_NEO4J_PASSWORD_FILE names a file with its user:password.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from city_platform.graph import BoltBackend, DeviceGraph, GraphUnavailable
from city_platform.graph.backend import GraphBackend
from tests.city_platform.graph import stories
from tests.city_platform.graph.database_process import DatabaseProcess

ROOT = Path(__file__).parents[3]
NEO4J = os.environ.get("LAMPLIGHTER_TEST_NEO4J")
HAS_DRIVER = importlib.util.find_spec("neo4j") is not None
HAS_SERVER = NEO4J is not None or importlib.util.find_spec("arcadedb_embedded") is not None
PASSWORD = "only-for-this-test"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_DRIVER, reason="the package neo4j is not installed"),
]
needs_server = pytest.mark.skipif(
    not HAS_SERVER, reason="neither arcadedb-embedded nor LAMPLIGHTER_TEST_NEO4J is there"
)


class Database(NamedTuple):
    """Where a graph database is and how it is entered."""

    uri: str
    database: str | None
    password_file: str | None


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if NEO4J is not None:
        yield Database(NEO4J, None, os.environ.get("LAMPLIGHTER_TEST_NEO4J_PASSWORD_FILE"))
        return
    folder = tmp_path_factory.mktemp("arcadedb")
    with arcadedb(folder) as uri:
        (folder / "password").write_text(f"root:{PASSWORD}\n")
        yield Database(uri, "devices", str(folder / "password"))


@contextlib.contextmanager
def arcadedb(folder: Path) -> Iterator[str]:
    port, http_port = free_port(), free_port()
    module = "tests.city_platform.graph.arcadedb_server"
    command = (sys.executable, "-m", module, str(folder / "databases"), str(port), str(http_port))
    with DatabaseProcess(command, folder, {"PYTHONPATH": str(ROOT)}) as process:
        process.wait_for(b"ready")
        yield f"bolt://127.0.0.1:{port}"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def told(database: Database, story: Callable[[GraphBackend], Awaitable[None]]) -> None:
    async def with_backend() -> None:
        backend = BoltBackend(*database)
        try:
            await story(backend)
        finally:
            await backend.close()

    asyncio.run(with_backend())


@needs_server
def test_generated_questions_are_answered_as_by_plain_python(database: Database) -> None:
    size = int(os.environ.get("LAMPLIGHTER_TEST_GRAPH_DEVICES", "200"))
    asked = int(os.environ.get("LAMPLIGHTER_TEST_GRAPH_QUESTIONS", "60"))
    told(database, lambda backend: stories.answers_as_the_oracle(backend, size, asked))


@needs_server
def test_changes_keep_answers_right(database: Database) -> None:
    told(database, lambda backend: stories.changes_keep_answers_right(backend, seed=5, steps=4))


@needs_server
def test_relations_are_followed(database: Database) -> None:
    told(database, stories.relations_are_followed)


@needs_server
def test_how_far_the_graph_has_come_is_kept_with_what_it_has(database: Database) -> None:
    told(database, stories.a_projection_is_kept)


@needs_server
def test_a_write_that_fails_in_its_middle_changes_nothing(database: Database) -> None:
    from city_platform.graph.queries import Statement
    from city_platform.graph.statements import MERGE_TENANTS

    async def story(backend: GraphBackend) -> None:
        graph = DeviceGraph(backend)
        await graph.open()
        await graph.clear(stories.BEGUN)
        with pytest.raises(GraphUnavailable):
            await backend.write(
                [Statement(MERGE_TENANTS, {"ids": ["t"]}), Statement("MATCH (", {})]
            )
        found = await backend.read(Statement("MATCH (t:Tenant) RETURN t.id AS id", {}))
        assert found == []

    told(database, story)


def test_a_database_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    uri = f"bolt://127.0.0.1:{free_port()}"

    async def story(backend: GraphBackend) -> None:
        with pytest.raises(GraphUnavailable, match=uri):
            await backend.open()

    told(Database(uri, None, None), story)


@pytest.mark.parametrize("content", [None, b"no colon", b":nobody", b"\xff:x"])
def test_a_wrong_password_file_is_named_and_not_shown(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)

    async def story(backend: GraphBackend) -> None:
        with pytest.raises(GraphUnavailable, match="password") as failed:
            await backend.open()
        assert "no colon" not in str(failed.value)

    told(Database("bolt://127.0.0.1:1", None, str(file)), story)


@needs_server
def test_a_database_says_nothing_of_what_a_query_might_do_better(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one whose Bolt knows no filter of that: it is asked without."""
    from city_platform.graph.queries import Statement

    async def story(backend: GraphBackend) -> None:
        await backend.open()
        await backend.read(Statement("MATCH (n:NobodyHasThis) RETURN n.nothing AS n", {}))
        await backend.open()

    told(database, story)
    assert [one for one in caplog.records if one.name == "neo4j.notifications"] == []
