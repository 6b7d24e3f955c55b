"""The whole component: from a device's publish over mutual TLS to the HTTP interface."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from city_platform.broker_access import BrokerAccess
from city_platform.ingestion import IngestionConfig, run
from city_platform.provisioning.pki import open_pki
from contracts.api import Alarms, AlarmStored, Commit, FeedLine, IngestionCounts, Readings
from contracts.topics import Topics
from mqtt.transport.client import MqttClient, client_tls
from runtime.clock import SystemClock
from runtime.http_client import HttpClient, HttpError
from tests.city_platform.ingestion.packs import (
    NOW_S,
    alarm,
    alarm_topic,
    state,
    state_topic,
)
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
TOKEN = "token-of-this-test"
decode_line = msgspec.json.Decoder(FeedLine).decode


def make_pki(folder: Path, endpoint: str) -> None:
    """Key files of the broker, of ingestion and of one device."""
    now_us = SystemClock().wall_us()
    authorities = open_pki(folder, ["svc:ingestion"], ["127.0.0.1"], now_us, os.urandom)
    issued = authorities.signing.for_devices(now_us, timedelta(days=1)).issue(endpoint)
    certificate = x509.load_der_x509_certificate(issued.certificate)
    key = serialization.load_der_private_key(issued.key, None)
    (folder / "device.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "device.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.asynccontextmanager
async def broker(folder: Path) -> AsyncIterator[str]:
    """The embedded broker in a process of its own; yields its address."""
    config_file = folder / "broker.json"
    pki = folder / "pki"
    config = {
        "ca_file": str(pki / "ca.pem"),
        "certificate_file": str(pki / "broker.pem"),
        "key_file": str(pki / "broker.key"),
        "state_dir": str(folder),
        "topics": msgspec.to_builtins(Topics()),
    }
    config_file.write_bytes(msgspec.json.encode(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "harness.mqtt_broker",
        "--config",
        str(config_file),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            line = await process.stdout.readline()
        yield msgspec.json.decode(line)["ready"]["mqtt"]
    finally:
        process.kill()
        await asyncio.wait_for(process.communicate(), WITHIN_S)


@contextlib.asynccontextmanager
async def ingestion(folder: Path, address: str) -> AsyncIterator[HttpClient]:
    """The component in this loop; yields a client of its HTTP interface."""
    pki = folder / "pki"
    config = IngestionConfig(
        broker=BrokerAccess(
            address=address,
            ca_file=str(pki / "ca.pem"),
            certificate_file=str(pki / "svc_ingestion.pem"),
            key_file=str(pki / "svc_ingestion.key"),
        ),
        state_dir=str(folder / "state"),
        token_file=str(folder / "token"),
    )
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(config, SystemClock(), ready.set_result))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    client = HttpClient(ready.result()["http"], TOKEN)
    try:
        yield client
    finally:
        await client.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def device(folder: Path, address: str, endpoint: str) -> AsyncIterator[MqttClient]:
    pki = folder / "pki"
    host, port = address.split(":")
    client = MqttClient(
        client_id=endpoint,
        address=(host, int(port)),
        tls=client_tls(pki / "ca.pem", pki / "device.pem", pki / "device.key"),
        clock=SystemClock(),
        chance=random.Random(1).random,
    )
    task = asyncio.ensure_future(client.run())
    try:
        await asyncio.wait_for(client.connected.wait(), WITHIN_S)
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def publish(client: MqttClient, topic: str, payload: bytes) -> None:
    """Publish and wait for the PUBACK."""
    acknowledged = asyncio.Event()
    client.publish(topic, payload, on_acknowledged=acknowledged.set)
    await asyncio.wait_for(acknowledged.wait(), WITHIN_S)


async def feed(client: HttpClient, after: int, count: int) -> list[FeedLine]:
    lines: list[FeedLine] = []
    async with contextlib.aclosing(client.lines(f"/v1/feed?after={after}")) as found:
        async for line in found:
            lines.append(decode_line(line))
            if len(lines) == count:
                break
    return lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_pki(tmp_path / "pki", "lamp-1")
    (tmp_path / "token").write_text(TOKEN)
    return tmp_path


def test_what_a_device_publishes_is_stored_and_shown(folder: Path) -> None:
    async def story() -> None:
        async with (
            broker(folder) as address,
            ingestion(folder, address) as http,
            device(folder, address, "lamp-1") as lamp,
        ):
            await publish(lamp, state_topic(), state())
            await publish(lamp, alarm_topic(), alarm())
            stored, raised = await feed(http, 0, 2)
            assert isinstance(stored, Commit)
            assert isinstance(raised, AlarmStored)
            time_us = int((NOW_S + 1) * 1e6)
            found = await http.get("/v1/devices/lamp-1/readings?limit=1", Readings)
            assert found.readings == [("lamp-1", "/3416/0/3", time_us, 0.5)]
            path = "/v1/devices/lamp-1/readings?path=/3416/0/46&from_us=0"
            assert len((await http.get(path, Readings)).readings) == 1
            assert len((await http.get("/v1/devices/lamp-1/alarms", Alarms)).alarms) == 1
            counts = await http.get("/v1/counts", IngestionCounts)
            assert (counts.packs, counts.stored, counts.alarms, counts.backlog) == (2, 2, 1, 0)
            assert await http.get("/readyz", dict) == {"status": "ready"}

    asyncio.run(story())


def test_bad_requests_are_refused_with_what_to_do(folder: Path) -> None:
    async def story() -> None:
        async with broker(folder) as address, ingestion(folder, address) as http:
            for query in ("/v1/feed?after=-1", "/v1/feed?after=9", "/v1/feed?after=x"):
                with pytest.raises(HttpError, match="400"):
                    await http.get(query, dict)
            for query in ("limit=x", f"from_us={10**30}", "to_us=1.5"):
                with pytest.raises(HttpError, match="400"):
                    await http.get(f"/v1/devices/lamp-1/readings?{query}", dict)

    asyncio.run(story())


def test_what_is_published_while_ingestion_is_away_is_stored_when_it_is_back(
    folder: Path,
) -> None:
    async def story() -> None:
        async with broker(folder) as address, device(folder, address, "lamp-1") as lamp:
            async with ingestion(folder, address) as http:
                await publish(lamp, state_topic(), state(sequence=1))
                await feed(http, 0, 1)
            await publish(lamp, state_topic(), state(sequence=2))
            async with ingestion(folder, address) as http:
                await feed(http, 1, 1)
                counts = await http.get("/v1/counts", IngestionCounts)
                assert (counts.packs, counts.stored, counts.duplicates) == (2, 4, 0)

    asyncio.run(story())
