"""A certificate authority, a broker that takes packs, and a server that bootstraps; on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import ssl
from collections.abc import AsyncIterator, Callable, Hashable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fake_devices.device import device_models
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
from lwm2m.codecs import Node, content_formats, encode_payload
from lwm2m.objects import Models, ObjectLink, ObjectPath, Value
from lwm2m.transport import EndpointDriver, open_udp
from mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    Parser,
    PingReq,
    PingResp,
    Publish,
    encode,
    encode_puback,
)
from tests.processes import WITHIN_S


class Keys(NamedTuple):
    """A certificate and its key, DER."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates for tests; each takes half a millisecond."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = self._sign(name, self._key, is_authority=True)

    def issue(self, name: str, hosts: tuple[str, ...] = ()) -> Keys:
        key = ec.generate_private_key(ec.SECP256R1())
        return Keys(self._sign(name, key, hosts), _der_key(key))

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        hosts: tuple[str, ...] = (),
        is_authority: bool = False,
    ) -> bytes:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if hosts:
            names = [_general_name(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _der_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class StubBroker:
    """Takes connections and packs; `acknowledges` says whether it answers them."""

    def __init__(self, moved: asyncio.Event) -> None:
        self.moved = moved
        self.port = 0
        self.published: list[Publish] = []
        self.connects: list[Connect] = []
        self.return_code = 0
        self.acknowledges = True
        self.links: list[_BrokerLink] = []
        self.is_down = False

    def cut(self) -> None:
        """End every connection."""
        for link in self.links:
            if link.transport is not None:
                link.transport.abort()
        self.links.clear()


class _BrokerLink(asyncio.Protocol):
    # TLS by hand: every accepted connection is in `links` from its first moment, so that none
    # outlives the test.
    def __init__(self, broker: StubBroker, context: ssl.SSLContext | None) -> None:
        self._broker = broker
        self._parser = Parser(65_536)
        self.transport: asyncio.Transport | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True) if context else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._broker.links.append(self)
        if self._broker.is_down:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._broker.moved.set()

    def data_received(self, data: bytes) -> None:
        self._broker.moved.set()
        for packet in self._parser.receive_bytes(self._decrypted(data)):
            self._answer(packet)
        self._flush()

    def _answer(self, packet: Packet) -> None:
        broker = self._broker
        if isinstance(packet, Connect):
            broker.connects.append(packet)
            self._write(encode(ConnAck(False, broker.return_code)))
        elif isinstance(packet, Publish):
            broker.published.append(packet)
            if broker.acknowledges and packet.qos:
                self._write(encode_puback(packet.packet_id))
        elif isinstance(packet, PingReq):
            self._write(encode(PingResp()))

    def _decrypted(self, data: bytes) -> bytes:
        if self._tls is None:
            return data
        plain = b""
        self._in.write(data)
        try:
            self._tls.do_handshake()
            while piece := self._tls.read(65_536):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._flush()
            if self.transport is not None:
                self.transport.close()
        return plain

    def _write(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
        elif self.transport is not None:
            self.transport.write(data)

    def _flush(self) -> None:
        data = self._out.read()
        if data and self.transport is not None:
            self.transport.write(data)


class StubServer:
    """An LwM2M server that writes every device's credentials after its Register."""

    def __init__(
        self, models: Models, keys: Callable[[str], dict[int, Value]], moved: asyncio.Event
    ) -> None:
        self._moved = moved
        self.port = 0
        self.registered: list[str] = []
        self.codes: list[str] = []
        self._models = models
        self._keys = keys
        self._steps: dict[Hashable, list[Request]] = {}
        self.driver: EndpointDriver | None = None

    def handle_events(self, events: list[Event]) -> None:
        self._moved.set()
        for event in events:
            if isinstance(event, RequestReceived):
                self._answer(event)
            elif isinstance(event, ResponseReceived):
                self.codes.append(codes.code_text(event.response.code))
                self._go_on(event.peer)

    def _answer(self, event: RequestReceived) -> None:
        assert self.driver is not None
        if event.request.path != ("rd",):
            self.driver.respond(event.exchange, Response(codes.CHANGED))
            return
        endpoint = event.request.query[0].removeprefix("ep=")
        self.registered.append(endpoint)
        location = ("rd", str(len(self.registered)))
        self.driver.respond(event.exchange, Response(codes.CREATED, location_path=location))
        self._steps[event.peer] = self._bootstrap(endpoint)
        self._go_on(event.peer)

    def _go_on(self, peer: Hashable) -> None:
        assert self.driver is not None
        if self._steps[peer]:
            self.driver.send_request(peer, self._steps[peer].pop(0))

    def _bootstrap(self, endpoint: str) -> list[Request]:
        topics = (f"devices/{endpoint}/state", f"devices/{endpoint}/alarm")
        publications: list[dict[int, Value]] = [
            {0: "", 1: ObjectLink(18830, 0), 2: topic, 3: 1, 4: False, 5: False, 6: 112}
            for topic in topics
        ]
        return [
            self._create("/18830/0", self._keys(endpoint)),
            *(self._create(f"/18831/{n}", each) for n, each in enumerate(publications)),
            *(
                Request(codes.PUT, ("18831", str(n), "5"), content_format=0, payload=b"1")
                for n in range(2)
            ),
        ]

    def _create(self, instance: str, values: dict[int, Value]) -> Request:
        base = ObjectPath.parse(instance)
        nodes = [Node(base.child(number), value) for number, value in values.items()]
        payload = encode_payload(content_formats.TLV, base.object, nodes, self._models)
        return Request(
            codes.POST, base.object.segments, content_format=content_formats.TLV, payload=payload
        )


def account_values(
    port: int, client_id: str, keys: Keys, authority: bytes, host: str = "127.0.0.1"
) -> dict[int, Value]:
    """What is written into `/18830/0`."""
    return {
        0: f"mqtts://{host}:{port}",
        1: client_id,
        2: True,
        3: 60,
        6: 2,
        7: keys.certificate,
        8: authority,
        9: keys.key,
        10: 2,
    }


@contextlib.asynccontextmanager
async def _broker_up(
    context: ssl.SSLContext | None, moved: asyncio.Event
) -> AsyncIterator[StubBroker]:
    broker = StubBroker(moved)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _BrokerLink(broker, context), "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        # Whoever knocked before is let in first: a server that is closed with connections half
        # accepted leaves their sockets open (CPython 3.11, `Server._attach`).
        broker.is_down = True
        await _turns(10)
        server.close()
        broker.cut()
        await server.wait_closed()
        await _turns(5)


async def _turns(count: int) -> None:
    """Let everything that is due happen."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _server_up(
    models: Models, keys: Callable[[str], dict[int, Value]], moved: asyncio.Event
) -> AsyncIterator[StubServer]:
    server = StubServer(models, keys, moved)
    endpoint = CoapEndpoint(TransmissionParameters(), random.Random(3).randbytes)
    driver = server.driver = EndpointDriver(endpoint, server.handle_events)
    link = await open_udp("127.0.0.1", 0, driver.receive_datagrams)
    server.port = link.address[1]
    driver.attach(link)
    try:
        yield server
    finally:
        driver.close()


class World:
    """What the tests of this folder start."""

    Authority = Authority
    Keys = Keys
    account_values = staticmethod(account_values)

    def __init__(self, authority: Authority, models: Models, folder: Path) -> None:
        self.authority = authority
        self.models = models
        self._folder = folder
        self.moved = asyncio.Event()

    async def until(self, condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Wait until `condition` holds; it is tried whenever something has moved."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.moved.clear()
                await self.moved.wait()

    def broker_context(self, *hosts: str) -> ssl.SSLContext:
        """A server's context that asks for a certificate of the authority."""
        keys = self.authority.issue("broker", hosts or ("127.0.0.1", "localhost"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.authority.certificate)
        pem = self._folder / f"broker-{len(list(self._folder.iterdir()))}.pem"
        pem.write_text(
            ssl.DER_cert_to_PEM_cert(keys.certificate)
            + serialization.load_der_private_key(keys.key, None)
            .private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            .decode()
        )
        context.load_cert_chain(pem)
        return context

    def broker_up(
        self, context: ssl.SSLContext | None = None
    ) -> contextlib.AbstractAsyncContextManager[StubBroker]:
        """A broker while the block runs; without TLS unless a context is given."""
        return _broker_up(context, self.moved)

    def server_up(
        self, keys: Callable[[str], dict[int, Value]]
    ) -> contextlib.AbstractAsyncContextManager[StubServer]:
        """An LwM2M server while the block runs; `keys` gives `/18830/0` by endpoint."""
        return _server_up(self.models, keys, self.moved)


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The platform's certificate authority."""
    return Authority("platform")


@pytest.fixture
def world(authority: Authority, tmp_path: Path) -> World:
    """See `World`."""
    folder = tmp_path / "pki"
    folder.mkdir()
    return World(authority, device_models(), folder)
