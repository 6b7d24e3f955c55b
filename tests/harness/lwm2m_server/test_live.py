"""The whole component on real sockets: CoAP, data interface, administration, kill -9."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from contracts.data_interface import (
    PATH,
    Ack,
    Command,
    Event,
    Hello,
    Resume,
    ServerFrame,
    Value,
    decode_server_frame,
    encode,
)
from harness.lwm2m_server import Listen, ServerConfig, run
from lwm2m.coap import (
    CoapEndpoint,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.coap import Event as CoapEvent
from lwm2m.transport.driver import EndpointDriver
from lwm2m.transport.udp import open_udp
from runtime.clock import SystemClock
from runtime.component import ConfigError
from runtime.http import PortInUse
from runtime.websocket import WebSocketConnection, connect_websocket
from tests.processes import WITHIN_S

TOKEN = "admin-token-of-this-test"
DATA_TOKEN = "data-token-of-this-test"


def make_config(directory: Path, **fields: Any) -> ServerConfig:
    (directory / "token").write_text(TOKEN + "\n")
    (directory / "data_token").write_text(DATA_TOKEN + "\n")
    return ServerConfig(
        server="s1",
        state_dir=str(directory / "state"),
        token_file=str(directory / "token"),
        data_token_file=str(directory / "data_token"),
        journal_file=str(directory / "server.jsonl"),
        **fields,
    )


@contextlib.asynccontextmanager
async def served(config: ServerConfig) -> AsyncIterator[Mapping[str, str]]:
    told: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(run(config, SystemClock(), told.set_result))
    await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN_S)
    if task.done():
        task.result()
    try:
        yield told.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class BridgeClient:
    """A bridge on a real connection."""

    def __init__(self) -> None:
        self.frames: list[ServerFrame] = []
        self.connection: WebSocketConnection | None = None
        self.reason: str | None = None
        self._changed = asyncio.Event()

    def opened(self, connection: WebSocketConnection) -> None:
        self.connection = connection

    def received(self, text: bytes) -> None:
        self.frames.append(decode_server_frame(text))
        self._changed.set()

    def closed(self, reason: str) -> None:
        self.reason = reason
        self._changed.set()

    def send(self, frame: msgspec.Struct) -> None:
        assert self.connection is not None
        self.connection.send(encode(frame))

    async def until_frame(self, kind: type, number: int = 1, event: str = "") -> Any:
        async with asyncio.timeout(WITHIN_S):
            while True:
                found = [
                    frame
                    for frame in self.frames
                    if isinstance(frame, kind)
                    and (not event or (isinstance(frame, Event) and frame.kind == event))
                ]
                if len(found) >= number:
                    return found[number - 1]
                assert self.reason is None, self.reason
                self._changed.clear()
                await self._changed.wait()

    async def until_closed(self) -> str:
        async with asyncio.timeout(WITHIN_S):
            while self.reason is None:
                self._changed.clear()
                await self._changed.wait()
        return self.reason


async def bridge_to(addresses: Mapping[str, str], token: str = DATA_TOKEN) -> BridgeClient:
    bridge = BridgeClient()
    await connect_websocket(f"ws://{addresses['data']}{PATH}", bridge, token=token)
    return bridge


class LiveDevice:
    """A CoAP client on a socket of its own that answers 2.04 to everything."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.server = (host, int(port))
        self.requests: list[Request] = []
        self.responses: asyncio.Queue[Response] = asyncio.Queue()
        endpoint = CoapEndpoint(TransmissionParameters(), os.urandom)
        self.driver = EndpointDriver(endpoint, self._handle)

    async def open(self) -> LiveDevice:
        self.driver.attach(await open_udp("127.0.0.1", 0, self.driver.receive_datagrams))
        return self

    async def register(self, endpoint: str) -> Response:
        query = (f"ep={endpoint}", "lt=600", "lwm2m=1.1", "b=U")
        request = Request(codes.POST, ("rd",), query, 40, None, None, b"</3/0>,</3416/0>")
        self.driver.send_request(self.server, request)
        return await asyncio.wait_for(self.responses.get(), WITHIN_S)

    def _handle(self, events: list[CoapEvent]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                self.driver.respond(event.exchange, Response(codes.CHANGED))
            elif isinstance(event, ResponseReceived):
                self.responses.put_nowait(event.response)


def dim(command_id: str, endpoint: str, level: int = 40) -> Command:
    return Command(
        id=command_id,
        endpoint=endpoint,
        operation="write",
        path="/3416/0/1",
        expires_at_us=SystemClock().wall_us() + 60_000_000,
        values=[Value("/3416/0/1", "integer", level)],
    )


def test_a_device_registers_is_told_of_and_obeys(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(make_config(tmp_path)) as addresses:
            bridge = await bridge_to(addresses)
            hello = await bridge.until_frame(Hello)
            bridge.send(Resume(epoch=None, after=0))
            device = await LiveDevice(addresses["coap"]).open()
            assert (await device.register("lamp-1")).code == codes.CREATED
            event = await bridge.until_frame(Event)
            assert (event.endpoint, event.kind, event.seq) == ("lamp-1", "registered", 1)
            bridge.send(Ack(epoch=hello.epoch, seq=1))
            bridge.send(dim("c1", "lamp-1"))
            result = await bridge.until_frame(Event, event="result")
            assert result.result.code == "2.04"
            assert device.requests[0].path == ("3416", "0", "1")
            device.driver.close()
            assert bridge.connection is not None
        assert "1001 the server stops" in await bridge.until_closed()

    asyncio.run(story())
    journal = (tmp_path / "server.jsonl").read_bytes()
    kinds = [json.loads(line)["k"] for line in journal.splitlines()]
    assert kinds[0] == "server_started"
    assert {"event_logged", "events_acknowledged", "command_sent", "command_ended"} < set(kinds)


def test_a_stranger_gets_no_data_interface(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(make_config(tmp_path)) as addresses:
            stranger = await bridge_to(addresses, token="guess")
            assert "401" in await stranger.until_closed()

    asyncio.run(story())


def test_a_newer_bridge_closes_the_older_with_1001(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(make_config(tmp_path)) as addresses:
            older = await bridge_to(addresses)
            await older.until_frame(Hello)
            newer = await bridge_to(addresses)
            await newer.until_frame(Hello)
            assert "1001 a newer bridge took over" in await older.until_closed()
            newer.send(Resume(epoch=None, after=0))
            assert newer.connection is not None
            newer.connection.abort()
            await newer.until_closed()

    asyncio.run(story())


@pytest.mark.slow
def test_the_security_store_is_filled_over_http_and_never_read_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with (
            served(make_config(tmp_path)) as addresses,
            httpx.AsyncClient(base_url=f"http://{addresses['admin']}", timeout=WITHIN_S) as client,
        ):
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/v1/counters")).status_code == 401
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            key = base64.b64encode(b"k" * 16).decode()
            row = {"identity": "psk-a", "key": key}
            assert (await client.put("/v1/security/lamp-1", json=row)).status_code == 204
            assert (await client.put("/v1/security/a+b", json=row)).status_code == 400
            assert (await client.put("/v1/security/x", json={"key": "?"})).status_code == 400
            lines = [
                {"endpoint": f"lamp-{number}", "identity": f"psk-{number}", "key": key}
                for number in range(2, 2_502)
            ]
            lines[7]["key"] = "c2hvcnQ="
            body = "\n".join(json.dumps(line) for line in lines) + "\n\nnonsense\n" + "x" * 9_999
            answer = (await client.post("/v1/security", content=body)).json()
            assert answer["rows"] == 2_502
            assert answer["changed"] == 2_499
            assert answer["rejected"] == 3
            assert [error["row"] for error in answer["errors"]] == [8, 2_501, 2_502]
            again = (await client.post("/v1/security", content=body)).json()
            assert again["changed"] == 0
            assert (await client.delete("/v1/security/lamp-2")).status_code == 204
            assert (await client.delete("/v1/security/lamp-2")).status_code == 404
            assert (await client.get("/v1/security/lamp-3")).status_code == 405
            device = await LiveDevice(addresses["coap"]).open()
            for number in range(3):
                await device.register(f"lamp-{number}")
            page = (await client.get("/v1/registrations", params={"limit": 2})).json()
            assert [one["endpoint"] for one in page["registrations"]] == ["lamp-0", "lamp-1"]
            page = (
                await client.get("/v1/registrations", params={"after": page["next_after"]})
            ).json()
            assert [one["endpoint"] for one in page["registrations"]] == ["lamp-2"]
            assert page["next_after"] is None
            assert (await client.get("/v1/registrations?after=x")).status_code == 400
            assert (await client.get("/v1/counters")).json()["registrations"] == 3
            device.driver.close()

    asyncio.run(story())
    outputs = (tmp_path / "server.jsonl").read_bytes() + (
        tmp_path / "state" / "events.log"
    ).read_bytes()
    assert base64.b64encode(b"k" * 16) not in outputs


@pytest.mark.slow
def test_a_port_in_use_and_a_missing_token_say_what_to_do(tmp_path: Path) -> None:
    async def story() -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        async with served(make_config(first)) as addresses:
            for name in ("coap", "data", "admin"):
                port = int(addresses[name].rpartition(":")[2])
                config = make_config(second, **{name: Listen(port=port)})
                with pytest.raises(PortInUse, match="choose another port"):
                    async with served(config):
                        pass
        (second / "token").unlink()
        config = msgspec.structs.replace(make_config(second), token_file=str(second / "none"))
        with pytest.raises(ConfigError, match="cannot read the token file"):
            async with served(config):
                pass

    asyncio.run(story())


class Process:
    """The server as a process of its own."""

    def __init__(self, directory: Path, config: ServerConfig) -> None:
        self.file = directory / "config.json"
        self.file.write_bytes(msgspec.json.encode(config))

    async def start(self) -> Mapping[str, str]:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "harness.lwm2m_server",
            "--config",
            str(self.file),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        ready: Mapping[str, str] = (await self.said())["ready"]
        return ready

    async def said(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), WITHIN_S))

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), WITHIN_S)


@pytest.mark.slow
def test_killed_at_a_gate_and_started_again_it_ends_what_it_began(tmp_path: Path) -> None:
    async def story() -> None:
        process = Process(tmp_path, make_config(tmp_path, gates=True))
        addresses = await process.start()
        bridge = await bridge_to(addresses)
        hello = await bridge.until_frame(Hello)
        bridge.send(Resume(epoch=None, after=0))
        device = await LiveDevice(addresses["coap"]).open()
        await device.register("lamp-1")
        assert process.process.stdin is not None
        process.process.stdin.write(
            b'{"arm": {"point": "command_sent_no_outcome", "occurrence": 1}}\n'
        )
        await bridge.until_frame(Event)
        bridge.send(dim("c1", "lamp-1"))
        assert await process.said() == {"gate": "command_sent_no_outcome", "endpoint": "lamp-1"}
        await process.end(signal.SIGKILL)
        await bridge.until_closed()

        ports = {name: int(address.rpartition(":")[2]) for name, address in addresses.items()}
        config = make_config(tmp_path, **{name: Listen(port=port) for name, port in ports.items()})
        process = Process(tmp_path, config)
        assert await process.start() == addresses
        bridge = await bridge_to(addresses)
        again = await bridge.until_frame(Hello)
        assert again.epoch == hello.epoch
        bridge.send(Resume(epoch=hello.epoch, after=1))
        result = await bridge.until_frame(Event, event="result")
        assert result.seq == 2
        assert result.result.code == "2.04"
        assert len(device.requests) == 1
        device.driver.close()
        assert await process.end(signal.SIGTERM) == 0
        await bridge.until_closed()

    asyncio.run(story())
