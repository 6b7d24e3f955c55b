"""A fleet that is played until a story is over, and a server that accepts and asks it."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization

from contracts.journal import Record
from fake_devices.fleet import FleetConfig, run_fleet
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
from lwm2m.transport import EndpointDriver
from runtime.clock import SystemClock
from tests.processes import WITHIN_S

DEVICES = 4
KEY = bytes(range(16))


def write_devices(path: Path, **credentials: Any) -> str:
    """A devices file; `credentials` are values or functions of the endpoint name."""
    lines = []
    for number in range(DEVICES):
        name = f"lamp-{number}"
        line: dict[str, Any] = {
            "endpoint": name, "serial": f"S{number}", "model": "street_lamp",
            "latitude": 52.0, "longitude": 4.0,
        }  # fmt: skip
        line |= {key: each(name) if callable(each) else each for key, each in credentials.items()}
        lines.append(json.dumps(line))
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return str(path)


class Registry:
    """A server that accepts every Register; `steps` is what it asks of who asked it anything."""

    def __init__(self, moved: asyncio.Event) -> None:
        self._moved = moved
        self.requests: list[Request] = []
        self.registered: list[str] = []
        self.codes: list[str] = []
        self.notified: list[bytes] = []
        self.steps: list[Request] = []
        self.peers: list[Any] = []
        self.last_heard = 0.0
        self._left: dict[Any, list[Request]] = {}
        endpoint = CoapEndpoint(TransmissionParameters(), random.Random(5).randbytes)
        self.driver = EndpointDriver(endpoint, self._handle)

    def _handle(self, events: list[Event]) -> None:
        self._moved.set()
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                self.peers.append(event.peer)
                self.last_heard = self.driver.now()
                created = event.request.path == ("rd",)
                if created:
                    self.registered.append(event.request.query[0])
                response = Response(
                    codes.CREATED if created else codes.CHANGED,
                    location_path=("rd", "1") if created else (),
                )
                self.driver.respond(event.exchange, response)
                self._left.setdefault(event.peer, list(self.steps))
            elif isinstance(event, ResponseReceived):
                self.codes.append(codes.code_text(event.response.code))
                if event.response.observe is not None:
                    self.notified.append(event.response.payload)
            left = self._left.get(event.peer)
            if left:
                self.driver.send_request(event.peer, left.pop(0))


def play(
    tmp_path: Path,
    story: Callable[[list[Record]], Awaitable[None]],
    moved: asyncio.Event,
    **config: Any,
) -> Callable[[], Awaitable[None]]:
    """Run a fleet until `story`, which sees its records so far, is over."""
    journal = tmp_path / "fleet.jsonl"

    async def run() -> None:
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def say():
            while (line := await lines.get()) is not None:
                yield line

        settings = FleetConfig(seed=7, journal_file=str(journal), progress_every_s=0.02, **config)
        fleet = asyncio.create_task(
            run_fleet(settings, SystemClock(), lambda _: None, say(), lambda _: moved.set())
        )
        lines.put_nowait(b'{"start": {"rate_per_s": 1000}}')
        try:
            await story(lambda: read_journal(journal))
        finally:
            lines.put_nowait(None)
            await fleet

    return run


def read_journal(path: Path) -> list[Record]:
    if not path.exists():
        return []
    decoder = msgspec.json.Decoder(Record)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]


async def until(moved: asyncio.Event, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            moved.clear()
            await moved.wait()


def pem_of(keys: Any, folder: Path, name: str) -> dict[str, str]:
    """The two PEM files of a certificate and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_text(ssl.DER_cert_to_PEM_cert(keys.certificate))
    loaded = serialization.load_der_private_key(keys.key, None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key.chmod(0o600)
    return {"certificate": str(certificate), "key": str(key)}


def of(records, kind):
    return [record for record in records if isinstance(record, kind)]
