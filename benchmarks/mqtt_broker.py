"""What one QoS 1 message and one TLS connect cost each broker, and one publish each client.

    python -m benchmarks.mqtt_broker [--kinds embedded amqtt mosquitto]

Each broker is its own process under the same rules: certificates required, policy enforced.
Devices publish packs of 300 bytes over mutual TLS, one subscriber acknowledges each; counted is
the CPU of the broker's processes alone. `in_windows`: ten devices with 100 packs each in flight,
as after an outage. `one_by_one`: 200 devices with one each, the least that packets can share.
`connect_us` is a TCP and TLS handshake with client certificate, CONNECT and CONNACK; nothing is
resumed. `clients` compares our client with gmqtt, where that is installed: CPU of the publishing
side alone, PUBACK included. CPU is counted in ticks of 10 ms: ±5 %. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import resource
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.child_process import terminated
from contracts.names import service_identity
from contracts.topics import Topics, fill
from harness.bench.parent import die_with_parent
from harness.mqtt_broker.mosquitto import find_mosquitto
from mqtt.packets import ConnAck, Connect, Parser, encode
from mqtt.transport import MqttClient, client_tls
from runtime.clock import SystemClock

WINDOW = 100
# Devices, and packs that each has in flight.
PATTERNS = {"in_windows": (10, WINDOW), "one_by_one": (200, 1)}
PAYLOAD = bytes(300)
MESSAGES = {"embedded": 20_000, "amqtt": 4_000, "mosquitto": 20_000}
CONNECTS = 200
CLIENT_MESSAGES = 20_000
WITHIN_S = 60.0
TOPICS = Topics()
Fields = dict[str, Any]


# ---- certificates ----


class Pki:
    """A CA and a certificate with key for each name, as PEM files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark CA")])
        self.ca_file = folder / "ca.pem"
        self._ca = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.ca_file.write_bytes(self._ca.public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str) -> tuple[Path, Path]:
        """Certificate file and key file of `name`."""
        stem = self._folder / name.replace(":", "_")
        certificate, secret = stem.with_suffix(".pem"), stem.with_suffix(".key")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        signed = self._sign(subject, key, addresses)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret

    @property
    def ca_der(self) -> bytes:
        """The CA's certificate."""
        return self._ca.public_bytes(serialization.Encoding.DER)

    def certificate_der(self, name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
        """A device's certificate of a key that is there already."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        return self._sign(subject, key, constraints).public_bytes(serialization.Encoding.DER)

    def context(self, name: str) -> ssl.SSLContext:
        """A client context of `name`, of the standard library."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca_file)
        context.load_cert_chain(*self.pair(name))
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
            .sign(self._key, hashes.SHA256())
        )


# ---- brokers ----


@contextlib.asynccontextmanager
async def broker_up(kind: str, pki: Pki) -> AsyncIterator[tuple[tuple[str, int], int]]:
    """A broker process while the block runs: its address and process id."""
    with tempfile.TemporaryDirectory(prefix="lamplighter-benchmark-") as folder:
        certificate, key = pki.pair("broker")
        config = {
            "kind": kind,
            "ca_file": str(pki.ca_file),
            "certificate_file": str(certificate),
            "key_file": str(key),
            "state_dir": folder,
        }
        file = Path(folder) / "broker.json"
        file.write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "harness.mqtt_broker", "--config", str(file),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | {"LAMPLIGHTER_LOG": "ERROR"}, preexec_fn=die_with_parent(),
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), WITHIN_S)
            if not line:
                raise EOFError(f"the {kind} broker ended before it was ready")
            said = json.loads(line)
            host, _, port = said["ready"]["mqtt"].rpartition(":")
            yield (host, int(port)), process.pid
        finally:
            await terminated(process)


def cpu_us(pid: int) -> float:
    """CPU microseconds used by a process and its children."""
    root = psutil.Process(pid)
    times = [each.cpu_times() for each in [root, *root.children(recursive=True)]]
    return sum(each.user + each.system for each in times) * 1e6


def own_cpu_us() -> float:
    """CPU microseconds used by this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


# ---- clients ----


class Publisher:
    """Keeps a window of messages outstanding until all are acknowledged."""

    def __init__(self, topic: str, count: int, window: int = WINDOW) -> None:
        self.done = asyncio.Event()
        self.publish: Callable[[str, bytes], object] = lambda topic, payload: None
        self._topic = topic
        self._window = window
        self._left_to_send = self._left_to_hear = count

    def use(self, client: MqttClient) -> None:
        """Publish with this client."""
        self.publish = lambda topic, payload: client.publish(topic, payload, 1, self.acknowledged)

    def begin(self) -> None:
        """Fill the window."""
        for _ in range(min(self._window, self._left_to_send)):
            self._publish()

    def acknowledged(self) -> None:
        """A PUBACK came."""
        self._left_to_hear -= 1
        if self._left_to_send:
            self._publish()
        if not self._left_to_hear:
            self.done.set()

    def _publish(self) -> None:
        self._left_to_send -= 1
        self.publish(self._topic, PAYLOAD)


def make_client(pki: Pki, name: str, address: tuple[str, int], **fields: Any) -> MqttClient:
    """A client with a certificate of its own."""
    return MqttClient(
        client_id=name,
        address=address,
        tls=client_tls(pki.ca_file, *pki.pair(name)),
        clock=SystemClock(),
        chance=random.Random(1).random,
        **fields,
    )


@contextlib.asynccontextmanager
async def connected(*clients: MqttClient) -> AsyncIterator[None]:
    """The clients run while the block runs."""
    tasks = [asyncio.ensure_future(client.run()) for client in clients]
    try:
        for client in clients:
            await asyncio.wait_for(client.connected.wait(), WITHIN_S)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def measure_messages(
    kind: str, pattern: str, pki: Pki, address: tuple[str, int], pid: int
) -> Fields:
    """CPU and rate per message from device to subscriber, both acknowledged."""
    device_count, window = PATTERNS[pattern]
    count = MESSAGES[kind] // device_count
    arrived, all_arrived = [0], asyncio.Event()

    def arrive(message: Any) -> None:
        reader.acknowledge(message)
        arrived[0] += 1
        if arrived[0] == count * device_count:
            all_arrived.set()

    reader = make_client(
        pki, service_identity("ingestion"), address,
        subscriptions=[(fill(TOPICS.state), 1)], on_message=arrive,
    )  # fmt: skip
    names = [f"lamp-{number}" for number in range(device_count)]
    devices = [make_client(pki, name, address) for name in names]
    publishers = [Publisher(fill(TOPICS.state, endpoint=name), count, window) for name in names]
    for publisher, device in zip(publishers, devices, strict=True):
        publisher.use(device)
    async with connected(reader, *devices):
        loop = asyncio.get_running_loop()
        before, began = cpu_us(pid), loop.time()
        for publisher in publishers:
            publisher.begin()
        await asyncio.wait_for(all_arrived.wait(), WITHIN_S)
        for publisher in publishers:
            await asyncio.wait_for(publisher.done.wait(), WITHIN_S)
        took_s = loop.time() - began
        return {
            "message_us": round((cpu_us(pid) - before) / arrived[0], 1),
            "messages_per_s": round(arrived[0] / took_s),
        }


async def measure_connects(pki: Pki, address: tuple[str, int], pid: int) -> Fields:
    """CPU per TLS connect with CONNECT and CONNACK."""
    context = pki.context("lamp-0")
    before = cpu_us(pid)
    for _ in range(CONNECTS):
        reader, writer = await asyncio.open_connection(*address, ssl=context)
        writer.write(encode(Connect(client_id="lamp-0")))
        assert Parser().receive_bytes(await reader.read(100)) == [ConnAck(False, 0)]
        writer.close()
        await writer.wait_closed()
    return {"connect_us": round((cpu_us(pid) - before) / CONNECTS)}


async def measure_our_client(pki: Pki, address: tuple[str, int]) -> Fields:
    """CPU of one publisher of ours, from `publish` to its PUBACK."""
    publisher = Publisher(fill(TOPICS.state, endpoint="lamp-0"), CLIENT_MESSAGES)
    client = make_client(pki, "lamp-0", address)
    publisher.use(client)
    async with connected(client):
        return await _measured(publisher.begin, publisher.done)


async def measure_gmqtt(pki: Pki, address: tuple[str, int]) -> Fields | None:
    """The same with gmqtt; None where it is not installed."""
    try:
        import gmqtt  # type: ignore[import-untyped]  # it has no types
        from gmqtt.storage import PersistentStorage  # type: ignore[import-untyped]  # nor has this
    except ImportError:
        return None
    publisher = Publisher(fill(TOPICS.state, endpoint="lamp-0"), CLIENT_MESSAGES)

    class Telling(PersistentStorage):  # type: ignore[misc]  # see above
        # gmqtt tells of a PUBACK in no other way.
        def remove_message_by_mid(self, mid: int) -> None:
            super().remove_message_by_mid(mid)
            publisher.acknowledged()

    client = gmqtt.Client("lamp-0", persistent_storage=Telling())
    publisher.publish = lambda topic, payload: client.publish(topic, payload, qos=1)
    await client.connect(*address, ssl=pki.context("lamp-0"), version=4)
    try:
        return await _measured(publisher.begin, publisher.done)
    finally:
        await client.disconnect()


async def _measured(begin: Callable[[], object], done: asyncio.Event) -> Fields:
    loop = asyncio.get_running_loop()
    before, began = own_cpu_us(), loop.time()
    begin()
    await asyncio.wait_for(done.wait(), WITHIN_S)
    return {
        "publish_us": round((own_cpu_us() - before) / CLIENT_MESSAGES, 1),
        "publishes_per_s": round(CLIENT_MESSAGES / (loop.time() - began)),
    }


# ---- all ----


async def measure(kinds: list[str]) -> Fields:
    """All figures."""
    with temporary_folder() as folder:
        pki = Pki(folder)
        brokers: Fields = {}
        for kind in kinds:
            if kind == "mosquitto" and find_mosquitto() is None:
                brokers[kind] = None
                continue
            async with broker_up(kind, pki) as (address, pid):
                connects = await measure_connects(pki, address, pid)
                brokers[kind] = connects | {
                    pattern: await measure_messages(kind, pattern, pki, address, pid)
                    for pattern in PATTERNS
                }
        async with broker_up("embedded", pki) as (address, _):
            clients = {
                "ours": await measure_our_client(pki, address),
                "gmqtt": await measure_gmqtt(pki, address),
            }
    return {
        "benchmark": "mqtt_broker",
        "brokers": brokers,
        "clients": clients,
        "load_before": round(os.getloadavg()[1], 2),
        "cores": os.cpu_count(),
    }


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="lamplighter-benchmark-") as name:
        yield Path(name)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=tuple(MESSAGES), default=list(MESSAGES))
    kinds = parser.parse_args().kinds
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.stdout.write(json.dumps(uvloop.run(measure(kinds))) + "\n")


if __name__ == "__main__":
    main()
