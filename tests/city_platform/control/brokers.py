"""A broker that a test kills and brings back on the port that it had."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from city_platform.provisioning.pki import open_pki
from runtime.clock import SystemClock
from tests.city_platform.control.installed import Control
from tests.city_platform.control.patient_server import PatientServer
from tests.city_platform.together.installation import SERVICES, TOKEN, Installation
from tests.processes import WITHIN_S


class Broker:
    """The embedded broker, as a process."""

    def __init__(self, folder: Path) -> None:
        self.address = ""
        self._file = folder / "broker.json"
        self._config: dict[str, object] = {
            "kind": "embedded",
            "ca_file": str(folder / "pki" / "ca.pem"),
            "certificate_file": str(folder / "pki" / "broker.pem"),
            "key_file": str(folder / "pki" / "broker.key"),
            "state_dir": str(folder / "broker"),
            "servers": ["north"],
        }
        (folder / "broker").mkdir()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self._file.write_bytes(msgspec.json.encode(self._config))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "harness.mqtt_broker", "--config", str(self._file),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            line = await self._process.stdout.readline()
        self.address = msgspec.json.decode(line)["ready"]["mqtt"]
        self._config["port"] = int(self.address.rpartition(":")[2])

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await asyncio.wait_for(self._process.wait(), WITHIN_S)


@contextlib.asynccontextmanager
async def restartable(folder: Path) -> AsyncIterator[tuple[Control, Broker]]:
    """As `controlled`, with the broker in the test's hands."""
    open_pki(folder / "pki", SERVICES, ["127.0.0.1"], SystemClock().wall_us(), os.urandom)
    (folder / "token").write_text(TOKEN)
    broker = Broker(folder)
    await broker.start()
    parts = Installation(folder, broker.address)
    try:
        server = PatientServer("north")
        await server.open(TOKEN)
        parts.servers.append(server)
        await parts.start("bridge:north", data_interface=server.address)
        yield Control(parts, server), broker
    finally:
        await parts.close()
        await broker.kill()
