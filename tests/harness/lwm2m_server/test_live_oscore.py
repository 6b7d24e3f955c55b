"""The component with OSCORE on its plain socket: devices with and without it, and restarts."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from contracts.data_interface import Event, Hello, Resume
from harness.lwm2m_server import Listen, ServerConfig
from lwm2m.coap import Request, TransmissionParameters, codes, decode_message
from lwm2m.transport.driver import EndpointDriver
from lwm2m.transport.oscore import (
    OSCORE,
    OscoreContexts,
    OscoreEndpoint,
    OscoreMaterial,
    decode_header,
    mirrored,
)
from lwm2m.transport.udp import UdpLink, open_udp
from runtime.component import ConfigError
from tests.harness.lwm2m_server.test_live import (
    BridgeClient,
    LiveDevice,
    bridge_to,
    make_config,
    served,
)
from tests.harness.lwm2m_server.test_live_security import administering
from tests.processes import WITHIN_S

# As the server has it.
MATERIAL = OscoreMaterial(bytes(range(16)), b"\x01", b"\x0a", b"salt")
READ = {"endpoint": "lamp-1", "operation": "execute", "path": "/3/0/4"}


def row(material: OscoreMaterial = MATERIAL) -> dict[str, Any]:
    fields = ("master_secret", "master_salt", "sender_id", "recipient_id")
    return {name: base64.b64encode(getattr(material, name)).decode() for name in fields}


class Overheard:
    """A link that notes what is sent."""

    def __init__(self, link: UdpLink, said: list[bytes]) -> None:
        self._link = link
        self._said = said

    def send(self, datagrams: Any) -> None:
        self._said.extend(data for data, _ in datagrams)
        self._link.send(datagrams)

    def close(self) -> None:
        self._link.close()


class ProtectedDevice(LiveDevice):
    """A device that speaks OSCORE; `heard` are the datagrams that it got, `said` those it sent."""

    def __init__(self, address: str, material: OscoreMaterial = MATERIAL) -> None:
        super().__init__(address)
        contexts = OscoreContexts(os.urandom)
        contexts.add(mirrored(material))
        endpoint = OscoreEndpoint(TransmissionParameters(), contexts, os.urandom)
        self.driver = EndpointDriver(cast(Any, endpoint), self._handle)
        self.server = cast(Any, contexts.peer(self.server, material.sender_id))
        self.heard: list[bytes] = []
        self.said: list[bytes] = []

    async def open(self) -> LiveDevice:
        self.driver.attach(Overheard(await open_udp("127.0.0.1", 0, self._hear), self.said))
        return self

    def _hear(self, datagrams: Any) -> None:
        found = list(datagrams)
        self.heard.extend(data for data, _ in found)
        self.driver.receive_datagrams(found)

    async def ask(self, path: tuple[str, ...]) -> Any:
        self.driver.send_request(self.server, Request(codes.POST, path))
        return await asyncio.wait_for(self.responses.get(), WITHIN_S)

    def server_numbers(self) -> list[int]:
        """The sequence numbers of the server's messages that took one."""
        found = []
        for data in self.heard:
            options = dict(decode_message(data).options)
            if (
                OSCORE in options
                and (number := decode_header(options[OSCORE]).sequence) is not None
            ):
                found.append(number)
        return found


async def put_context(client: httpx.AsyncClient, material: OscoreMaterial = MATERIAL) -> None:
    answer = await client.put("/v1/oscore/lamp-1", json=row(material))
    assert answer.status_code == 204, answer.text


async def operate(client: httpx.AsyncClient) -> str:
    answer: Mapping[str, Any] = (await client.post("/v1/operations", json=READ)).json()
    return str(answer.get("code"))


async def listening(addresses: Any) -> BridgeClient:
    bridge = await bridge_to(addresses)
    await bridge.until_frame(Hello)
    bridge.send(Resume(epoch=None, after=0))
    return bridge


@pytest.mark.slow
def test_protected_and_plain_devices_are_served_side_by_side(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            served(make_config(tmp_path)) as addresses,
            administering(addresses) as client,
        ):
            bridge = await listening(addresses)
            plain = await LiveDevice(addresses["coap"]).open()
            assert (await plain.register("lamp-2")).code == codes.CREATED
            # The first context comes while the plain device is registered: it goes on.
            await put_context(client)
            device = await ProtectedDevice(addresses["coap"]).open()
            assert (await device.register("lamp-2")).code == codes.BAD_REQUEST
            assert (await device.register("lamp-1")).code == codes.CREATED
            event = await bridge.until_frame(Event, number=2, event="registered")
            assert event.endpoint == "lamp-1"
            assert event.registration.security.mode == "oscore"
            assert event.registration.security.identity == MATERIAL.recipient_id.hex()
            assert await operate(client) == "2.04"
            other = {**READ, "endpoint": "lamp-2"}
            assert (await client.post("/v1/operations", json=other)).json()["code"] == "2.04"
            # Who has a context does not come without it.
            assert (await plain.register("lamp-1")).code == codes.FORBIDDEN
            counters = (await client.get("/v1/counters")).json()
            assert counters["oscore_contexts"] == 1
            assert counters["refused_oscore_freshness_unknown"] == 1
            assert counters["refused_unprotected"] == 1
            plain.driver.close()
            device.driver.close()

    asyncio.run(story())


@pytest.mark.slow
def test_a_registration_that_was_plain_ends_when_its_device_gets_a_context(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            served(make_config(tmp_path)) as addresses,
            administering(addresses) as client,
        ):
            device = await LiveDevice(addresses["coap"]).open()
            location = (await device.register("lamp-1")).location_path
            await put_context(client)
            device.driver.send_request(device.server, Request(codes.POST, location))
            answer = await asyncio.wait_for(device.responses.get(), WITHIN_S)
            assert answer.code == codes.NOT_FOUND
            device.driver.close()

    asyncio.run(story())


@pytest.mark.slow
def test_a_restart_uses_no_number_twice_and_takes_no_replay(tmp_path: Path) -> None:
    async def story() -> None:
        config = make_config(tmp_path)
        async with served(config) as addresses, administering(addresses) as client:
            port = int(addresses["coap"].rpartition(":")[2])
            await put_context(client)
            device = cast(ProtectedDevice, await ProtectedDevice(addresses["coap"]).open())
            location = (await device.register("lamp-1")).location_path
            for _ in range(3):
                assert await operate(client) == "2.04"
        recorded = [data for data in device.said if b"\xff" in data]
        again = make_config(tmp_path, coap=Listen("127.0.0.1", port))
        async with served(again) as addresses, administering(addresses) as client:
            bridge = await listening(addresses)
            # It is where it was, and can be asked before it says anything.
            assert await operate(client) == "2.04"
            numbers = device.server_numbers()
            assert len(numbers) >= 4
            assert len(set(numbers)) == len(numbers)
            # What was recorded is not fresh, whoever sends it.
            thief = await open_udp("127.0.0.1", 0, lambda datagrams: None)
            thief.send([(data, ("127.0.0.1", port)) for data in recorded])
            assert (await device.ask(location)).code == codes.CHANGED
            counters = (await client.get("/v1/counters")).json()
            assert counters["refused_oscore_freshness_unknown"] >= 1
            assert counters["registrations"] == 1
            events = [frame.kind for frame in bridge.frames if isinstance(frame, Event)]
            assert events.count("registered") == 1
            thief.close()
        device.driver.close()

    asyncio.run(story())


@pytest.mark.slow
def test_a_context_that_is_replaced_serves_no_more(tmp_path: Path) -> None:
    newer = OscoreMaterial(b"another secret..", b"\x01", b"\x0a")

    async def story() -> None:
        async with (
            served(make_config(tmp_path)) as addresses,
            administering(addresses) as client,
        ):
            await put_context(client)
            old = await ProtectedDevice(addresses["coap"]).open()
            await old.register("lamp-1")
            await put_context(client, newer)
            asked = {**READ, "wait_s": 0}
            assert (await client.post("/v1/operations", json=asked)).status_code == 202
            new = await ProtectedDevice(addresses["coap"], newer).open()
            assert (await new.register("lamp-1")).code == codes.CREATED
            assert await operate(client) == "2.04"
            assert (await client.delete("/v1/oscore/lamp-1")).status_code == 204
            assert (await client.delete("/v1/oscore/lamp-1")).status_code == 404
            old.driver.close()
            new.driver.close()

    asyncio.run(story())


@pytest.mark.slow
def test_contexts_over_http_go_in_and_never_come_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            served(make_config(tmp_path)) as addresses,
            administering(addresses) as client,
        ):
            for wrong in (b"[]", b"{", b"{}", b"x" * 5_000, b'{"endpoint": "another"}',
                          json.dumps(row() | {"recipient_id": "AQ=="}).encode()):  # fmt: skip
                answer = await client.put("/v1/oscore/lamp-1", content=wrong)
                assert answer.status_code == (413 if len(wrong) > 4_096 else 400)
                assert row()["master_secret"] not in answer.text
            rows = [json.dumps(row() | {"endpoint": name}) for name in ("lamp-1", "lamp-2")]
            found = (await client.post("/v1/oscore", content="\n".join(rows))).json()
            assert (found["rows"], found["changed"], found["rejected"]) == (2, 1, 1)
            assert row()["master_secret"] not in json.dumps(found)

    asyncio.run(story())


def test_contexts_come_from_a_file_of_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "contexts.ndjson"
    file.write_text(json.dumps(row() | {"endpoint": "lamp-1"}) + "\n\n{}\n")

    def config(**fields: Any) -> ServerConfig:
        return make_config(tmp_path, oscore_file=str(file), **fields)

    async def refuse(told: str, **fields: Any) -> None:
        with pytest.raises(ConfigError, match=told):
            async with served(config(**fields)):
                pass

    async def story() -> None:
        file.chmod(0o644)
        await refuse("chmod 600")
        file.chmod(0o600)
        await refuse("line 3")
        await refuse("needs coap", coap=None, coap_tcp=Listen())
        file.write_text(json.dumps(row() | {"endpoint": "lamp-1"}))
        async with served(config()) as addresses:
            device = await ProtectedDevice(addresses["coap"]).open()
            assert (await device.register("lamp-1")).code == codes.CREATED
            device.driver.close()

    asyncio.run(story())
