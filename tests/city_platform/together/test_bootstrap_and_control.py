"""Bridge, bootstrap handler and control together: what a kill at any point must not break."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import uvloop

from contracts.api import FINAL_COMMAND_STATES, CommandRecord, CommandRequest
from contracts.data_interface import Operation, Value
from runtime.http_client import HttpClient, HttpError
from tests.city_platform.together.installation import (
    TOKEN,
    Installation,
    installation,
    until,
)
from tests.city_platform.together.scripted_server import ScriptedServer
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

TARGETS = ("bridge:north", "bootstrap", "control", "connection", "outcome")
HAS_MOSQUITTO = shutil.which("mosquitto") is not None or Path("/usr/sbin/mosquitto").exists()

Story = Callable[[Installation, ScriptedServer], Awaitable[None]]
Tell = Callable[[Story], None]


@pytest.fixture(
    params=[
        "embedded",
        pytest.param(
            "mosquitto",
            marks=[
                pytest.mark.mosquitto,
                pytest.mark.skipif(not HAS_MOSQUITTO, reason="needs a mosquitto program"),
            ],
        ),
    ]
)
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Tell:
    """Runs a story in an installation of its own."""

    def run(story: Story) -> None:
        async def inside() -> None:
            async with installation(tmp_path, request.param) as (parts, server):
                await story(parts, server)

        uvloop.run(inside())

    return run


def is_written(server: ScriptedServer, endpoint: str) -> bool:
    values = server.devices[endpoint].values
    return values.get("/18831/0/5") is True and values.get("/18831/1/5") is True


async def counts(parts: Installation, name: str) -> dict[str, int]:
    client = parts.http(name)
    try:
        return await client.get("/v1/counts", dict[str, int])
    finally:
        await client.close()


async def until_confirmed(parts: Installation, wanted: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = await counts(parts, "bootstrap")
            if found.get("confirmed", 0) >= wanted and found["pending"] == 0:
                return
            await asyncio.sleep(0.02)


def dim(level: int, operation: Operation = "write") -> bytes:
    values = [Value("/3416/0/1", "integer", level)] if operation == "write" else None
    path = "/3416/0/1" if operation == "write" else "/3/0/4"
    return msgspec.json.encode(CommandRequest(operation=operation, path=path, values=values))


async def post(client: HttpClient, endpoint: str, body: bytes) -> CommandRecord:
    return await client.send("POST", f"/v1/devices/{endpoint}/commands", body, CommandRecord)


async def until_ended(client: HttpClient, command_id: str) -> CommandRecord:
    async with asyncio.timeout(WITHIN_S):
        while True:
            record = await client.get(f"/v1/commands/{command_id}", CommandRecord)
            if record.state in FINAL_COMMAND_STATES:
                return record
            await asyncio.sleep(0.02)


def test_devices_get_their_credentials_and_obey(tell: Tell) -> None:
    async def story(parts: Installation, server: ScriptedServer) -> None:
        for number in range(20):
            parts.add_credentials(f"lamp-{number}")
        server.register("lamp-0")
        await parts.start("bootstrap")
        await parts.start("control")
        await parts.start("bridge:north", data_interface=server.address)
        for number in range(1, 20):
            server.register(f"lamp-{number}")
        server.register("stranger")
        await until(lambda: all(is_written(server, f"lamp-{n}") for n in range(20)))
        await until_confirmed(parts, 20)
        assert server.devices["stranger"].done == []
        # Told twice: by the snapshot and by the event before it, or once by the event.
        assert (await counts(parts, "bootstrap"))["ignored.no_credentials"] >= 1
        client = parts.http("control")
        record = await post(client, "lamp-3", dim(35))
        ended = await until_ended(client, record.id)
        assert (ended.state, ended.outcome and ended.outcome.code) == ("succeeded", "2.04")
        assert server.devices["lamp-3"].values["/3416/0/1"] == 35
        await client.close()
        await until(lambda: server.acknowledged == server.newest)

    tell(story)


def test_a_device_without_security_gets_nothing(tell: Tell) -> None:
    async def story(parts: Installation, server: ScriptedServer) -> None:
        parts.add_credentials("lamp-1")
        await parts.start("bootstrap")
        await parts.start("bridge:north", data_interface=server.address)
        server.register("lamp-1", mode="nosec")
        async with asyncio.timeout(WITHIN_S):
            while (await counts(parts, "bootstrap")).get("ignored.nosec") != 1:  # noqa: ASYNC110  # HTTP
                await asyncio.sleep(0.02)
        assert server.devices["lamp-1"].done == []

    tell(story)


def test_a_renewed_version_is_written_when_told(tell: Tell) -> None:
    async def story(parts: Installation, server: ScriptedServer) -> None:
        parts.add_credentials("lamp-1")
        await parts.start("bootstrap")
        await parts.start("bridge:north", data_interface=server.address)
        server.register("lamp-1")
        await until_confirmed(parts, 1)
        before = len(server.devices["lamp-1"].done)
        parts.add_credentials("lamp-1", "v2")
        client = parts.http("bootstrap")
        await client.send("POST", "/v1/devices/lamp-1/renewed", b"", dict[str, object])
        await until_confirmed(parts, 2)
        steps = [(one[1], one[2]) for one in server.devices["lamp-1"].done[before:]]
        assert ("write", "/18830/0") in steps
        assert steps[-1] == ("write_composite", "")
        await client.close()

    tell(story)


def test_commands_for_another_servers_device_are_ignored_by_this_bridge(tell: Tell) -> None:
    async def story(parts: Installation, server: ScriptedServer) -> None:
        south = await parts.open_server("south")
        await parts.start("control")
        await parts.start("bridge:north", data_interface=server.address, http="127.0.0.1:0")
        await parts.start("bridge:south", data_interface=south.address)
        # The only registration is south's; control hears of it or not, both must do.
        south.register("lamp-1")
        server.register("lamp-2")
        client = parts.http("control")
        record = await post(client, "lamp-1", dim(20))
        assert (await until_ended(client, record.id)).state == "succeeded"
        assert [one[0] for one in south.devices["lamp-1"].done] == [record.id]
        assert server.devices["lamp-2"].done == []
        await client.close()

    tell(story)


def test_a_command_for_nobodys_device_expires(tell: Tell) -> None:
    async def story(parts: Installation, server: ScriptedServer) -> None:
        await parts.start("control")
        client = parts.http("control")
        body = b'{"operation":"read","path":"/3/0","expires_in_s":0.2}'
        record = await post(client, "nobody", body)
        assert (await until_ended(client, record.id)).state == "expired"
        with pytest.raises(HttpError, match=r"422 .*path"):
            await post(client, "lamp-1", b'{"operation":"read","path":"x"}')
        with pytest.raises(HttpError, match="404"):
            await client.get("/v1/commands/none", CommandRecord)
        await client.close()

    tell(story)


def test_the_http_interface_is_guarded_and_its_requests_can_be_repeated(tell: Tell) -> None:
    async def story(parts: Installation, server: ScriptedServer) -> None:
        await parts.start("control")
        stranger = HttpClient(parts.addresses["control"]["http"], "another token")
        with pytest.raises(HttpError, match="401"):
            await post(stranger, "lamp-1", dim(1))
        await stranger.close()
        async with httpx.AsyncClient(
            base_url=f"http://{parts.addresses['control']['http']}",
            headers={"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "once"},
            timeout=WITHIN_S,
        ) as client:
            answers = [
                await client.post(f"/v1/devices/{endpoint}/commands", content=body)
                for endpoint, body in (
                    ("lamp-1", dim(1)),
                    ("lamp-1", dim(1)),
                    ("lamp-1", dim(2)),
                    ("lamp-2", dim(1)),
                    ("a.b", dim(1)),
                    ("lamp-1", b"x" * 70_000),
                )
            ]
        assert [one.status_code for one in answers] == [202, 202, 409, 202, 422, 413]
        first, second, _, other, *_ = (one.json().get("id") for one in answers)
        assert first == second != other
        assert "illegal endpoint name" in answers[4].json()["title"]

    tell(story)


@pytest.mark.parametrize("seed", range(3))
def test_kills_and_broken_connections_at_any_point_lose_and_repeat_nothing(
    tell: Tell, seed: int
) -> None:
    chance = random.Random(seed)
    devices = [f"lamp-{number}" for number in range(30)]

    async def disturb(parts: Installation, server: ScriptedServer) -> None:
        for _ in range(8):
            target = chance.choice(TARGETS)
            # Anywhere between two turns of the loop: frames, publishes and commits are under way.
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
            if target == "connection":
                server.cut()
            elif target == "outcome":
                server.is_cut_before_outcome = True
            else:
                await parts.kill(target)
                await start(parts, server, target)

    async def start(parts: Installation, server: ScriptedServer, name: str) -> None:
        if name == "bridge:north":
            await parts.start(name, data_interface=server.address)
        else:
            await parts.start(name)

    async def story(parts: Installation, server: ScriptedServer) -> None:
        for name in ("bootstrap", "control", "bridge:north"):
            await start(parts, server, name)
        for endpoint in devices:
            parts.add_credentials(endpoint)
        for endpoint in devices[:15]:
            server.register(endpoint)
        await disturb(parts, server)
        for endpoint in devices[15:]:
            server.register(endpoint)
        client = parts.http("control")
        issued = [await post(client, one, dim(35)) for one in devices]
        executed = [await post(client, one, dim(0, "execute")) for one in devices]
        await client.close()
        await disturb(parts, server)
        await until(lambda: all(is_written(server, endpoint) for endpoint in devices), 30)
        client = parts.http("control")
        for record in issued + executed:
            assert (await until_ended(client, record.id)).state == "succeeded"
        await client.close()
        assert set(server.sent.values()) == {1}
        for endpoint in devices:
            done = server.devices[endpoint].done
            assert sum(one[1] == "execute" for one in done) == 1
        await until(lambda: server.acknowledged == server.newest)

    tell(story)
