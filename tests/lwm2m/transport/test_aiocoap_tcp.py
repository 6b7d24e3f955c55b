"""aiocoap as the other end of CoAP over TCP and TLS, both ways on each connection."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiocoap  # type: ignore[import-untyped]  # it has no py.typed
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.testing import seeded_draw
from lwm2m.coap import (
    DatagramRejected,
    Event,
    ExchangeFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
    TransmissionParameters,
    codes,
)
from lwm2m.transport.peers import security_of
from lwm2m.transport.reliable import (
    ConnectionLimits,
    ReliableEndpoint,
    ReliablePeer,
    TcpDriver,
    TlsFiles,
    open_tcp_client,
    open_tcp_server,
)

from .aiocoap_site import BODY, free_address, make_site, run

_LARGE = bytes(range(256)) * 20
_HUGE = bytes(range(256)) * 200
Answer = Callable[[RequestReceived], Response]


class _Side:
    """Our endpoint and its driver, with what happens in a queue."""

    def __init__(self, answer: Answer | None = None, limits: ConnectionLimits | None = None,
                 **parameters: Any) -> None:  # fmt: skip
        endpoint = ReliableEndpoint(TransmissionParameters(**parameters), seeded_draw(1))
        self.driver = TcpDriver(endpoint, self._turn, limits=limits)
        self.told: asyncio.Queue[Event] = asyncio.Queue()
        self._answer = answer

    def _turn(self) -> None:
        for event in self.driver.events():
            if isinstance(event, RequestReceived) and self._answer is not None:
                self.driver.respond(event.exchange, self._answer(event))
            self.told.put_nowait(event)

    async def next(self, kind: type[Event] | None = None) -> Any:
        """What happens next, of this kind."""
        while True:
            event = await self.told.get()
            if kind is None or isinstance(event, kind):
                return event


def _answer(event: RequestReceived) -> Response:
    request = event.request
    if request.observe == 0:
        return Response(codes.CONTENT, b"0", observe=1)
    body = _LARGE if request.code == codes.GET else request.payload
    return Response(codes.CONTENT, body, content_format=42)


class _Pki:
    """A CA and what it signs, as PEM files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        authority = self._sign(self._name, self._key, is_authority=True)
        self.authority = folder / "authority.pem"
        self.authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))

    def files(self, name: str, **others: str | None) -> TlsFiles:
        """A certificate of this common name, its key, and trust in the CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, is_authority=False)
        pem = serialization.Encoding.PEM
        certificate_file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate_file.write_bytes(certificate.public_bytes(pem))
        key_file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        named: dict[str, str | None] = {"trusted_file": str(self.authority), **others}
        return TlsFiles(str(certificate_file), str(key_file), **named)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture
def pki(tmp_path: Path) -> _Pki:
    """Certificates of this test."""
    return _Pki(tmp_path)


async def _ask_everything(side: _Side, peer: ReliablePeer, step: Callable[[], None]) -> None:
    for code in (codes.GET, codes.POST, codes.PUT, codes.DELETE, codes.FETCH, codes.IPATCH):
        body = b"" if code in (codes.GET, codes.DELETE) else _LARGE
        side.driver.send_request(peer, Request(code, ("store",), payload=body))
        event = await side.next()
        assert isinstance(event, ResponseReceived), event
        expected = BODY if code == codes.GET else body
        assert (event.response.payload, event.response.content_format) == (expected, 42)
    observing = side.driver.send_request(peer, Request(codes.GET, ("counter",), observe=0))
    for number in range(4):
        event = await side.next()
        assert event.response.payload == str(number).encode()
        step()
    assert (await side.next()).response.payload == b"4"
    ending = side.driver.end_observation(observing)
    event = await side.next()
    assert (event.exchange, event.response.payload) == (ending, b"4")
    step()
    side.driver.send_request(peer, Request(codes.DELETE, ("store",)))
    assert (await side.next()).response.code == codes.CHANGED


@pytest.mark.slow
def test_our_client_asks_an_aiocoap_server_and_is_asked_over_the_same_connection() -> None:
    async def story() -> None:
        site, counter = make_site()
        address = await free_address()
        context = await aiocoap.Context.create_server_context(
            site, bind=address, transports=["tcpserver"]
        )
        side = _Side(_answer)
        peer = await open_tcp_client(*address, side.driver)
        await _ask_everything(side, peer, counter.step)
        # Downlink: aiocoap asks over the connection that it accepted.
        [server] = [i.token_interface for i in context.request_interfaces]
        [connection] = server._pool
        asked = aiocoap.Message(code=aiocoap.PUT, uri_path=["3", "0"], payload=_LARGE)
        asked.remote = connection
        response = await context.request(asked).response
        assert response.payload == _LARGE
        assert (await side.next(RequestReceived)).request.path == ("3", "0")
        await context.shutdown()
        lost = await side.next(DatagramRejected)
        assert lost.detail.startswith("Release")
        side.driver.close()

    run(story)


@pytest.mark.slow
def test_an_aiocoap_client_asks_our_server_and_is_asked_over_the_same_connection() -> None:
    async def story() -> None:
        side = _Side(_answer)
        server = await open_tcp_server("127.0.0.1", 0, side.driver)
        base = f"coap+tcp://127.0.0.1:{server.address[1]}"
        site, counter = make_site()
        context = await aiocoap.Context.create_server_context(site, transports=["tcpclient"])
        await _be_asked(side, context, base)
        # Downlink to the device that is registered over this connection.
        context_peer = (await _register(side, context, base)).peer
        await _ask_everything(side, context_peer, counter.step)
        await context.shutdown()
        server.close()
        side.driver.close()

    run(story)


async def _register(side: _Side, context: Any, base: str) -> RequestReceived:
    asked = aiocoap.Message(code=aiocoap.POST, uri=f"{base}/rd?ep=lamp", payload=b"</3/0>")
    await context.request(asked).response
    found = await side.next(RequestReceived)
    assert isinstance(found, RequestReceived)
    return found


async def _be_asked(side: _Side, context: Any, base: str) -> None:
    for code in (aiocoap.GET, aiocoap.POST, aiocoap.PUT, aiocoap.DELETE, aiocoap.FETCH,
                 aiocoap.iPATCH):  # fmt: skip
        body = b"" if code in (aiocoap.GET, aiocoap.DELETE) else _HUGE
        asked = aiocoap.Message(code=code, uri=f"{base}/store?x=1", payload=body)
        response = await context.request(asked).response
        assert response.payload == (_LARGE if code == aiocoap.GET else body)
        event = await side.next(RequestReceived)
        assert (event.request.code, event.request.path) == (int(code), ("store",))
    observing = context.request(aiocoap.Message(code=aiocoap.GET, uri=base, observe=0))
    assert (await observing.response).payload == b"0"
    registered = await side.next(RequestReceived)
    notes = observing.observation.__aiter__()
    for number in (1, 2, 3):
        body = str(number).encode() * 2_000
        side.driver.notify(registered.exchange, Response(codes.CONTENT, body, observe=number + 1))
        assert (await anext(notes)).payload == body
    observing.observation.cancel()


@pytest.mark.slow
def test_tls_shows_who_the_client_is(pki: _Pki) -> None:
    async def story() -> None:
        side = _Side(_answer)
        server = await open_tcp_server("127.0.0.1", 0, side.driver, tls=pki.files("server"))
        base = f"coaps+tcp://localhost:{server.address[1]}"
        lamp = pki.files("urn:dev:lamp-1")
        context = await aiocoap.Context.create_client_context(transports=["tlsclient"])
        context.client_credentials.load_from_dict(
            {f"{base}/*": {"tlscert": {"certfile": str(pki.authority)}}}
        )
        client_context = ssl.create_default_context(cafile=str(pki.authority))
        client_context.load_cert_chain(str(lamp.certificate_file), lamp.key_file)
        context.client_credentials.ssl_client_context = lambda scheme, host: client_context
        event = await _register(side, context, base)
        assert security_of(event.peer).mode == "x509"
        assert security_of(event.peer).identity == "urn:dev:lamp-1"
        assert isinstance(event.peer, ReliablePeer)
        assert event.peer.endpoint_name == "urn:dev:lamp-1"
        await _be_asked(side, context, base)
        await context.shutdown()
        server.close()
        side.driver.close()

    run(story)


@pytest.mark.slow
def test_our_client_trusts_an_aiocoap_server_over_tls(pki: _Pki) -> None:
    async def story() -> None:
        files = pki.files("server", trusted_file=None)
        site, counter = make_site()
        # aiocoap binds TLS one port above the one it is told.
        host, port = await free_address()
        context = await aiocoap.Context.create_server_context(
            site, bind=(host, port - 1), transports=["tlsserver"],
            _ssl_context=files.server_context(),
        )  # fmt: skip
        side = _Side(_answer)
        trusting = TlsFiles(trusted_file=str(pki.authority), server_name="localhost")
        peer = await open_tcp_client(host, port, side.driver, tls=trusting)
        assert security_of(peer).identity == "server"
        await _ask_everything(side, peer, counter.step)
        side.driver.close()
        await context.shutdown()

    run(story)


@pytest.mark.slow
def test_a_client_without_a_trusted_certificate_is_not_let_in(pki: _Pki, tmp_path: Path) -> None:
    async def story() -> None:
        side, client = _Side(_answer), _Side()
        server = await open_tcp_server("127.0.0.1", 0, side.driver, tls=pki.files("server"))
        (tmp_path / "other").mkdir()
        strangers = (
            TlsFiles(trusted_file=str(pki.authority)),
            _Pki(tmp_path / "other").files("lamp", trusted_file=str(pki.authority)),
        )
        for stranger in strangers:
            with pytest.raises(ConnectionError):
                await open_tcp_client(*server.address, client.driver, tls=stranger)
        # Nor does a client go on with a server of another name.
        named = pki.files("lamp", server_name="elsewhere")
        with pytest.raises(ConnectionError):
            await open_tcp_client(*server.address, client.driver, tls=named)
        peer = await open_tcp_client(*server.address, client.driver, tls=pki.files("lamp"))
        client.driver.send_request(peer, Request(codes.PUT, ("x",), payload=b"trusted"))
        assert (await client.next(ResponseReceived)).response.payload == b"trusted"
        assert side.driver.half_open == 0
        client.driver.close()
        server.close()
        side.driver.close()

    run(story)


@pytest.mark.slow
def test_both_of_our_sides_meet_over_tcp_and_notice_when_the_other_is_gone() -> None:
    async def story() -> None:
        side, client = _Side(), _Side()
        server = await open_tcp_server("127.0.0.1", 0, side.driver)
        peer = await open_tcp_client(*server.address, client.driver)
        handle = client.driver.send_request(peer, Request(codes.PUT, ("x",), payload=_HUGE))
        received = await side.next(RequestReceived)
        assert received.request.payload == _HUGE
        assert side.driver.endpoint.peers_known == 1
        side.driver.close()
        failed = await client.next(ExchangeFailed)
        assert (failed.exchange, failed.reason) == (handle, "timeout")
        client.driver.close()
        server.close()

    run(story)


@pytest.mark.slow
def test_garbage_is_aborted_and_silence_is_cut_off() -> None:
    async def story() -> None:
        side = _Side(_answer, ConnectionLimits(opening_s=2.0, half_open_max=2))
        server = await open_tcp_server("127.0.0.1", 0, side.driver)
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        said = await reader.read()
        assert b"\xe5" in said  # 7.05 Abort
        silent = [await asyncio.open_connection(*server.address) for _ in range(3)]
        for waiting, _ in silent:
            with_end = await waiting.read()
            assert with_end == b"" or b"\xe1" in with_end  # nothing, or our CSM
        assert side.driver.refused == 1
        for _, ending in [*silent, (reader, writer)]:
            ending.close()
        assert side.driver.half_open == 0
        server.close()
        side.driver.close()

    run(story)


@pytest.mark.slow
def test_a_peer_that_does_not_read_is_cut_off() -> None:
    async def story() -> None:
        limits = ConnectionLimits(unsent_bytes_max=100_000)
        side = _Side(lambda event: Response(codes.CONTENT, bytes(60_000)), limits)
        server = await open_tcp_server("127.0.0.1", 0, side.driver)
        _, writer = await asyncio.open_connection(*server.address, limit=1_024)
        writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a read transport
        writer.write(b"\x50\xe1\x23\x01\x00\x00\x40")
        while side.driver.endpoint.peers_known or not side.told.qsize():
            writer.write(b"\x00\x01" * 10)
            await asyncio.sleep(0)
        writer.close()
        server.close()
        side.driver.close()

    run(story)


@pytest.mark.slow
def test_nothing_leaves_before_the_owner_lets_it() -> None:
    async def story() -> None:
        turns = asyncio.Event()
        endpoint = ReliableEndpoint(TransmissionParameters(), seeded_draw(1))
        held = TcpDriver(endpoint, turns.set, flushes_itself=False)
        server = await open_tcp_server("127.0.0.1", 0, held)
        reader, writer = await asyncio.open_connection(*server.address)
        await turns.wait()
        assert endpoint.peers_known == 1
        writer.write(b"\x00\xe1")
        turns.clear()
        await turns.wait()
        assert held.half_open == 0
        held.flush()
        assert (await reader.readexactly(2))[1] == 0xE1
        [peer] = list(held._protocols)
        held.release(peer)
        held.flush()
        assert (await reader.read()).endswith(b"\x00\xe4")
        writer.close()
        server.close()
        held.close()

    run(story)
