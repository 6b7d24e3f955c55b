"""A process of devices for `benchmarks.telemetry`: each has its own certificate, TLS connection and
window, and publishes packs at QoS 1 as fast as they are acknowledged.

    python -m benchmarks.publishing --config FILE

Says `{"ready": …}` once all are connected. Each line `{"packs": n}` on standard input lets every
device publish n packs; the answer is a line with how many were acknowledged and how long it took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import cbor2
import msgspec

from contracts.telemetry import KEY_BOOT, KEY_SEQUENCE
from contracts.topics import Topics, fill
from mqtt.transport import MqttClient, client_tls
from runtime.clock import Clock
from runtime.component import Ready, read_config, run_process, say

# Handshakes at one time: more only wait for each other's CPU until they are given up.
CONNECTING_AT_ONCE: Final = 20
# Labels of RFC 8428 §6.
_BASE_NAME, _BASE_TIME, _NAME, _UNIT, _VALUE = -2, -3, 0, 1, 2


class PublishingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which devices there are. `<folder>/<name>.pem` and `.key` are a device's."""

    address: str
    ca_file: str
    folder: str
    names: list[str]
    # Packs of one device that are sent and not acknowledged.
    window: int


class Wanted(msgspec.Struct, frozen=True):
    """One line on standard input."""

    packs: int


def pack(name: str, sequence: int) -> bytes:
    """Three records, as a street lamp reports them; no two packs of a device have the same time."""
    head = {
        _BASE_NAME: f"{name}/",
        _BASE_TIME: 1_780_000_000.0 + sequence,
        KEY_SEQUENCE: sequence,
        KEY_BOOT: "b1",
    }
    return cbor2.dumps(
        [
            {**head, _NAME: "3416/0/3", _VALUE: 0.5 + sequence % 7 / 10},
            {_NAME: "3416/0/46", _UNIT: "lm", _VALUE: 33.25 + sequence % 11},
            {_NAME: "3301/0/5700", _UNIT: "lx", _VALUE: 12.0 + sequence % 13},
        ]
    )


class Publisher:
    """One device."""

    def __init__(self, name: str, client: MqttClient, window: int, ended: Callable[[], None]):
        self.client = client
        self._name = name
        self._topic = fill(Topics().state, endpoint=name)
        self._window = window
        self._ended = ended
        self._sequence = self._left_to_send = self._left_to_hear = 0

    def begin(self, packs: int) -> None:
        """Publish so many packs; `ended` is called at the last one's PUBACK."""
        self._left_to_send = self._left_to_hear = packs
        for _ in range(min(self._window, packs)):
            self._publish()

    def _publish(self) -> None:
        self._left_to_send -= 1
        self._sequence += 1
        self.client.publish(
            self._topic, pack(self._name, self._sequence), on_acknowledged=self._heard
        )

    def _heard(self) -> None:
        self._left_to_hear -= 1
        if self._left_to_send:
            self._publish()
        elif not self._left_to_hear:
            self._ended()


class Publishers:
    """All devices of this process."""

    def __init__(self, config: PublishingConfig, clock: Clock) -> None:
        self._clock = clock
        self._running = 0
        self._all_ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        host, _, port = config.address.rpartition(":")
        folder = Path(config.folder)
        self._publishers = [
            Publisher(
                name,
                MqttClient(
                    client_id=name,
                    address=(host, int(port)),
                    tls=client_tls(config.ca_file, folder / f"{name}.pem", folder / f"{name}.key"),
                    clock=clock,
                    chance=random.Random(name).random,
                    keep_alive_s=600,
                ),
                config.window,
                self._one_ended,
            )
            for name in config.names
        ]

    async def connect(self) -> None:
        """Connect all of them, some at a time."""
        turns = asyncio.Semaphore(CONNECTING_AT_ONCE)

        async def connect_one(client: MqttClient) -> None:
            async with turns:
                self._tasks.append(asyncio.ensure_future(client.run()))
                await client.connected.wait()

        await asyncio.gather(*(connect_one(each.client) for each in self._publishers))

    async def publish(self, packs: int) -> dict[str, float]:
        """Let every device publish so many packs: how many were acknowledged, in which time."""
        self._running = len(self._publishers)
        self._all_ended.clear()
        began_ns = self._clock.now_ns()
        for publisher in self._publishers:
            publisher.begin(packs)
        await self._all_ended.wait()
        return {
            "acknowledged": packs * len(self._publishers),
            "took_s": (self._clock.now_ns() - began_ns) / 1e9,
        }

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _one_ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._all_ended.set()


async def run(config: PublishingConfig, clock: Clock, ready: Ready) -> None:
    """Connect, then publish whenever a line asks for it, until standard input ends."""
    publishers = Publishers(config, clock)
    try:
        await publishers.connect()
        ready({})
        await _obey(publishers.publish)
    finally:
        await publishers.close()


async def _obey(publish: Callable[[int], Awaitable[dict[str, float]]]) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        wanted = msgspec.json.decode(line, type=Wanted)
        say({"published": await publish(wanted.packs)})


def main() -> int:
    """Run the process; its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = read_config(parser.parse_args().config, PublishingConfig)
    with contextlib.suppress(KeyboardInterrupt):
        return run_process(run, config, name="publishing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
