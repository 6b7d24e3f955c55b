"""The platform's components in one loop, beside a scripted server and a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from city_platform import audit, bootstrap, bridge, control
from city_platform.provisioning.pki import open_pki
from contracts.credentials import BrokerCredentials, CredentialsDocument, Publication
from runtime.clock import SystemClock
from runtime.http_client import HttpClient
from tests.city_platform.together.scripted_server import ScriptedServer
from tests.processes import WITHIN_S, ended

SERVICES = ("svc:bridge:north", "svc:bridge:south", "svc:bootstrap", "svc:control", "svc:audit")
TOKEN = "token-of-this-test"

_COMPONENTS = {
    "bridge": (bridge.run, bridge.BridgeConfig),
    "bootstrap": (bootstrap.run, bootstrap.BootstrapConfig),
    "control": (control.run, control.ControlConfig),
    "audit": (audit.run, audit.AuditConfig),
}


class Installation:
    """Files, addresses, and the tasks of what runs."""

    def __init__(self, folder: Path, mqtt: str) -> None:
        self.folder = folder
        self.mqtt = mqtt
        self.servers: list[ScriptedServer] = []
        self.clients: list[HttpClient] = []
        self.running: dict[str, asyncio.Task[None]] = {}
        self.addresses: dict[str, Mapping[str, str]] = {}

    def add_credentials(self, endpoint: str, version: str = "v1") -> None:
        """Provision a device."""
        credentials = CredentialsDocument(
            endpoint=endpoint,
            version=version,
            broker=BrokerCredentials(
                uri="mqtts://127.0.0.1:8883",
                client_id=endpoint,
                certificate=b"certificate",
                ca_certificate=b"ca",
                secret_key=f"the secret key of {endpoint}".encode(),
            ),
            publications=[
                Publication(instance=n, source="</3416>", topic=f"devices/{endpoint}/{what}")
                for n, what in enumerate(("state", "alarm"))
            ],
        )
        path = self.folder / "objects" / "credentials" / f"{endpoint}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(credentials))

    async def start(self, name: str, **changes: Any) -> None:
        """Start a component and wait until it is ready. `bridge:south` is a bridge too."""
        kind, _, server = name.partition(":")
        run, config_type = _COMPONENTS[kind]
        identity = f"svc:{name}"
        config = {**self._config(kind, identity), **changes}
        if server:
            config["server"] = server
        ready = asyncio.Event()

        def tell(addresses: Mapping[str, str]) -> None:
            self.addresses[name] = addresses
            ready.set()

        task = asyncio.ensure_future(run(msgspec.convert(config, config_type), SystemClock(), tell))
        self.running[name] = task
        waiting = asyncio.ensure_future(ready.wait())
        async with asyncio.timeout(WITHIN_S):
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()

    async def kill(self, name: str) -> None:
        """End a component at once; its memory is gone."""
        task = self.running.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def http(self, name: str) -> HttpClient:
        """A client of a component's HTTP interface; it is closed with the installation."""
        client = HttpClient(self.addresses[name]["http"], TOKEN)
        self.clients.append(client)
        return client

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        for name in list(self.running):
            await self.kill(name)
        for server in self.servers:
            await server.close()

    async def open_server(self, name: str) -> ScriptedServer:
        """One more LwM2M server; it is closed with the installation."""
        server = ScriptedServer(name)
        await server.open(TOKEN)
        self.servers.append(server)
        return server

    def _config(self, kind: str, identity: str) -> dict[str, Any]:
        pki = self.folder / "pki"
        name = identity.replace(":", "_")
        broker = {
            "address": self.mqtt,
            "ca_file": str(pki / "ca.pem"),
            "certificate_file": str(pki / f"{name}.pem"),
            "key_file": str(pki / f"{name}.key"),
        }
        common = {"broker": broker, "token_file": str(self.folder / "token")}
        if kind == "bridge":
            return {**common, "reconnect_s": 0.01}
        common["state_dir"] = str(self.folder / kind)
        if kind == "audit":
            return common
        if kind == "control":
            return {**common, "times": {"first_s": 0.3}}
        return {
            **common,
            "objects_dir": str(self.folder / "objects"),
            "pki_dir": str(pki),
            "times": {"first_s": 0.3},
        }


@contextlib.asynccontextmanager
async def installation(
    folder: Path, broker: str
) -> AsyncIterator[tuple[Installation, ScriptedServer]]:
    """An installation on a broker of that kind, and server `north`."""
    open_pki(folder / "pki", SERVICES, ["127.0.0.1"], SystemClock().wall_us(), os.urandom)
    (folder / "token").write_text(TOKEN)
    async with _broker(folder, broker) as mqtt:
        found = Installation(folder, mqtt)
        try:
            yield found, await found.open_server("north")
        finally:
            await found.close()


async def until(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Wait for a condition of the scripted server or a component."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # any condition, without an event for each
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def _broker(folder: Path, kind: str) -> AsyncIterator[str]:
    """A broker with the policy table in force, as a process; yields its `host:port`."""
    pki = folder / "pki"
    state = folder / "broker"
    state.mkdir()
    config = {
        "kind": kind,
        "ca_file": str(pki / "ca.pem"),
        "certificate_file": str(pki / "broker.pem"),
        "key_file": str(pki / "broker.key"),
        "state_dir": str(state),
        "servers": ["north", "south"],
    }
    (folder / "broker.json").write_bytes(msgspec.json.encode(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness.mqtt_broker", "--config", str(folder / "broker.json"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            line = await process.stdout.readline()
        yield msgspec.json.decode(line)["ready"]["mqtt"]
    finally:
        await ended(process)
