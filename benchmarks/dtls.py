"""How fast DTLS is on our endpoints, and what a session weighs.

    python -m benchmarks.dtls [--devices 5000] [--x509-devices 500] [--exchanges 10000]

Server and fleet are a process each and talk over loopback UDP; the fleet is thousands of devices on
one socket. Prints one JSON line: handshakes per second (PSK, which is made here; PSK with tickets
and X.509, which OpenSSL makes; a first time and again, 64 under way at a time), Register exchanges
per second on established PSK sessions and in plain in the same run (64 outstanding), and the bytes
that either side keeps per session. `psk_to_plain` compares rates, `psk_to_plain_by_cpu` the CPU of
both sides together, which others on the machine disturb less; `per_core_per_s` is what the side
that needs more CPU would do alone on a core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import psutil
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.child_process import END_S, cpu_s, ended, started, under
from benchmarks.registers import DEVICES, Registers, answer_registers, local_address
from lwm2m.transport import Link, open_many_addresses, open_udp
from lwm2m.transport.dtls import (
    Credentials,
    DtlsClientLink,
    DtlsSettings,
    PskCredentials,
    ServerCredentials,
    X509Credentials,
    open_dtls_server,
)
from runtime.tuning import tune_process

WINDOW = 64
KEY = bytes(range(16))
Figures = dict[str, float]
Peer = tuple[str, str, int]


class Authority:
    """One authority, one certificate for the server and one for every device: keys cost time."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Benchmark CA")
        self.anchor, _ = self._issue(self._name, self._key, is_authority=True)
        self.server = self._issue(_name("server"), ec.generate_private_key(ec.SECP256R1()))
        self.device = self._issue(_name("device"), ec.generate_private_key(ec.SECP256R1()))

    def _issue(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool = False
    ) -> tuple[bytes, bytes]:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.DER), private


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


async def _serve(credentials: ServerCredentials | None, pipe: Connection) -> None:
    """Answer Registers; say CPU and memory each time the other side asks."""

    driver = answer_registers()
    if credentials is None:
        plain = await open_udp("127.0.0.1", 0, driver.receive_datagrams)
        address, link = plain.address, plain
    else:
        secure = await open_dtls_server("127.0.0.1", 0, driver.receive_datagrams, credentials)
        address, link = secure.address, secure  # type: ignore[assignment]  # either is a Link
    driver.attach(link)
    tune_process()
    pipe.send(address)
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.create_future()
        loop.add_reader(pipe.fileno(), asked.set_result, None)
        await asked
        loop.remove_reader(pipe.fileno())
        if pipe.recv() == "end":
            return
        pipe.send((cpu_s(), psutil.Process().memory_info().rss))


class Handshakes:
    """Connects device after device, `WINDOW` at a time."""

    def __init__(
        self, server: tuple[str, int], credentials: Credentials, settings: DtlsSettings
    ) -> None:
        self._server = server
        self._credentials = credentials
        self._settings = settings
        self._left: Iterator[Peer] = iter(())
        self._done: asyncio.Future[None] | None = None
        self._under_way = 0
        self.failures: list[str] = []
        self.link: DtlsClientLink

    async def open(self) -> None:
        """Open the socket."""
        self.link = await DtlsClientLink.over(
            open_many_addresses,
            lambda datagrams: None,
            lambda peer: self._credentials,
            established=lambda peer, is_resumed: self._next(),
            failed=lambda peer, reason: self._fail(reason),
            settings=self._settings,
        )

    async def connect(self, count: int) -> None:
        """Make sessions for so many devices; those that have one make it anew."""
        peers = [(local_address(number), *self._server) for number in range(count)]
        for peer in peers:
            self.link.restart(peer)
        self._left = iter(peers)
        self._done = asyncio.get_running_loop().create_future()
        self._under_way = WINDOW + 1
        for _ in range(WINDOW + 1):
            self._next()
        await self._done

    def _fail(self, reason: str) -> None:
        self.failures.append(reason)
        self._next()

    def _next(self) -> None:
        # One more than is under way takes the place of the one that ended.
        self._under_way -= 1
        peer = next(self._left, None)
        if peer is not None:
            self._under_way += 1
            # Not from within the callback: a chain of them would be deep.
            asyncio.get_running_loop().call_soon(self.link.connect, peer)
        elif self._under_way <= 0 and self._done is not None and not self._done.done():
            self._done.set_result(None)


def _ask(pipe: Connection) -> tuple[float, int]:
    pipe.send("figures")
    if not pipe.poll(END_S):
        raise TimeoutError(f"the server said no figures within {END_S:g} s")
    used_s, rss = pipe.recv()
    return float(used_s), int(rss)


async def _measure_handshakes(
    server: tuple[str, int],
    credentials: Credentials,
    count: int,
    pipe: Connection,
    settings: DtlsSettings | None = None,
) -> dict[str, Figures]:
    handshakes = Handshakes(server, credentials, settings or DtlsSettings())
    await handshakes.open()
    await handshakes.connect(WINDOW)
    tune_process()
    figures: dict[str, Figures] = {}
    own_before = psutil.Process().memory_info().rss
    _, server_before = _ask(pipe)
    for kind in ("first", "again"):
        server_cpu, _ = _ask(pipe)
        cpu, begun = cpu_s(), time.perf_counter()
        await handshakes.connect(count)
        wall_s, cpu = time.perf_counter() - begun, cpu_s() - cpu
        after_cpu, rss = _ask(pipe)
        figures[kind] = {
            "handshakes_per_s": round(count / wall_s),
            "fleet_cpu_us": round(cpu / count * 1e6),
            "server_cpu_us": round((after_cpu - server_cpu) / count * 1e6),
            "per_core_per_s": round(count / max(cpu, after_cpu - server_cpu)),
        }
        if kind == "first":
            made = max(1, count - WINDOW)
            figures["memory"] = {
                "sessions": count,
                "server_bytes_per_session": round((rss - server_before) / made),
                "fleet_bytes_per_session": round(
                    (psutil.Process().memory_info().rss - own_before) / made
                ),
            }
    counters = handshakes.link.counters
    figures["again"]["were_resumed"] = counters.resumed
    figures["failed"] = {"handshakes": len(handshakes.failures)}
    handshakes.link.close()
    return figures


async def _measure_exchanges(
    server: tuple[str, int], credentials: Credentials | None, exchanges: int, pipe: Connection
) -> Figures:
    registers = Registers(server, WINDOW)
    link: Link
    if credentials is None:
        link = await open_many_addresses(registers.driver.receive_datagrams)
    else:
        link = await DtlsClientLink.over(
            open_many_addresses, registers.driver.receive_datagrams, lambda peer: credentials
        )
    registers.driver.attach(link)
    await registers.run(DEVICES)  # sessions stand from here on
    tune_process()
    server_cpu, _ = _ask(pipe)
    cpu, begun = cpu_s(), time.perf_counter()
    await registers.run(exchanges)
    wall_s, cpu = time.perf_counter() - begun, cpu_s() - cpu
    after_cpu, _ = _ask(pipe)
    registers.driver.close()
    return {
        "exchanges_per_s": round(exchanges / wall_s),
        "fleet_cpu_us": round(cpu / exchanges * 1e6, 1),
        "server_cpu_us": round((after_cpu - server_cpu) / exchanges * 1e6, 1),
        "failed": registers.failed,
    }


def _server_process(kind: str, chain: tuple[bytes, ...], pipe: Connection) -> None:
    credentials = None
    if kind == "psk":
        credentials = ServerCredentials(key_of=lambda identity: (identity, KEY))
    elif kind == "x509":
        certificate, key, anchor = chain
        credentials = ServerCredentials(
            certificate_chain=(certificate,), private_key=key, trust_anchors=(anchor,)
        )
    uvloop.run(_serve(credentials, pipe))


def _with_server(kind: str, chain: tuple[bytes, ...], measure: Any) -> Any:
    """What `measure(address, pipe)` returns, with a server process of this kind meanwhile."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    told = (os.getpid(), _server_process, kind, chain, theirs)
    server = context.Process(target=under, args=told)
    server.start()
    try:
        address = started(server, ours)
        return uvloop.run(measure(address, ours))
    finally:
        ended(server, within_s=0.0)


def main() -> None:
    """Run all and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=5_000, help="with a pre-shared key")
    parser.add_argument("--x509-devices", type=int, default=500, help="with a certificate")
    parser.add_argument("--exchanges", type=int, default=10_000, help="Registers, plain and PSK")
    told = parser.parse_args()
    line = measure(told.devices, told.x509_devices, told.exchanges)
    sys.stdout.write(json.dumps(line) + "\n")


def measure(devices: int, x509_devices: int, exchanges: int) -> dict[str, Any]:
    """All figures; so many sessions with a key and with a certificate, so many Registers."""
    made = Authority()
    (certificate, key), (device, device_key) = made.server, made.device
    psk = PskCredentials("lamp-000001", KEY)
    x509_device = X509Credentials((device,), device_key, trust_anchors=(made.anchor,))
    chain = (certificate, key, made.anchor)
    line: dict[str, Any] = {"benchmark": "dtls"}
    line["psk"] = _with_server(
        "psk", (), lambda server, pipe: _measure_handshakes(server, psk, devices, pipe)
    )
    with_tickets = DtlsSettings(resumes_psk=True)
    line["psk_with_tickets"] = _with_server(
        "psk",
        (),
        lambda server, pipe: _measure_handshakes(server, psk, devices, pipe, with_tickets),
    )
    line["x509"] = _with_server(
        "x509",
        chain,
        lambda server, pipe: _measure_handshakes(server, x509_device, x509_devices, pipe),
    )
    plain = _with_server(
        "plain", (), lambda server, pipe: _measure_exchanges(server, None, exchanges, pipe)
    )
    secure = _with_server(
        "psk", (), lambda server, pipe: _measure_exchanges(server, psk, exchanges, pipe)
    )
    line["register"] = {
        "plain": plain,
        "psk": secure,
        "psk_to_plain": round(secure["exchanges_per_s"] / plain["exchanges_per_s"], 2),
        "psk_to_plain_by_cpu": round(_both_cpu_us(plain) / _both_cpu_us(secure), 2),
    }
    return line


def _both_cpu_us(figures: Figures) -> float:
    return figures["fleet_cpu_us"] + figures["server_cpu_us"]


if __name__ == "__main__":
    main()
