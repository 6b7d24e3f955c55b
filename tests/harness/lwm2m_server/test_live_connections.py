"""The component over TCP and TLS: who is let in, what is counted, what a configuration may say."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.lwm2m_server import Listen, ServerConfig, ServerLimits, TlsListen
from lwm2m.coap import (
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport.reliable import (
    ReliableEndpoint,
    ReliablePeer,
    TcpDriver,
    TlsFiles,
    open_tcp_client,
)
from runtime.component import ConfigError
from runtime.http import PortInUse
from tests.harness.lwm2m_server.test_live import make_config, served
from tests.harness.lwm2m_server.test_live_security import Authority, administering
from tests.processes import WITHIN_S

READ = {"endpoint": "lamp-1", "operation": "execute", "path": "/3/0/4"}


class ConnectedDevice:
    """A device on a connection that answers 2.04 to everything."""

    def __init__(self) -> None:
        endpoint = ReliableEndpoint(TransmissionParameters(), os.urandom)
        self.driver = TcpDriver(endpoint, self._turn)
        self.responses: asyncio.Queue[Response | None] = asyncio.Queue()
        self.peer: ReliablePeer | None = None

    async def open(self, address: str, tls: TlsFiles | None = None) -> ConnectedDevice:
        host, _, port = address.rpartition(":")
        self.peer = await open_tcp_client(host, int(port), self.driver, tls=tls)
        return self

    async def ask(self, path: tuple[str, ...], *query: str) -> Response | None:
        """The answer; None when the connection ended before it."""
        assert self.peer is not None
        body = b"</3/0>" if query else b""
        request = Request(codes.POST, path, query, 40 if query else None, payload=body)
        self.driver.send_request(self.peer, request)
        return await asyncio.wait_for(self.responses.get(), WITHIN_S)

    async def register(self, name: str) -> int | None:
        answer = await self.ask(("rd",), f"ep={name}", "lt=600", "lwm2m=1.1", "b=T")
        return None if answer is None else answer.code

    def _turn(self) -> None:
        for event in self.driver.events():
            if isinstance(event, RequestReceived):
                self.driver.respond(event.exchange, Response(codes.CHANGED))
            elif isinstance(event, ResponseReceived):
                self.responses.put_nowait(event.response)
            elif isinstance(event, ExchangeFailed):
                self.responses.put_nowait(None)


@contextlib.asynccontextmanager
async def connected(address: str, tls: TlsFiles | None = None) -> AsyncIterator[ConnectedDevice]:
    device = ConnectedDevice()
    try:
        yield await device.open(address, tls)
    finally:
        device.driver.close()


def tls_listen(directory: Path, authority: Authority, **files: str) -> TlsListen:
    certificate_file, private_key_file = authority.issue_files("server")
    named = {
        "certificate_file": certificate_file,
        "private_key_file": private_key_file,
        "trust_anchors_file": authority.file,
    }
    return TlsListen(**(named | files))  # type: ignore[arg-type]  # all of them are files


def files_of(authority: Authority, name: str) -> TlsFiles:
    return TlsFiles(*authority.issue_files(name), trusted_file=authority.file)


@pytest.mark.slow
def test_a_device_registers_and_obeys_over_tcp_and_its_connections_are_counted(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        limits = ServerLimits(connections_max=2)
        config = make_config(tmp_path, coap=None, coap_tcp=Listen(), limits=limits)
        async with served(config) as addresses, administering(addresses) as client:
            address = addresses["coap+tcp"]
            async with connected(address) as device, connected(address):
                assert await device.register("lamp-1") == codes.CREATED
                outcome = (await client.post("/v1/operations", json=READ)).json()
                assert outcome["code"] == "2.04"
                with pytest.raises(ConnectionError):
                    await ConnectedDevice().open(address)
                counters = (await client.get("/v1/counters")).json()
                assert counters["connections"] == 2
                assert counters["connections_half_open"] == 0
                assert counters["connections_refused"] == 1
            async with asyncio.timeout(WITHIN_S):
                while (await client.get("/v1/counters")).json()["connections"]:
                    continue  # each turn waits for an answer
            counters = (await client.get("/v1/counters")).json()
            assert not [name for name in counters if name.startswith("refused")]
            # The device is gone, and not forgotten: what it is asked waits.
            answer = await client.post("/v1/operations", json={**READ, "wait_s": 0})
            assert answer.status_code == 202

    asyncio.run(story())


@pytest.mark.slow
def test_a_certificate_says_who_a_device_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()

    async def story() -> None:
        config = make_config(tmp_path, coaps_tcp=tls_listen(tmp_path, authority))
        async with served(config) as addresses, administering(addresses) as client:
            address = addresses["coaps+tcp"]
            async with connected(address, files_of(authority, "lamp-1")) as device:
                assert await device.register("lamp-2") == codes.BAD_REQUEST
                assert await device.register("lamp-1") == codes.CREATED
                (row,) = (await client.get("/v1/registrations")).json()["registrations"]
                assert row["security"] == {"mode": "x509", "identity": "lamp-1"}
            # Its next connection is known by what it proves: it can be asked at once.
            async with connected(address, files_of(authority, "lamp-1")) as device:
                outcome = (await client.post("/v1/operations", json=READ)).json()
                assert outcome["code"] == "2.04"
            async with connected(address, files_of(authority, "no endpoint name")) as nobody:
                assert await nobody.register("lamp-3") == codes.BAD_REQUEST
            counters = (await client.get("/v1/counters")).json()
            assert counters["refused_certificate_without_name"] == 1
            for stranger in (
                TlsFiles(trusted_file=authority.file),
                TlsFiles(
                    *Authority(tmp_path / "other").issue_files("lamp-1"),
                    trusted_file=authority.file,
                ),
            ):
                with pytest.raises(ConnectionError):
                    await ConnectedDevice().open(address, stranger)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"certificate_file": "missing.pem"}, "cannot read"),
        ({"certificate_file": "server.key"}, "holds no certificates"),
        ({"private_key_file": "server.pem"}, "holds no private key"),
        ({"private_key_file": "lamp.key"}, "is not the key of"),
        ({"trust_anchors_file": "server.key"}, "holds no certificates"),
    ],
)
def test_files_that_cannot_be_used_say_what_is_wrong(
    tmp_path: Path, files: dict[str, str], told: str
) -> None:
    authority = Authority(tmp_path)
    authority.issue_files("lamp")
    named = {field: str(tmp_path / name) for field, name in files.items()}

    async def story() -> None:
        config = make_config(tmp_path, coaps_tcp=tls_listen(tmp_path, authority, **named))
        with pytest.raises(ConfigError, match=told):
            async with served(config):
                pass

    asyncio.run(story())


def test_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    def config(name: str, **fields: Any) -> ServerConfig:
        (tmp_path / name).mkdir()
        return make_config(tmp_path / name, **fields)

    async def story() -> None:
        async with served(config("one", coap_tcp=Listen())) as addresses:
            taken = Listen("127.0.0.1", int(addresses["coap+tcp"].rpartition(":")[2]))
            with pytest.raises(PortInUse, match="choose another port"):
                async with served(config("two", coap_tcp=taken)):
                    pass

    asyncio.run(story())
