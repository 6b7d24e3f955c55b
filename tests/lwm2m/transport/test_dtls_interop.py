"""DTLS with implementations that are not ours, both ways, on real sockets.

OpenSSL's own program, libcoap's (over OpenSSL and over GnuTLS), and tinydtls through aiocoap.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from lwm2m.coap import (
    CoapEndpoint,
    Event,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport import EndpointDriver, UdpLink, open_udp
from lwm2m.transport.dtls import (
    SUITES,
    DtlsClientLink,
    DtlsServerLink,
    DtlsSettings,
    PskCredentials,
    ServerCredentials,
    open_dtls_server,
)
from lwm2m.transport.dtls.failures import CLOSE_NOTIFY
from lwm2m.transport.dtls.records import WARNING
from tests.lwm2m.transport.dtls_pair import (
    ENDPOINT,
    IDENTITY,
    KEY,
    NOW_UNIX_S,
    PSK,
    SERVER_PSK,
    Certificates,
    certificates,
    key_of,
)

_WITHIN_S = 10.0
_FLAVOURS = ("openssl", "gnutls")
# libcoap's programs take the key as text.
_TEXT_KEY = "a-key-of-text"
_TEXT_PSK = PskCredentials(IDENTITY, _TEXT_KEY.encode())
_TEXT_SERVER = ServerCredentials(
    key_of=lambda identity: (ENDPOINT, _TEXT_KEY.encode()) if identity == IDENTITY else None
)

# They start programs, and wait for the timers of those.
pytestmark = pytest.mark.slow

openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program here")


def _run(story: Coroutine[Any, Any, None]) -> None:
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


async def _open_udp(receive: Any) -> UdpLink:
    return await open_udp("127.0.0.1", 0, receive)


async def _free_port() -> int:
    probe = await _open_udp(lambda datagrams: None)
    port = probe.address[1]
    probe.close()
    return port


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
        self._outer = await _open_udp(lambda datagrams: self._carry(datagrams, to_server=True))
        self._inner = await _open_udp(lambda datagrams: self._carry(datagrams, to_server=False))
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


def _pem(kind: str, der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {kind}-----\n{body}-----END {kind}-----\n"


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
        path.write_text(_pem(kind, der))
        return str(path)


# The programs judge certificates at this moment, as our side does.
_AT = ("-attime", str(int(NOW_UNIX_S)))


def _cipher(suite: str) -> str:
    return f"{SUITES[suite].openssl_name}:@SECLEVEL=0"


@openssl
@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize("tickets", [True, False])
def test_openssls_client_talks_to_our_server(suite: str, tickets: bool, tmp_path: Path) -> None:
    async def story() -> None:
        told = asyncio.Event()
        received: list[tuple[bytes, Any]] = []

        def receive(datagrams: list[tuple[bytes, Any]]) -> None:
            received.extend(datagrams)
            server.send([(b"seen: " + data, peer) for data, peer in datagrams])
            told.set()

        made = certificates()
        files = PemFiles(tmp_path, made)
        server = await open_dtls_server(
            "127.0.0.1",
            0,
            receive,
            made.server_credentials(key_of=key_of),
            settings=DtlsSettings(suites=(suite,), offers_resumption=tickets),
            unix_time_s=lambda: NOW_UNIX_S,
        )
        proof = (
            ("-psk_identity", IDENTITY, "-psk", KEY.hex())
            if SUITES[suite].authentication == "psk"
            else (
                "-cert",
                files.client,
                "-key",
                files.client_key,
                "-CAfile",
                files.anchor,
                *_AT,
                "-verify_return_error",
                "-verify_hostname",
                "server.example",
            )
        )
        client = await Program.start(
            "openssl", "s_client", "-dtls1_2", "-quiet",
            "-connect", f"127.0.0.1:{server.address[1]}", "-cipher", _cipher(suite), *proof,
        )  # fmt: skip
        try:
            client.type(b"hello from openssl\n")
            await client.until(b"seen: hello from openssl")
            await told.wait()
            (_, peer) = received[0]
            assert peer.endpoint_name == ENDPOINT
        finally:
            await client.kill()
            server.close()

    _run(story())


@openssl
@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize(("asked", "tickets"), [(True, True), (True, False), (False, True)])
def test_our_client_talks_to_openssls_server_and_resumes(
    suite: str, asked: bool, tickets: bool, tmp_path: Path
) -> None:
    async def story() -> None:
        made = certificates()
        files = PemFiles(tmp_path, made)
        is_psk = SUITES[suite].authentication == "psk"
        proof = (
            ("-psk_identity", IDENTITY, "-psk", KEY.hex(), "-nocert")
            if is_psk
            else (
                "-cert",
                files.server,
                "-key",
                files.server_key,
                "-CAfile",
                files.anchor,
                *_AT,
                "-Verify",
                "1",
                "-verify_return_error",
            )
        )
        port = await _free_port()
        server = await Program.start(
            "openssl", "s_server", "-dtls1_2", "-listen", "-accept", f"127.0.0.1:{port}", "-cipher",
            _cipher(suite), *proof, *(() if tickets else ("-no_ticket",)),
        )  # fmt: skip
        established: list[bool] = []
        client = await DtlsClientLink.over(
            _open_udp,
            lambda datagrams: None,
            lambda peer: PSK if is_psk else made.client_credentials(),
            established=lambda peer, is_resumed: established.append(is_resumed),
            unix_time_s=lambda: NOW_UNIX_S,
            settings=DtlsSettings(suites=(suite,), retransmit_timeout_s=0.1, resumes_psk=asked),
        )
        try:
            await server.until(b"ACCEPT")
            peer = ("127.0.0.1", port)
            client.send([(b"hello from us\n", peer)])
            await server.until(b"hello from us")
            # Its close_notify, but the ticket is kept: it ends the session and waits for another.
            endpoint = client.endpoint
            endpoint._send_alert(endpoint._sessions[peer], WARNING, CLOSE_NOTIFY)
            endpoint.restart(peer, 0.0)
            client.send([])
            await server.until(b"DONE")
            client.send([(b"hello again\n", peer)])
            await server.until(b"hello again")
            assert established == [False, tickets and (asked or not is_psk)]
        finally:
            client.close()
            await server.kill()

    _run(story())


def _coap_server_link(
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


async def _ask(peer: tuple[str, int], credentials: Any, path: tuple[str, ...]) -> Event:
    """What our client gets for a GET, over DTLS; certificates are judged by the system's clock."""
    answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def handle(events: list[Event]) -> None:
        if not answer.done():
            answer.set_result(events[0])

    driver = EndpointDriver(CoapEndpoint(TransmissionParameters(), os.urandom), handle)
    link = await DtlsClientLink.over(
        _open_udp,
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


def _libcoap(kind: str, flavour: str) -> str:
    found = shutil.which(f"coap-{kind}-{flavour}")
    if found is None:
        pytest.skip(f"coap-{kind}-{flavour} is not installed")
    return found


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize("tickets", [True, False])
def test_libcoaps_client_is_answered_over_psk(flavour: str, tickets: bool) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        settings = DtlsSettings(offers_resumption=tickets)
        server = await _coap_server_link(_TEXT_SERVER, asked, settings=settings)
        client = await Program.start(
            program, "-B", "5", "-u", IDENTITY, "-k", _TEXT_KEY,
            f"coaps://127.0.0.1:{server.address[1]}/x",
        )  # fmt: skip
        try:
            assert b"answered" in await client.end(), client.said
            assert asked[0].endpoint_name == ENDPOINT
        finally:
            await client.kill()
            server.close()

    _run(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize(
    ("identity", "key", "reason"),
    [(IDENTITY, "another", "wrong_key"), ("nobody", _TEXT_KEY, "unknown_identity")],
)
def test_libcoaps_client_with_wrong_credentials_is_refused_and_counted(
    flavour: str, identity: str, key: str, reason: str
) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        refused: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

        def tell(*what: Any) -> None:
            if not refused.done():
                refused.set_result(what)

        server = await _coap_server_link(_TEXT_SERVER, asked, refused=tell)
        client = await Program.start(
            program, "-B", "2", "-u", identity, "-k", key,
            f"coaps://127.0.0.1:{server.address[1]}/x",
        )  # fmt: skip
        try:
            assert (await refused)[1:] == (reason, identity)
            assert asked == []
        finally:
            await client.kill()
            server.close()

    _run(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_our_client_is_answered_by_libcoaps_server_over_psk(flavour: str) -> None:
    program = _libcoap("server", flavour)

    async def story() -> None:
        port = await _free_port()
        # coaps is on the port after the one that is given.
        server = await Program.start(
            program, "-A", "127.0.0.1", "-p", str(port - 1), "-k", _TEXT_KEY, "-v", "6"
        )
        try:
            event = await _ask(("127.0.0.1", port), _TEXT_PSK, ("time",))
            assert isinstance(event, ResponseReceived), event
            assert event.response.code == codes.CONTENT
        finally:
            await server.kill()

    _run(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_libcoaps_client_is_answered_over_certificates(flavour: str, tmp_path: Path) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        # libcoap judges certificates by the system's clock: these are made for now.
        made = Certificates(time.time())
        files = PemFiles(tmp_path, made)
        server = await _coap_server_link(made.server_credentials(), asked)
        client = await Program.start(
            program, "-B", "5", "-c", files.client, "-j", files.client_key, "-C", files.anchor,
            f"coaps://127.0.0.1:{server.address[1]}/x",
        )  # fmt: skip
        try:
            assert b"answered" in await client.end(), client.said
            assert asked[0].endpoint_name == ENDPOINT
        finally:
            await client.kill()
            server.close()

    _run(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
def test_our_client_is_answered_by_libcoaps_server_over_certificates(
    flavour: str, tmp_path: Path
) -> None:
    program = _libcoap("server", flavour)

    async def story() -> None:
        made = Certificates(time.time())
        files = PemFiles(tmp_path, made)
        port = await _free_port()
        server = await Program.start(
            program, "-A", "127.0.0.1", "-p", str(port - 1), "-c", files.server,
            "-j", files.server_key, "-C", files.anchor,
        )  # fmt: skip
        try:
            event = await _ask(("127.0.0.1", port), made.client_credentials(), ("time",))
            assert isinstance(event, ResponseReceived), event
            assert event.response.code == codes.CONTENT
        finally:
            await server.kill()

    _run(story())


# From the server: 1 HelloVerifyRequest, 2 its flight, 3 its last flight. From the client: 1 and 2
# ClientHellos, 3 its flight with the Finished.
_LOSSES = [(set(), {2}), (set(), {3}), ({3}, set()), ({3, 4}, {2, 4})]


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize(("to_server", "to_client"), _LOSSES)
@pytest.mark.parametrize("tickets", [True, False])
def test_lost_flights_between_libcoaps_client_and_our_server_are_made_good(
    flavour: str, tickets: bool, to_server: set[int], to_client: set[int]
) -> None:
    program = _libcoap("client", flavour)

    async def story() -> None:
        asked: list[Any] = []
        settings = DtlsSettings(offers_resumption=tickets)
        server = await _coap_server_link(_TEXT_SERVER, asked, settings=settings)
        relay = LosingRelay(server.address, to_server, to_client)
        port = await relay.open()
        client = await Program.start(
            program, "-B", "8", "-u", IDENTITY, "-k", _TEXT_KEY, f"coaps://127.0.0.1:{port}/x"
        )
        try:
            assert b"answered" in await client.end(), client.said
            assert relay.lost == len(to_server) + len(to_client)
        finally:
            await client.kill()
            relay.close()
            server.close()

    _run(story())


@pytest.mark.libcoap
@pytest.mark.parametrize("flavour", _FLAVOURS)
@pytest.mark.parametrize(("to_server", "to_client"), _LOSSES)
def test_lost_flights_between_our_client_and_libcoaps_server_are_made_good(
    flavour: str, to_server: set[int], to_client: set[int]
) -> None:
    program = _libcoap("server", flavour)

    async def story() -> None:
        port = await _free_port()
        server = await Program.start(
            program, "-A", "127.0.0.1", "-p", str(port - 1), "-k", _TEXT_KEY
        )
        relay = LosingRelay(("127.0.0.1", port), to_server, to_client)
        try:
            # Asked without loss first: it answers as soon as it listens.
            await _ask(("127.0.0.1", port), _TEXT_PSK, ("time",))
            event = await _ask(("127.0.0.1", await relay.open()), _TEXT_PSK, ("time",))
            assert isinstance(event, ResponseReceived), event
            assert relay.lost == len(to_server) + len(to_client)
        finally:
            relay.close()
            await server.kill()

    _run(story())


@pytest.mark.tinydtls
def test_tinydtls_is_answered_by_our_server() -> None:
    pytest.importorskip("DTLSSocket", reason="the `peers` extra is not installed")
    import aiocoap

    async def story() -> None:
        asked: list[Any] = []
        server = await _coap_server_link(SERVER_PSK, asked)
        uri = f"coaps://127.0.0.1:{server.address[1]}"
        context = await aiocoap.Context.create_client_context(transports=["tinydtls"])
        context.client_credentials.load_from_dict(
            {
                f"{uri}/*": {
                    "dtls": {"psk": {"hex": KEY.hex()}, "client-identity": {"ascii": IDENTITY}}
                }
            }
        )
        try:
            for _ in range(3):
                answer = await context.request(
                    aiocoap.Message(code=aiocoap.GET, uri=f"{uri}/x")
                ).response
                assert answer.payload == b"answered"
            assert {peer.endpoint_name for peer in asked} == {ENDPOINT}
            assert server.counters.established == 1
        finally:
            await context.shutdown()
            server.close()

    _run(story())


@pytest.mark.tinydtls
def test_our_client_is_answered_by_tinydtls() -> None:
    pytest.importorskip("DTLSSocket", reason="the `peers` extra is not installed")
    import aiocoap
    from aiocoap import resource

    class Hello(resource.Resource):  # type: ignore[misc]  # aiocoap has no types here
        async def render_get(self, request: Any) -> Any:
            return aiocoap.Message(payload=b"from tinydtls")

    async def story() -> None:
        site = resource.Site()
        site.add_resource(["hello"], Hello())
        port = await _free_port()
        # aiocoap adds one to the port for coaps.
        context = await aiocoap.Context.create_server_context(
            site, bind=("127.0.0.1", port - 1), transports=["tinydtls_server"]
        )
        context.server_credentials.load_from_dict(
            {":a": {"dtls": {"psk": {"hex": KEY.hex()}, "client-identity": {"ascii": IDENTITY}}}}
        )
        try:
            event = await _ask(("127.0.0.1", port), PSK, ("hello",))
            assert isinstance(event, ResponseReceived), event
            assert event.response.payload == b"from tinydtls"
        finally:
            await context.shutdown()

    _run(story())
