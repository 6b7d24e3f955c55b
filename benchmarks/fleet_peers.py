"""What a fleet talks to when it alone is measured: servers that answer and remember nothing.

Each runs in a process of its own. They answer whatever looks like a Register, an Update or an MQTT
packet, so that what a device costs is not mixed up with what a server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import multiprocessing
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.child_process import ended, started, under
from lwm2m.transport.dtls import DtlsServerLink, ServerCredentials, open_dtls_server
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

PSK = bytes(range(16))
_RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
_CREATED, _CHANGED = 0x41, 0x44
_ACK = 0x60
# Option 8 (Location-Path) "rd", then one more of eight letters.
_LOCATION = b"\x82rd\x08%08x"
# Option 11 (Uri-Path) "rd" comes first in a Register and in an Update; in an Update another
# Uri-Path follows, whose option delta is 0.
_URI_PATH_RD = b"\xb2rd"


class Answers:
    """Answers datagrams of devices: 2.01 to a Register, 2.04 to anything else."""

    def __init__(self) -> None:
        self.registered = self.updated = 0

    def to(self, request: bytes) -> bytes | None:
        """The piggybacked answer to a confirmable request; None to what is none."""
        if len(request) < 4 or request[0] & 0x30 or not 0 < request[1] < 0x20:
            return None
        token_end = 4 + (request[0] & 0x0F)
        head = bytes((_ACK | (request[0] & 0x0F),))
        rest = request[token_end:]
        if rest.startswith(_URI_PATH_RD) and (len(rest) == 3 or rest[3] & 0xF0):
            self.registered += 1
            options = _LOCATION % self.registered
            return head + bytes((_CREATED,)) + request[2:token_end] + options
        self.updated += 1
        return head + bytes((_CHANGED,)) + request[2:token_end]


def _serve_plainly(pipe: Connection) -> None:
    """Answer datagrams until killed."""
    answers = Answers()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.bind(("127.0.0.1", 0))
        pipe.send(sock.getsockname()[1])
        while True:
            request, peer = sock.recvfrom(2_048)
            answer = answers.to(request)
            if answer is not None:
                sock.sendto(answer, peer)


def _serve_securely(pipe: Connection) -> None:
    uvloop.run(_dtls(pipe))


async def _dtls(pipe: Connection) -> None:
    answers = Answers()
    links: list[DtlsServerLink] = []

    def receive(datagrams: Sequence[tuple[bytes, Any]]) -> None:
        found = [(answers.to(data), peer) for data, peer in datagrams]
        links[0].send([(data, peer) for data, peer in found if data is not None])

    credentials = ServerCredentials(key_of=lambda identity: (identity, PSK))
    link = await open_dtls_server("127.0.0.1", 0, receive, credentials)
    links.append(link)
    pipe.send(link.address[1])
    await asyncio.Event().wait()


class Keys(NamedTuple):
    """A certificate and its PKCS #8 key, DER."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs the certificates of one measurement."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Benchmark CA")
        self.certificate = self._signed("Benchmark CA", self._key, is_authority=True)

    def issue(self, name: str) -> Keys:
        """A key and its certificate, for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Keys(self._signed(name, key), private)

    def _signed(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False
    ) -> bytes:
        now = datetime.now(UTC)
        host = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([host]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.DER)


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


class _BrokerSide(asyncio.Protocol):
    """One connection: CONNACK, PUBACK and PINGRESP, whatever was sent."""

    def __init__(self, links: dict[_BrokerSide, asyncio.Transport]) -> None:
        self._links = links
        self._parser = Parser(65_536)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._links[self] = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        self._links.pop(self, None)

    def data_received(self, data: bytes) -> None:
        answers = [self._answer(packet) for packet in self._parser.receive_bytes(data)]
        self._links[self].write(b"".join(answers))

    def _answer(self, packet: Packet) -> bytes:
        if isinstance(packet, Connect):
            return encode(ConnAck(False, 0))
        if isinstance(packet, Publish):
            return encode_puback(packet.packet_id) if packet.qos else b""
        return encode(PingResp()) if isinstance(packet, PingReq) else b""


def _serve_mqtt(pipe: Connection) -> None:
    keys, anchor = pipe.recv()
    uvloop.run(_mqtt(pipe, keys, anchor))


async def _mqtt(pipe: Connection, keys: Keys, anchor: bytes) -> None:
    """A TLS 1.2 listener with session tickets; "cut" ends all its connections."""
    links: dict[_BrokerSide, asyncio.Transport] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _BrokerSide(links), "127.0.0.1", 0, ssl=_broker_context(keys, anchor), backlog=4_096
    )
    pipe.send(server.sockets[0].getsockname()[1])
    while True:
        asked = loop.create_future()
        loop.add_reader(pipe.fileno(), asked.set_result, None)
        await asked
        loop.remove_reader(pipe.fileno())
        pipe.recv()
        for transport in tuple(links.values()):
            transport.abort()


def _broker_context(keys: Keys, anchor: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=anchor)
    private = serialization.load_der_private_key(keys.key, None)
    with tempfile.TemporaryDirectory() as name:
        pem = Path(name) / "broker.pem"
        pem.touch(0o600)
        pem.write_text(
            ssl.DER_cert_to_PEM_cert(keys.certificate)
            + private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode()
        )
        context.load_cert_chain(pem)
    return context


@contextlib.contextmanager
def _child(target: Any, said: object = None) -> Iterator[tuple[int, Connection]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=under, args=(os.getpid(), target, theirs), daemon=True)
    process.start()
    try:
        if said is not None:
            ours.send(said)
        yield started(process, ours), ours
    finally:
        ended(process, within_s=0.0)


@contextlib.contextmanager
def lwm2m_server(*, is_secure: bool) -> Iterator[str]:
    """The URI of a server that accepts every device; with DTLS, every identity with `PSK`."""
    with _child(_serve_securely if is_secure else _serve_plainly) as (port, _):
        yield f"{'coaps' if is_secure else 'coap'}://127.0.0.1:{port}"


@contextlib.contextmanager
def mqtt_server(authority: Authority) -> Iterator[tuple[int, Connection]]:
    """The port of a broker of a kind over mutual TLS; what is sent on the pipe cuts all off."""
    with _child(_serve_mqtt, (authority.issue("broker"), authority.certificate)) as found:
        yield found


def resident_bytes() -> int:
    """The resident memory of this process."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
