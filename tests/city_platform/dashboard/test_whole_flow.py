"""The whole platform in one process tree: sign in, upload, map, a value, a command, its audit."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from city_platform import audit, bridge, control, ingestion
from city_platform.broker_access import BrokerAccess
from city_platform.identity import AccessConfig
from city_platform.identity.config import ServiceToken
from mqtt.transport.client import MqttClient, client_tls
from runtime.clock import SystemClock
from tests.city_platform.dashboard.installation import Browser, Installation, installed
from tests.city_platform.dashboard.test_live_feed import feed
from tests.city_platform.ingestion.packs import state, state_topic
from tests.city_platform.together.scripted_server import ScriptedServer
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
HARBOUR = Path(__file__).parents[3] / "fixtures/cities/harbour_district.csv"
LAMP = "lamp-0001"
DEVICES = 100
EVERYTHING = [("*", role) for role in ("provisioner", "analyst", "controller")]


@contextlib.asynccontextmanager
async def broker(folder: Path) -> AsyncIterator[str]:
    """The embedded broker in a process of its own; yields its `host:port`."""
    pki = folder / "pki"
    (folder / "broker").mkdir()
    config = {
        "ca_file": str(pki / "ca.pem"),
        "certificate_file": str(pki / "broker.pem"),
        "key_file": str(pki / "broker.key"),
        "state_dir": str(folder / "broker"),
        "servers": ["north"],
    }
    (folder / "broker.json").write_bytes(msgspec.json.encode(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness.mqtt_broker", "--config", str(folder / "broker.json"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            line = await process.stdout.readline()
        yield msgspec.json.decode(line)["ready"]["mqtt"]
    finally:
        process.kill()
        await asyncio.wait_for(process.communicate(), WITHIN_S)


@contextlib.asynccontextmanager
async def city(folder: Path) -> AsyncIterator[tuple[Installation, ScriptedServer, str]]:
    """Everything but bootstrap, with a scripted server beside; yields the broker's address too."""
    async with installed(folder, starts_dashboard=False) as found:
        state_dir = folder / "provisioning"
        async with broker(state_dir) as mqtt:
            server = ScriptedServer("north")
            await server.open("data-token")
            (folder / "data_token").write_text("data-token")
            (folder / "dashboard_token").write_text("token-of-the-dashboard")
            try:
                await _start(found, server, mqtt)
                yield found, server, mqtt
            finally:
                for name in reversed(list(found.running)):
                    await found.stop(name)
                await server.close()


async def _start(found: Installation, server: ScriptedServer, mqtt: str) -> None:
    folder = found.folder
    pki = folder / "provisioning" / "pki"

    def access_to_broker(identity: str) -> dict[str, str]:
        name = identity.replace(":", "_")
        return {
            "address": mqtt,
            "ca_file": str(pki / "ca.pem"),
            "certificate_file": str(pki / f"{name}.pem"),
            "key_file": str(pki / f"{name}.key"),
        }

    directory = str(folder / "provisioning" / "devices.sqlite")

    def access(name: str) -> AccessConfig:
        return msgspec.structs.replace(
            found.access,
            service_tokens=(
                ServiceToken(
                    name="dashboard", file=str(folder / "dashboard_token"),
                    roles=("analyst", "controller"),
                ),
            ),
            audit_api=found.addresses["audit"]["http"],
            state_dir=str(folder / name),
        )  # fmt: skip

    await found.start(
        "audit", audit.run,
        audit.AuditConfig(
            state_dir=str(folder / "audit"), token_file=found.token_file, access=found.access,
            broker=BrokerAccess(**access_to_broker("svc:audit")),
            directory_file=directory,
        ),
    )  # fmt: skip
    common = {"token_file": found.token_file}
    for name, module, kind, more in (
        ("control", control, control.ControlConfig, {}),
        ("ingestion", ingestion, ingestion.IngestionConfig, {"directory_file": directory}),
    ):
        (folder / name).mkdir(exist_ok=True)
        config = {
            **common, **more, "broker": access_to_broker(f"svc:{name}"),
            "state_dir": str(folder / name), "access": msgspec.to_builtins(access(name)),
        }  # fmt: skip
        await found.start(name, module.run, msgspec.convert(config, kind))
    config = {
        "server": "north", "data_interface": server.address,
        "token_file": str(folder / "data_token"),
        "broker": access_to_broker("svc:bridge:north"), "reconnect_s": 0.01,
    }  # fmt: skip
    await found.start("bridge", bridge.run, msgspec.convert(config, bridge.BridgeConfig))
    await found.restart_dashboard(token_file=str(folder / "dashboard_token"))


@contextlib.asynccontextmanager
async def device(folder: Path, address: str, endpoint: str) -> AsyncIterator[MqttClient]:
    """A provisioned device at the broker, with what its credentials file says."""
    state_dir = folder / "provisioning"
    kept = msgspec.json.decode(
        (state_dir / "objects" / "credentials" / f"{endpoint}.json").read_bytes()
    )["broker"]
    certificate = x509.load_der_x509_certificate(base64.b64decode(kept["certificate"]))
    key = serialization.load_der_private_key(base64.b64decode(kept["secret_key"]), None)
    (folder / "device.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "device.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    host, _, port = address.rpartition(":")
    tls = client_tls(state_dir / "pki" / "ca.pem", folder / "device.pem", folder / "device.key")
    client = MqttClient(
        client_id=endpoint, address=(host, int(port)), tls=tls,
        clock=SystemClock(), chance=random.Random(1).random,
    )  # fmt: skip
    task = asyncio.ensure_future(client.run())
    try:
        await asyncio.wait_for(client.connected.wait(), WITHIN_S)
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_found(browser: Browser, path: str, name: str) -> list[dict[str, Any]]:
    """Ask until a list is not empty."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = await browser.get(path)
            assert answer.status_code == 200, answer.text
            if found := answer.json()[name]:
                return list(found)
            await asyncio.sleep(0.02)


def _harbour() -> bytes:
    """The first hundred devices of the harbour."""
    return b"".join(HARBOUR.read_bytes().splitlines(keepends=True)[: DEVICES + 1])


def test_a_lamp_is_found_dimmed_and_found_in_the_audit(tmp_path: Path) -> None:
    async def whole() -> None:
        async with city(tmp_path) as (installation, server, mqtt):
            await installation.set_up(ann=EVERYTHING, vic=[("port_of_merrow", "analyst")])
            ann = await installation.signed_in("ann")
            job = await installation.bring(ann, _harbour())
            assert job["state"] == "finished"
            assert job["created"] == DEVICES
            listed = (await ann.get("/api/provisioning/v1/imports")).json()["imports"]
            assert [(one["name"], one["created"], one["started_by"]) for one in listed] == [
                ("city one.csv", DEVICES, "ann")
            ]
            assert (await ann.get("/api/map")).json()["count"] == DEVICES
            server.register(LAMP)
            async with feed(ann) as events, device(tmp_path, mqtt, LAMP) as lamp:
                await events.next("hello")
                lamp.publish(state_topic(LAMP), state(LAMP, values={"3416/0/3": 0.4}), qos=1)
                while True:
                    _, data, _ = await events.next("changes")
                    values = [one.get("values") for one in data["devices"]]
                    if {"3416/0/3": 0.4} in values:
                        break
                sent = await ann.send(
                    "POST", f"/api/control/v1/devices/{LAMP}/commands",
                    {
                        "operation": "write", "path": "/3416/0/1",
                        "values": [{"path": "/3416/0/1", "type": "integer", "value": 40}],
                    },
                )  # fmt: skip
                assert sent.status_code == 202, sent.text
                assert sent.headers["location"].startswith("/api/control/v1/commands/")
                states: list[str] = []
                while "succeeded" not in states:
                    _, data, _ = await events.next("commands")
                    states += [one["state"] for one in data["commands"]]
            assert server.devices[LAMP].values["/3416/0/1"] == 40
            page = (await ann.get(f"/api/devices/{LAMP}")).json()
            assert page["problems"] == []
            (row,) = [one for one in page["resources"] if one["path"] == "3416/0/3"]
            assert row["value"] == 0.4
            assert row["resource"]
            assert [one["state"] for one in page["commands"]] == ["succeeded"]
            assert {"issue_command", "read_readings", "remove_device"} <= set(page["may"])
            assert "3416/0/1" in [one["path"] for one in page["writable"]]
            assert [one["name"] for one in (await ann.get("/api/bridges")).json()["bridges"]] == [
                "north"
            ]
            path = f"/api/audit/v1/audit?device={LAMP}&operation=issue_command"
            (entry,) = await until_found(ann, path, "entries")
            assert entry["entry"]["who"] == "ann"
            await _analyst_sees_and_may_not(installation)

    uvloop.run(whole())


async def _analyst_sees_and_may_not(installation: Installation) -> None:
    vic = await installation.signed_in("vic")
    told = (await vic.get("/api/session")).json()
    assert "issue_command" not in told["operations"]
    page = (await vic.get(f"/api/devices/{LAMP}")).json()
    assert "issue_command" not in page["may"]
    assert page["writable"] == []
    assert page["commands"] is None
    assert page["resources"]
    refused = await vic.send(
        "POST", f"/api/control/v1/devices/{LAMP}/commands", {"operation": "read", "path": "/3/0/0"}
    )
    assert refused.status_code == 403
