"""Control, a bridge and a scripted server on a real broker, and what tests ask of control."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from city_platform.stores.device_directory import DirectoryEntry, SqliteDeviceDirectory
from contracts.api import FINAL_COMMAND_STATES
from tests.city_platform.control.patient_server import PatientServer
from tests.city_platform.together.installation import TOKEN, Installation, installation
from tests.processes import WITHIN_S

Json = dict[str, Any]


class Control:
    """The HTTP interface of a control that may be killed and started again."""

    def __init__(self, parts: Installation, server: PatientServer) -> None:
        self.parts = parts
        self.server = server
        self.config: Json = {}

    async def start(self, **changes: Any) -> None:
        self.config = {"directory_file": str(self.parts.folder / "devices.sqlite"), **changes}
        await self.parts.start("control", **self.config)

    async def restart(self) -> None:
        await self.parts.kill("control")
        await self.parts.start("control", **self.config)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        address = self.parts.addresses["control"]["http"]
        async with httpx.AsyncClient(
            base_url=f"http://{address}",
            headers={"Authorization": f"Bearer {TOKEN}", **headers},
            timeout=WITHIN_S,
        ) as client:
            return await client.request(method, path, json=body)

    async def get(self, path: str) -> Json:
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    async def post(self, path: str, body: Any = None, **headers: str) -> Json:
        answer = await self.ask("POST", path, body, **headers)
        assert answer.status_code == 202, answer.text
        found: Json = answer.json()
        return found

    async def until(
        self, path: str, condition: Callable[[Json], bool], within_s: float = WITHIN_S
    ) -> Json:
        async with asyncio.timeout(within_s):
            while True:
                found = await self.get(path)
                if condition(found):
                    return found
                await asyncio.sleep(0.02)

    async def until_ended(self, record: Json) -> Json:
        is_group = record["id"].startswith("grp-")
        kind = "group-commands" if is_group else "commands"
        return await self.until(
            f"/v1/{kind}/{record['id']}",
            lambda found: found["state"] == "ended" or found["state"] in FINAL_COMMAND_STATES,
        )

    async def provision(self, *devices: tuple[str, str, str]) -> None:
        """Put (endpoint, tenant, group) into the directory."""
        directory = SqliteDeviceDirectory(self.parts.folder / "devices.sqlite")
        await directory.put(
            [
                DirectoryEntry(
                    endpoint=endpoint,
                    tenant=tenant,
                    site="pier",
                    group=group,
                    model="street_lamp",
                    serial=endpoint,
                    street="Quay",
                    latitude=53.5,
                    longitude=9.9,
                    installed_on="2026-01-01",
                    attributes={"feeder": "F1"},
                )
                for endpoint, tenant, group in devices
            ]
        )
        directory.close()


@contextlib.asynccontextmanager
async def controlled(folder: Path) -> AsyncIterator[Control]:
    """Server `north` (a patient one) and its bridge are there; control is started by the test."""
    async with installation(folder, "embedded") as (parts, _):
        server = PatientServer("north")
        await server.open(TOKEN)
        parts.servers.append(server)
        await parts.start("bridge:north", data_interface=server.address)
        yield Control(parts, server)


Story = Callable[[Control], Awaitable[None]]


async def told(folder: Path, story: Story) -> None:
    """Run a story in an installation of its own."""
    async with controlled(folder) as control:
        await story(control)
