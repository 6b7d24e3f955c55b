"""DTLS with other implementations: their programs, a relay that loses, CoAP on our side."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Request,
    RequestReceived,
    Response,
    TransmissionParameters,
    codes,
)
from lwm2m.transport import EndpointDriver, UdpLink, open_udp
from lwm2m.transport.dtls import (
    DtlsClientLink,
    DtlsServerLink,
    DtlsSettings,
    ServerCredentials,
    open_dtls_server,
)
from tests.interop.credentials import to_pem
from tests.lwm2m.transport.dtls_pair import Certificates

_WITHIN_S = 60.0


def run_within(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, _WITHIN_S))


class Program:
    """A child process whose output is waited for, and which ends with the test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said = b""

    @classmethod
    async def start(cls, *command: str) -> Program:
        """Start it, with a pipe as standard input and output."""
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        )

    async def until(self, text: bytes) -> None:
        """Wait until it has said this."""
        assert self._process.stdout is not None
        while text not in self.said:
            more = await self._process.stdout.read(4_096)
            assert more, f"ended after saying {self.said!r}"
            self.said += more

    def type(self, text: bytes) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(text)

    async def end(self) -> bytes:
        """Wait for its end; everything that it said."""
        assert self._process.stdout is not None
        self.said += await self._process.stdout.read()
        await self._process.wait()
        return self.said

    async def kill(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


async def open_loopback_udp(receive: Any) -> UdpLink:
    return await open_udp("127.0.0.1", 0, receive)


class LosingRelay:
    """Between a client and a server: loses the datagrams of these numbers, from 1, each way."""

    def __init__(self, server: tuple[str, int], to_server: set[int], to_client: set[int]) -> None:
        self._server = server
        self._losing = {True: to_server, False: to_client}
        self._count = {True: 0, False: 0}
        self._client: Any = None
        self.lost = 0

    async def open(self) -> int:
        """The port that clients are to talk to."""
        self._outer = await open_loopback_udp(
            lambda datagrams: self._carry(datagrams, to_server=True)
        )
        self._inner = await open_loopback_udp(
            lambda datagrams: self._carry(datagrams, to_server=False)
        )
        return self._outer.address[1]

    def close(self) -> None:
        """Close both sockets."""
        self._outer.close()
        self._inner.close()

    def _carry(self, datagrams: Any, *, to_server: bool) -> None:
        for data, source in datagrams:
            if to_server:
                self._client = source
            self._count[to_server] += 1
            if self._count[to_server] in self._losing[to_server]:
                self.lost += 1
            elif to_server:
                self._inner.send([(data, self._server)])
            else:
                self._outer.send([(data, self._client)])


class PemFiles:
    """The test certificates as files, as the programs want them."""

    def __init__(self, folder: Path, made: Certificates) -> None:
        self.anchor = self._write(folder / "ca.pem", "CERTIFICATE", made.authority.certificate)
        self.server = self._write(folder / "server.pem", "CERTIFICATE", made.server)
        self.server_key = self._write(folder / "server.key", "PRIVATE KEY", made.server_key)
        self.client = self._write(folder / "client.pem", "CERTIFICATE", made.client)
        self.client_key = self._write(folder / "client.key", "PRIVATE KEY", made.client_key)

    @staticmethod
    def _write(path: Path, kind: str, der: bytes) -> str:
        path.write_bytes(to_pem(kind, der))
        return str(path)


def coap_server_link(
    credentials: ServerCredentials, asked: list[Any], **options: Any
) -> Coroutine[Any, Any, DtlsServerLink]:
    def answer(events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestReceived):
                asked.append(event.peer)
                driver.respond(
                    event.exchange, Response(codes.CONTENT, payload=b"answered", content_format=0)
                )

    async def open_it() -> DtlsServerLink:
        link = await open_dtls_server(
            "127.0.0.1", 0, driver.receive_datagrams, credentials, **options
        )
        driver.attach(link)
        return link

    driver = EndpointDriver(CoapEndpoint(TransmissionParameters(), os.urandom), answer)
    return open_it()


async def ask(peer: tuple[str, int], credentials: Any, path: tuple[str, ...]) -> Event:
    """What our client gets for a GET, over DTLS; certificates are judged by the system's clock."""
    answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def handle(events: list[Event]) -> None:
        if not answer.done():
            answer.set_result(events[0])

    driver = EndpointDriver(CoapEndpoint(TransmissionParameters(), os.urandom), handle)
    link = await DtlsClientLink.over(
        open_loopback_udp,
        driver.receive_datagrams,
        lambda _: credentials,
        settings=DtlsSettings(retransmit_timeout_s=0.2),
    )
    driver.attach(link)
    try:
        driver.send_request(peer, Request(codes.GET, path))
        return await answer
    finally:
        driver.close()
