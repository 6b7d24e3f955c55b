"""How many packs a second are stored, against what the broker alone lets through.

    python -m benchmarks.telemetry [--devices N] [--packs N] [--broker embedded|mosquitto]

Devices with a certificate and a TLS connection each, those of the simulated fleet, publish packs of
three records at QoS 1, each with `--window` packs in flight: by default 40 each, or fewer when they
are so many that it would take minutes. Connecting them, a handshake each, comes before all that is
measured and takes longer: 15 to 20 s for 5,000 on two idle cores, which `connected_s` tells.
First to one subscriber that only acknowledges (bare), then, the same devices over the same
connections, to ingestion, which spools, decodes, stores and archives.
A rate is from the first publish to the last PUBACK of the subscriber or commit of the store.
Prints one JSON line; `ratio` is stored to bare, `lost` what was acknowledged and not stored,
`unknown` what was published and not acknowledged. `bars` says of each bar whether it is met; with
fewer than 5,000 devices it cannot be told. With `--judge` the exit code is 0 when all are met, 1
when one is not, 2 when one cannot be told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.bars import Bar, cores_allow_per_s, exit_code, told
from benchmarks.child_process import terminated
from benchmarks.mqtt_broker import (
    Pki,
    broker_up,
    cpu_us,
    make_client,
    own_cpu_us,
    temporary_folder,
)
from benchmarks.publishing import DeviceKeys
from benchmarks.rig import Fields, write_line
from contracts.api import IngestionCounts
from contracts.names import service_identity
from contracts.topics import Topics, fill
from harness.bench.parent import die_with_parent
from harness.mqtt_broker.mosquitto import find_mosquitto
from harness.reporting.environment import environment_notes
from mqtt.connection import InboundMessage
from runtime.http_client import HttpClient

WITHIN_S = 120.0
# Thousands of handshakes on a machine that has other things to do.
CONNECTED_WITHIN_S = 300.0
# Packs of a device in each part, and of all of them: thousands of devices need not take minutes.
PACKS = 40
PACKS_IN_ALL = 60_000
ASK_EVERY_S = 0.05
GIVEN_UP_AFTER_S = 10.0
TOKEN = "benchmark"
# What must be reached, with so many devices connected.
BARS_DEVICES = 5_000
RATIO = 0.7
STORED_PER_S = {"embedded": 1_500, "mosquitto": 8_000}
INGESTION = service_identity("ingestion")


class Child:
    """A process that speaks JSON lines."""

    def __init__(self, module: str, process: asyncio.subprocess.Process) -> None:
        self._module = module
        self._process = process
        self.pid = process.pid

    async def ask(self, wanted: Mapping[str, Any]) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
        await self._process.stdin.drain()

    async def hear(self, within_s: float = WITHIN_S) -> Any:
        """The next line. Raises `TimeoutError`, or `EOFError` when it has ended."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), within_s)
        except TimeoutError:
            raise TimeoutError(f"{self._module} has said nothing for {within_s:g} s") from None
        if not line:
            raise EOFError(f"{self._module} has ended; what it logged is above")
        return json.loads(line)


@contextlib.asynccontextmanager
async def child_up(module: str, config: Mapping[str, Any], file: Path) -> AsyncIterator[Child]:
    """A process of ours while the block runs; its ready line is the first that is heard."""
    file.write_text(json.dumps(config))  # noqa: ASYNC240  # nothing else runs here yet
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *module.split(), "--config", str(file),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"LAMPLIGHTER_LOG": "ERROR"}, limit=1 << 20,
        preexec_fn=die_with_parent(),
    )  # fmt: skip
    try:
        yield Child(module, process)
    finally:
        await terminated(process)


@contextlib.asynccontextmanager
async def ingestion_up(pki: Pki, folder: Path, broker: str) -> AsyncIterator[tuple[Child, str]]:
    """Ingestion while the block runs, and where its API is; `TOKEN` opens it."""
    certificate, key = pki.pair(INGESTION)
    token_file = folder / "token"
    token_file.write_text(TOKEN)
    config = {
        "broker": {
            "address": broker,
            "ca_file": str(pki.ca_file),
            "certificate_file": str(certificate),
            "key_file": str(key),
        },
        "state_dir": str(folder / "ingestion"),
        "token_file": str(token_file),
    }
    async with child_up("city_platform ingestion", config, folder / "ingestion.json") as ingestion:
        yield ingestion, (await ingestion.hear())["ready"]["http"]


class Bare:
    """A subscriber that does nothing but acknowledge."""

    def __init__(self, pki: Pki, address: tuple[str, int], expected: int) -> None:
        self.all_arrived = asyncio.Event()
        self._left = expected
        self._client = make_client(
            pki, INGESTION, address,
            subscriptions=[(fill(Topics().state), 1)], on_message=self._arrived,
        )  # fmt: skip

    def _arrived(self, message: InboundMessage) -> None:
        self._client.acknowledge(message)
        self._left -= 1
        if not self._left:
            self.all_arrived.set()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """It reads while the block runs."""
        task = asyncio.ensure_future(self._client.run())
        try:
            await asyncio.wait_for(self._client.connected.wait(), WITHIN_S)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Cpu:
    """CPU of some processes from here on, in microseconds a pack."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._before = self._used_us()

    def us_each(self, packs: int) -> dict[str, float]:
        """By process."""
        used = self._used_us()
        return {name: round((used[name] - self._before[name]) / packs, 1) for name in used}

    def _used_us(self) -> dict[str, float]:
        # The others are children of this process, which counts without them.
        return {
            name: own_cpu_us() if pid == os.getpid() else cpu_us(pid)
            for name, pid in self._pids.items()
        }


async def measure(devices: int, packs: int, window: int, broker: str) -> Fields:
    """Both rates."""
    with temporary_folder() as folder:
        pki = Pki(folder)
        keys_file = write_keys(pki, folder, devices)
        async with broker_up(broker, pki) as (address, broker_pid):
            config = {
                "address": f"{address[0]}:{address[1]}",
                "keys_file": str(keys_file),
                "window": window,
            }
            async with child_up("benchmarks.publishing", config, folder / "fleet.json") as fleet:
                said = await fleet.hear(CONNECTED_WITHIN_S)
                connected_s = float(said["ready"]["connected_s"])
                pids = {"broker": broker_pid, "fleet": fleet.pid}
                bare = await _measure_bare(pki, address, fleet, devices, packs, pids)
                stored = await _measure_stored(pki, folder, config, fleet, devices, packs, pids)
    return {
        "benchmark": "telemetry",
        "broker": broker,
        "devices": devices,
        "packs": devices * packs,
        "window": window,
        "connected_s": connected_s,
        "ratio": round(stored["per_s"] / bare["per_s"], 3),
        "bare": bare,
        "stored": stored,
        "bars": told(bars_of(bare, stored, devices, devices * packs, broker)),
        "conditions": {
            "load_before": round(os.getloadavg()[1], 2),
            **{each.name.partition(":")[2]: each.text for each in environment_notes(0)},
        },
    }


def write_keys(pki: Pki, folder: Path, devices: int) -> Path:
    """A file with the certificate of each of so many devices; they share a key."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [f"lamp-{number}" for number in range(devices)]
    keys = DeviceKeys(
        ca=pki.ca_der,
        key=key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificates={name: pki.certificate_der(name, key) for name in names},
    )
    file = folder / "devices.keys"
    file.write_bytes(msgspec.msgpack.encode(keys))
    return file


def bars_of(bare: Fields, stored: Fields, devices: int, packs: int, broker: str) -> list[Bar]:
    """The bars of this broker; only a failure can be told with too few devices."""
    few = f"{devices} devices, not {BARS_DEVICES}" if devices < BARS_DEVICES else ""
    rates = [
        Bar("stored_to_bare", RATIO, round(stored["per_s"] / bare["per_s"], 3)),
        Bar("stored_per_s", STORED_PER_S[broker], stored["per_s"]),
    ]
    unknown = packs - stored["acknowledged"]
    return [
        *(bar._replace(measured=None, because=few) if few and bar.is_met else bar for bar in rates),
        Bar("lost", 0, max(0, stored["lost"]), is_ceiling=True),
        Bar("unknown", 0, unknown, is_ceiling=True),
    ]


async def _measure_bare(
    pki: Pki, address: tuple[str, int], fleet: Child, devices: int, packs: int, pids: dict[str, int]
) -> Fields:
    subscriber = Bare(pki, address, devices * packs)
    async with subscriber.connected():
        cpu = Cpu(pids | {"subscriber": os.getpid()})
        began = asyncio.get_running_loop().time()
        await fleet.ask({"packs": packs})
        await asyncio.wait_for(subscriber.all_arrived.wait(), WITHIN_S)
        heard = await fleet.hear()
        took_s = asyncio.get_running_loop().time() - began
    return _rate(heard["published"], took_s, cpu)


async def _measure_stored(
    pki: Pki, folder: Path, config: Fields, fleet: Child, devices: int, packs: int,
    pids: dict[str, int],
) -> Fields:  # fmt: skip
    async with (
        ingestion_up(pki, folder, config["address"]) as (ingestion, address),
        HttpClient(address, TOKEN) as client,
    ):
        cpu = Cpu(pids | {"ingestion": ingestion.pid})
        began = asyncio.get_running_loop().time()
        await fleet.ask({"packs": packs})
        heard = await fleet.hear()
        counts = await until_stored(client, devices * packs)
        took_s = asyncio.get_running_loop().time() - began
        figures = _rate(heard["published"], took_s, cpu)
    return figures | {
        "readings": counts.stored,
        "lost": heard["published"]["acknowledged"] - counts.packs,
        "duplicates": counts.duplicates,
        "conflicts": counts.conflicts,
        "dead_letters": counts.dead_letters,
    }


async def until_stored(client: HttpClient, packs: int) -> IngestionCounts:
    """What is stored once it is `packs`, or no longer grows."""
    loop = asyncio.get_running_loop()
    counts = await client.get("/v1/counts", IngestionCounts)
    grown_at = loop.time()
    while counts.packs < packs and loop.time() < grown_at + GIVEN_UP_AFTER_S:
        await asyncio.sleep(ASK_EVERY_S)
        before, counts = counts, await client.get("/v1/counts", IngestionCounts)
        if counts.packs != before.packs:
            grown_at = loop.time()
    return counts


def _rate(published: Mapping[str, float], took_s: float, cpu: Cpu) -> Fields:
    packs = int(published["acknowledged"])
    cpu_us = cpu.us_each(packs)
    return {
        "acknowledged": packs,
        "per_s": round(packs / took_s, 1),
        "acknowledged_per_s": round(packs / published["took_s"], 1),
        "cpu_us_per_pack": cpu_us,
        "cores_allow_per_s": cores_allow_per_s(cpu_us, os.cpu_count() or 1),
    }


@contextlib.contextmanager
def _quiet_collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    yield


def main() -> int:
    """Measure and print the line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=300)
    parser.add_argument("--packs", type=int, help="packs of each device, in each part")
    parser.add_argument("--window", type=int, default=2, help="packs of a device in flight")
    parser.add_argument("--broker", choices=["embedded", "mosquitto"], default="embedded")
    parser.add_argument("--judge", action="store_true", help="exit code by the bars")
    asked = parser.parse_args()
    packs = asked.packs or min(PACKS, PACKS_IN_ALL // asked.devices + 1)
    if asked.broker == "mosquitto" and find_mosquitto() is None:
        parser.error("there is no mosquitto on this machine")
    with _quiet_collector():
        line = uvloop.run(measure(asked.devices, packs, asked.window, asked.broker))
    write_line(msgspec.to_builtins(line), sys.stdout.write)
    return exit_code(line) if asked.judge else 0


if __name__ == "__main__":
    sys.exit(main())
