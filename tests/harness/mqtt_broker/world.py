"""Certificates, broker processes and a plain blocking MQTT peer for the broker's tests."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.bench.parent import die_with_parent
from mqtt.packets import (
    ConnAck,
    Connect,
    Packet,
    Parser,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    Will,
    encode,
)
from tests.processes import WITHIN_S, line_of

ROOT = Path(__file__).parents[3]
PacketType = TypeVar("PacketType", bound=Packet)
_FROM, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=2)


# ---- certificates ----


class Authority:
    """A CA that makes a certificate for whatever common name is asked for, each once."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        ca = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.ca_file = folder / "ca.pem"
        self.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def pair(self, *names: str) -> tuple[Path, Path]:
        """Certificate and key of a subject with these common names."""
        stem = "+".join(names).replace(":", "_")
        certificate, key = self._folder / f"{stem}.pem", self._folder / f"{stem}.key"
        if not key.exists():
            secret = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
            signed = self._sign(subject, secret, _localhost())
            certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
            key.write_bytes(
                secret.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return certificate, key

    def context(self, *names: str, trusting: Path | None = None) -> ssl.SSLContext:
        """A client's context; without names it has no certificate to show."""
        if names not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(trusting or self.ca_file)
            if names:
                context.load_cert_chain(*self.pair(*names))
            self._contexts[names] = context
        return self._contexts[names]

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(_UNTIL)
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )


def _localhost() -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName("localhost")])


# ---- brokers ----


class BrokerProcess:
    """One `python -m harness.mqtt_broker`, its ready line read."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self.log = log
        self.pid = process.pid
        host, port = self.line()["ready"]["mqtt"].split(":")
        self.address = (host, int(port))

    def line(self) -> dict[str, Any]:
        """The next line it says."""
        try:
            found: dict[str, Any] = json.loads(line_of(self._process))
        except AssertionError as error:
            raise AssertionError(f"the broker: {error}: {self.log.read_text()}") from None
        return found

    def has_said(self) -> bool:
        """Whether a line is there that `line` has not returned."""
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def tell(self, **line: Any) -> None:
        """Write one line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()

    def close_input(self) -> None:
        """Say nothing more, ever."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def is_running(self) -> bool:
        return self._process.poll() is None


@contextlib.contextmanager
def broker_process(
    pki: Authority,
    folder: Path,
    kind: str = "embedded",
    stdin: Any = subprocess.PIPE,
    **config: Any,
) -> Iterator[BrokerProcess]:
    """A broker while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = pki.pair("localhost")
    settings = {
        "kind": kind,
        "ca_file": str(pki.ca_file),
        "certificate_file": str(certificate),
        "key_file": str(key),
        "state_dir": str(folder / "state"),
        **config,
    }
    file = folder / "broker.json"
    file.write_text(json.dumps(settings))
    log = folder / "broker.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.mqtt_broker", "--config", str(file)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,  # what has been read and not taken, `select` would not tell of
            cwd=ROOT,
            preexec_fn=die_with_parent(),
        )
    try:
        yield BrokerProcess(process, log)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(WITHIN_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class Target(NamedTuple):
    """One broker under test, with names for each test of its own."""

    kind: str
    broker: BrokerProcess
    pki: Authority
    patience_s: float = WITHIN_S
    numbers: Iterator[int] = itertools.count(1)

    def new_server(self) -> str:
        return f"s{next(self.numbers)}"

    def new_device(self) -> str:
        return f"lamp-{next(self.numbers)}"

    def peer(self, identity: str, *, tls: ssl.SSLContext | None = None) -> Peer:
        return Peer(self.broker.address, tls or self.pki.context(identity), self.patience_s)

    def client(self, identity: str, **connect: Any) -> Peer:
        """A peer that was let in."""
        peer = self.peer(identity)
        connack = peer.connect(identity, **connect)
        assert connack is not None
        assert connack.return_code == 0
        return peer


# ---- a peer ----


class Closed(Exception):
    """The broker has closed the connection."""


class Peer:
    """A blocking MQTT client that does only what it is told and waits no longer than bidden."""

    def __init__(
        self,
        address: tuple[str, int],
        tls: ssl.SSLContext,
        patience_s: float = WITHIN_S,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.patience_s = patience_s
        raw = socket.socket()
        raw.settimeout(WITHIN_S)
        # Small, so that tests of full buffers are quick.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        try:
            raw.connect(address)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket = tls.wrap_socket(raw, server_hostname="localhost", session=session)
        except BaseException:
            raw.close()
            raise
        self._parser = Parser(1 << 24)
        self._packets: list[Packet] = []
        self.session_present = False

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def connect(
        self,
        client_id: str,
        *,
        clean: bool = True,
        keep_alive_s: int = 60,
        will: Will | None = None,
    ) -> ConnAck | None:
        """The CONNACK; None when the broker closed without one."""
        packet = Connect(
            client_id=client_id, clean_session=clean, keep_alive_s=keep_alive_s, will=will
        )
        try:
            self.send(packet)
            connack = self.expect(ConnAck)
        except Closed:
            return None
        self.session_present = connack.session_present
        return connack

    def send(self, *packets: Packet) -> None:
        self.send_bytes(b"".join(map(encode, packets)))

    def send_bytes(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed from error

    def receive(self, within_s: float | None = None) -> Packet:
        """The next packet. Raises `Closed`, `TimeoutError`."""
        until = time.monotonic() + (within_s or self.patience_s)
        while not self._packets:
            data = self._read(max(0.001, until - time.monotonic()))
            if not data:
                raise Closed
            self._packets += self._parser.receive_bytes(data)
        return self._packets.pop(0)

    def _read(self, within_s: float) -> bytes:
        self.socket.settimeout(within_s)
        try:
            return self.socket.recv(65_536)
        except TimeoutError:
            raise
        except OSError as error:  # TLS refusals and resets
            raise Closed from error
        finally:
            self.socket.settimeout(WITHIN_S)

    def expect(self, kind: type[PacketType]) -> PacketType:
        packet = self.receive()
        assert isinstance(packet, kind), packet
        return packet

    def subscribe(self, *filters: str, qos: int = 1) -> tuple[int, ...]:
        """The return codes."""
        self.send(Subscribe(1, tuple((each, qos) for each in filters)))
        return self.expect(SubAck).return_codes

    def is_acknowledged(self, packet_id: int, broker: BrokerProcess) -> bool:
        """Whether the PUBACK comes before the broker tells something, such as of a gate."""
        until = time.monotonic() + self.patience_s
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                packet = self.receive(within_s=0.05)
                assert packet == PubAck(packet_id), packet
                return True
            if broker.has_said():
                return False
        raise AssertionError("neither acknowledged nor told of")

    def publish(self, topic: str, payload: bytes = b"x", packet_id: int = 1) -> None:
        """Publish at QoS 1 and get the PUBACK."""
        self.send(Publish(topic, payload, 1, packet_id))
        assert self.expect(PubAck).packet_id == packet_id

    def message(self, *, acknowledge: bool = True) -> Publish:
        message = self.expect(Publish)
        if acknowledge and message.qos:
            self.send(PubAck(message.packet_id))
        return message

    def is_served(self) -> bool:
        """Whether a PINGREQ is answered, and by nothing else."""
        self.send(PingReq())
        return isinstance(self.receive(), PingResp)

    def is_closed(self) -> bool:
        """Whether the broker ends the connection in time; what it still says is passed over."""
        until = time.monotonic() + self.patience_s
        try:
            while (left := until - time.monotonic()) > 0:
                self.receive(left)
        except Closed:
            return True
        except TimeoutError:
            return False
        return False

    def vanish(self) -> None:
        """Cut the connection without DISCONNECT."""
        self.socket.close()
