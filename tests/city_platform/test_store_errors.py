"""What is answered while a disk or a database takes nothing, and what `/readyz` says of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.store_errors import REFUSED_FOR_S, StoreTrouble, TroubleAtReadiness
from city_platform.stores import passing
from city_platform.stores.passing import is_passing, keep_running
from runtime.http import bind, json_response, make_app, serving
from runtime.http_client import HttpClient, HttpError

FULL = sqlite3.OperationalError("database or disk is full")
Raises = list[Exception]


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.at_ns = 0

    def now_ns(self) -> int:
        return self.at_ns


def asked(
    folder: Path | None, raises: Raises, story: Callable[[HttpClient, Clock], Awaitable[None]]
) -> None:
    """Run `story` with a component whose one route raises what is in `raises`."""

    async def work(request: Request) -> Response:
        for error in raises:
            raise error
        return json_response({"status": "ok"})

    async def ready(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def run() -> None:
        clock = Clock()
        trouble = StoreTrouble(folder, clock.now_ns)
        app = make_app([Route("/work", work), Route("/readyz", ready)], None, trouble.answers)
        async with (
            serving(TroubleAtReadiness(app, trouble), bind("127.0.0.1", 0)) as address,
            HttpClient(address, "nobody's") as client,
        ):
            await story(client, clock)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FULL, "database or disk is full"),
        (sqlite3.OperationalError("database is locked"), "database is locked"),
        (OSError(errno.ENOSPC, "No space left on device", "/secret/path"), "No space left"),
    ],
)
def test_a_store_that_takes_nothing_is_a_503_and_is_told_at_readiness(
    tmp_path: Path, error: Exception, says: str
) -> None:
    raises = [error]

    async def story(client: HttpClient, clock: Clock) -> None:
        await client.get("/readyz", dict)
        with pytest.raises(HttpError, match=f"503.*{says}") as refused:
            await client.get("/work", dict)
        assert "/secret/path" not in str(refused.value)
        with pytest.raises(HttpError, match=f"503.*{says}"):
            await client.get("/readyz", dict)
        raises.clear()
        await client.get("/work", dict)
        clock.at_ns = int(REFUSED_FOR_S * 1e9)
        await client.get("/readyz", dict)

    asked(tmp_path, raises, story)


def test_what_is_wrong_with_us_is_a_500_and_not_called_the_disk(tmp_path: Path) -> None:
    async def story(client: HttpClient, clock: Clock) -> None:
        with pytest.raises(HttpError, match="500"):
            await client.get("/work", dict)
        await client.get("/readyz", dict)

    asked(tmp_path, [ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")], story)


def test_a_damaged_store_is_said_at_readiness_until_it_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "devices.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE devices (name TEXT)")
        database.executemany("INSERT INTO devices VALUES (?)", [("x" * 500,)] * 100)
        database.commit()
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"not a page" * 1_000)
    with (
        contextlib.closing(sqlite3.connect(path)) as database,
        pytest.raises(sqlite3.DatabaseError) as damage,
    ):
        database.execute("SELECT * FROM devices").fetchall()
    raises: Raises = [damage.value]

    async def story(client: HttpClient, clock: Clock) -> None:
        await client.get("/readyz", dict)
        with pytest.raises(HttpError, match=r"503.*a store is damaged.*malformed"):
            await client.get("/work", dict)
        raises.clear()
        clock.at_ns = int(10 * REFUSED_FOR_S * 1e9)
        with pytest.raises(HttpError, match=r"503.*malformed.*restore it from a backup"):
            await client.get("/readyz", dict)

    asked(tmp_path, raises, story)


def test_a_statement_that_is_wrong_is_a_500_and_no_damage(tmp_path: Path) -> None:
    async def story(client: HttpClient, clock: Clock) -> None:
        with pytest.raises(HttpError, match="500"):
            await client.get("/work", dict)
        await client.get("/readyz", dict)

    asked(tmp_path, [sqlite3.IntegrityError("UNIQUE constraint failed")], story)


def test_a_component_whose_folder_takes_nothing_is_not_ready_and_says_which(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"

    async def story(client: HttpClient, clock: Clock) -> None:
        with pytest.raises(HttpError, match=r"503.*state takes no 64 KiB"):
            await client.get("/readyz", dict)
        folder.mkdir()
        await client.get("/readyz", dict)
        assert list(folder.iterdir()) == []

    asked(folder, [], story)


def test_a_loop_goes_on_after_a_full_disk_and_ends_of_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passing, "RETRY_S", 0.0)
    ends: list[Exception] = [FULL, OSError(errno.ENOSPC, "full"), ValueError("ours")]

    async def run() -> None:
        raise ends.pop(0)

    with pytest.raises(ValueError, match="ours"):
        asyncio.run(keep_running(run, "a loop"))
    assert ends == []
    assert not is_passing(sqlite3.IntegrityError("UNIQUE constraint failed"))
