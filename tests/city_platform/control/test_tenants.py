"""What is another tenant's is as if it were not there, and who issued a command is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from city_platform.control.desk import CommandDesk, Times
from city_platform.control.dispatch import Dispatch
from city_platform.control.group_driver import GroupDriver
from city_platform.control.group_routes import GroupRoutes
from city_platform.control.group_service import GroupLimits, GroupService
from city_platform.control.group_store import GroupStore
from city_platform.control.members import Devices, DirectoryDevices, NoDevices
from city_platform.control.requests import builtin_names
from city_platform.control.routes import ControlRoutes
from city_platform.control.rows import HolderRow
from city_platform.control.service import CommandService
from city_platform.control.store import CommandStore
from city_platform.identity.callers import Caller, Grant
from city_platform.identity.gate import CALLER
from city_platform.stores.device_directory import DirectoryEntry, SqliteDeviceDirectory
from contracts.topics import Topics
from mqtt.transport.client import MqttClient
from runtime.clock import SystemClock
from runtime.http import make_app

READ = {"operation": "read", "path": "/3/0"}
DEVICES = {"lamp-1": "harbour", "lamp-2": "harbour", "lamp-3": "hills"}

Ask = Callable[..., Awaitable[httpx.Response]]


def controller(name: str, *tenants: str) -> Caller:
    grants = frozenset(Grant(tenant, "controller") for tenant in tenants)
    return Caller(kind="user", name=name, subject=name, grants=grants)


MARIA, OTTO, ROOT = (
    controller("maria", "harbour"),
    controller("otto", "hills"),
    controller("credentials", "*"),
)


def as_caller(app: ASGIApp, caller: Caller) -> ASGIApp:
    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, CALLER: caller}, receive, send)

    return called


async def filled(folder: Path) -> SqliteDeviceDirectory:
    """A directory of all devices."""
    directory = SqliteDeviceDirectory(folder / "devices.sqlite")
    await directory.put(
        [
            DirectoryEntry(
                endpoint=endpoint, tenant=tenant, site="s", group="g", model="street_lamp",
                serial=endpoint, street="", latitude=0, longitude=0, installed_on="2026-01-01",
                attributes={},
            )
            for endpoint, tenant in DEVICES.items()
        ]
    )  # fmt: skip
    return directory


def unconnected(clock: SystemClock) -> MqttClient:
    """A client that has no broker."""
    return MqttClient(
        client_id="svc:control", address=("127.0.0.1", 1), tls=None, clock=clock,
        chance=lambda: 0.0,
    )  # fmt: skip


async def opened(
    folder: Path,
    story: Callable[[Ask], Awaitable[None]],
    *,
    holders: Sequence[HolderRow] = (),
    has_directory: bool = True,
) -> None:
    """Control's routes over a real store, with a client that has no broker."""
    clock = SystemClock()
    devices: Devices = DirectoryDevices(await filled(folder))
    if not has_directory:
        await devices.close()
        devices = NoDevices()
    store = CommandStore(folder / "control.sqlite")
    desk = CommandDesk(Topics(), Times(), lambda: 0.0, holders=holders)
    dispatch = Dispatch(desk, store, Topics(), clock)
    dispatch.use_client(unconnected(clock))
    groups = GroupStore(store)
    driver = GroupDriver(groups, dispatch, clock, 100)
    commands = CommandService(dispatch, store, devices, clock, 3)
    service = GroupService(groups, driver, devices, commands, clock, GroupLimits(devices_max=2))
    ids = iter(range(1_000))
    names = builtin_names()

    def draw(size: int) -> bytes:
        return next(ids).to_bytes(size)

    app = make_app(
        [
            *ControlRoutes(commands, names, draw).routes,
            *GroupRoutes(service, commands, names, draw).routes,
        ],
        None,
    )

    async def ask(caller: Caller, method: str, path: str, body: Any = None) -> httpx.Response:
        transport = httpx.ASGITransport(as_caller(app, caller))
        async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
            return await client.request(method, path, json=body)

    try:
        await story(ask)
    finally:
        await dispatch.close()
        await store.close()
        await devices.close()


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Callable[[Ask], Awaitable[None]]], None]:
    return lambda story: asyncio.run(opened(tmp_path, story))


Tell = Callable[[Callable[[Ask], Awaitable[None]]], None]


def test_a_command_is_its_tenants_alone_and_says_who_issued_it(tell: Tell) -> None:
    async def story(ask: Ask) -> None:
        issued = (await ask(MARIA, "POST", "/v1/devices/lamp-1/commands", READ)).json()
        assert issued["issued_by"] == "maria"
        path = f"/v1/commands/{issued['id']}"
        assert (await ask(MARIA, "GET", path)).status_code == 200
        for method, what in (("GET", path), ("POST", f"{path}/cancel")):
            other = await ask(OTTO, method, what)
            missing = await ask(OTTO, method, what.replace("cmd-", "cmd-f"))
            assert (other.status_code, missing.status_code) == (404, 404)
        assert (await ask(OTTO, "GET", "/v1/commands")).json()["commands"] == []
        assert (await ask(OTTO, "GET", "/v1/devices/lamp-1/commands")).json()["commands"] == []
        assert len((await ask(MARIA, "GET", "/v1/commands")).json()["commands"]) == 1
        assert (await ask(ROOT, "POST", f"{path}/cancel")).json()["state"] == "cancelled"

    tell(story)


def test_a_group_is_what_the_caller_may_command(tell: Tell) -> None:
    async def story(ask: Ask) -> None:
        every = {"target": {"search": {"model": "street_lamp"}}, "command": READ}
        group = (await ask(MARIA, "POST", "/v1/commands", every)).json()
        assert (group["devices"], group["issued_by"]) == (2, "maria")
        path = f"/v1/group-commands/{group['id']}"
        found = (await ask(MARIA, "GET", f"{path}/commands")).json()["commands"]
        assert [one["endpoint"] for one in found] == ["lamp-1", "lamp-2"]
        for method, what in (
            ("GET", path), ("GET", f"{path}/commands"), ("POST", f"{path}/cancel"),
        ):  # fmt: skip
            assert (await ask(OTTO, method, what)).status_code == 404
        assert (await ask(OTTO, "GET", "/v1/group-commands")).json()["group_commands"] == []
        for target in ({"tenant": "harbour"}, {"devices": ["lamp-1"]}, {"group": "harbour/g"}):
            refused = await ask(OTTO, "POST", "/v1/commands", {"target": target, "command": READ})
            assert refused.status_code == 422
        one = {"target": {"devices": ["ghost"]}, "command": READ}
        told = [
            (await ask(OTTO, "POST", "/v1/commands", body)).json()["detail"]
            for body in (one, {"target": {"devices": ["lamp-1"]}, "command": READ})
        ]
        assert told[0].replace("ghost", "lamp-1") == told[1]

    tell(story)


def test_limits_are_said_with_what_to_do(tell: Tell) -> None:
    async def story(ask: Ask) -> None:
        every = {"target": {"search": {"model": "street_lamp"}}, "command": READ}
        many = await ask(ROOT, "POST", "/v1/commands", every)
        assert "more than 2 devices: narrow it" in many.json()["detail"]
        for _ in range(3):
            issued = await ask(ROOT, "POST", "/v1/devices/lamp-1/commands", READ)
            # Nobody is told from the bridges' own commands by name.
            assert issued.json()["issued_by"] == "user:credentials"
        full = await ask(ROOT, "POST", "/v1/devices/lamp-1/commands", READ)
        assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
        large = await ask(ROOT, "POST", "/v1/devices/lamp-1/commands", "x" * 70_000)
        assert large.status_code == 413
        assert (await ask(ROOT, "POST", "/v1/devices/a.b/commands", READ)).status_code == 422

    tell(story)


def test_a_command_to_a_device_that_nobody_knows_is_answered_at_once(tmp_path: Path) -> None:
    async def story(ask: Ask) -> None:
        answer = await ask(ROOT, "POST", "/v1/devices/lamp-99/commands", READ)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        found = answer.json()
        assert found["title"] == "unknown device"
        assert "'lamp-99'" in found["detail"]
        # Nothing is kept of it, and one that was imported and is switched off is another thing.
        assert (await ask(ROOT, "GET", "/v1/commands")).json()["commands"] == []
        assert (await ask(ROOT, "POST", "/v1/devices/lamp-3/commands", READ)).status_code == 202

    asyncio.run(opened(tmp_path, story))


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"holders": [HolderRow("lamp-99", "north", "e", "r1")]}, id="registered"),
        pytest.param({"has_directory": False}, id="nobody_has_a_directory"),
    ],
)
def test_a_command_to_a_device_that_may_exist_is_taken(
    tmp_path: Path, known: dict[str, Any]
) -> None:
    async def story(ask: Ask) -> None:
        answer = await ask(ROOT, "POST", "/v1/devices/lamp-99/commands", READ)
        assert answer.status_code == 202

    asyncio.run(opened(tmp_path, story, **known))
