"""A full disk, a locked database, the broker gone: said, and nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from city_platform.control.rows import CommandRow
from city_platform.control.store import CommandStore
from contracts.api import CommandRequest
from tests.city_platform.control.brokers import restartable
from tests.city_platform.control.installed import Control, Story, told
from tests.city_platform.together.installation import until
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

READ = {"operation": "read", "path": "/3/0"}
EXECUTE = {"operation": "execute", "path": "/3/0/4"}

Tell = Callable[[Story], None]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    return lambda story: uvloop.run(told(tmp_path, story))


@contextmanager
def full_disk(database: Path) -> Iterator[None]:
    """No file of this process grows beyond what the database's log has now."""
    log = database.with_name(database.name + "-wal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody else writes, and does not end."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@pytest.mark.parametrize("fault", [full_disk, locked], ids=["full disk", "locked database"])
def test_a_disk_that_refuses_is_said_and_control_recovers_by_itself(
    tell: Tell, fault: Callable[[Path], Any]
) -> None:
    async def story(control: Control) -> None:
        await control.provision(("lamp-1", "harbour", "north"))
        await control.start()
        control.server.register("lamp-1")
        control.server.is_waiting = True
        accepted = await control.post("/v1/devices/lamp-1/commands", EXECUTE)
        await until(lambda: accepted["id"] in control.server.waiting)
        group = {"target": {"tenant": "harbour"}, "command": READ}
        with fault(control.parts.folder / "control" / "control.sqlite"):
            refused, of_group = await asyncio.gather(
                control.ask("POST", "/v1/devices/lamp-1/commands", READ),
                control.ask("POST", "/v1/commands", group),
            )
            for answer in (refused, of_group):
                assert answer.status_code == 503
                assert answer.headers["Retry-After"]
                assert answer.json()["title"] == "commands cannot be kept now"
            # An outcome that comes meanwhile is not lost.
            control.server.go_on()
            await control.until(
                f"/v1/commands/{accepted['id']}", lambda found: found["state"] == "succeeded"
            )
            await _until_readiness(control, 503)
        await _until_readiness(control, 200)
        ended = await control.until_ended(await control.post("/v1/commands", group))
        assert ended["states"] == {"succeeded": 1}
        await control.restart()
        kept = await control.get(f"/v1/commands/{accepted['id']}")
        assert kept["state"] == "succeeded"
        assert set(control.server.sent.values()) == {1}

    tell(story)


async def _until_readiness(control: Control, status: int) -> None:
    address = control.parts.addresses["control"]["http"]
    async with (
        asyncio.timeout(WITHIN_S),
        httpx.AsyncClient(base_url=f"http://{address}", timeout=WITHIN_S) as client,
    ):
        while (await client.get("/readyz")).status_code != status:  # noqa: ASYNC110  # over HTTP
            await asyncio.sleep(0.05)


def test_a_database_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    async def story() -> None:
        store = CommandStore(tmp_path / "control.sqlite")
        await store.close()
        database = sqlite3.connect(tmp_path / "control.sqlite")
        for index in (
            "commands_by_time",
            "commands_by_tenant",
            "commands_of_group",
            "states_of_group",
        ):
            database.execute(f"DROP INDEX {index}")
        for column in ("issued_by", "tenant", "group_id", "cancel_asked_at_us", "waits"):
            database.execute(f"ALTER TABLE commands DROP COLUMN {column}")
        database.execute("DROP TABLE group_commands")
        database.execute(
            "INSERT INTO commands VALUES ('c1', 'lamp-1', ?, 'sent', 1, 2, NULL, NULL, NULL)",
            (b'{"operation":"read","path":"/3"}',),
        )
        database.commit()
        database.close()
        store = CommandStore(tmp_path / "control.sqlite")
        assert await store.open_commands() == [
            CommandRow(
                id="c1", endpoint="lamp-1", request=CommandRequest(operation="read", path="/3"),
                state="sent", issued_at_us=1, expires_at_us=2,
            )
        ]  # fmt: skip
        await store.close()

    asyncio.run(story())


def test_while_the_broker_is_gone_commands_are_taken_and_go_out_when_it_is_back(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with restartable(tmp_path) as (control, broker):
            await control.provision(("lamp-1", "harbour", "north"))
            await control.start()
            control.server.register("lamp-1")
            await control.until_ended(await control.post("/v1/devices/lamp-1/commands", READ))
            await broker.kill()
            await _until_readiness(control, 503)
            single = await control.post("/v1/devices/lamp-1/commands", EXECUTE)
            group = await control.post(
                "/v1/commands", {"target": {"tenant": "harbour"}, "command": EXECUTE}
            )
            assert group["waiting"] == 1
            await broker.start()
            assert (await control.until_ended(single))["state"] == "succeeded"
            assert (await control.until_ended(group))["states"] == {"succeeded": 1}
            await _until_readiness(control, 200)
            assert set(control.server.sent.values()) == {1}

    uvloop.run(story())
