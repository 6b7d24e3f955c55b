"""A process of devices for `benchmarks.telemetry`: each has its own certificate, TLS connection and
window, and publishes packs at QoS 1 as fast as they are acknowledged.

    python -m benchmarks.publishing --config FILE

Connections are those of the simulated fleet. Says `{"ready": …}` once all are connected, with how
long that took. Each line `{"packs": n}` on standard input lets every device publish n packs; the
answer is a line with how many were acknowledged and how long it took. With `"again": "resumed"` or
`"full"` all connections are cut first and made anew, by resumption of their TLS sessions or by full
handshakes, and each device publishes as soon as it is connected again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import cbor2
import msgspec

from contracts.telemetry import KEY_BOOT, KEY_SEQUENCE
from contracts.topics import Topics, fill
from fake_devices.device.account import BrokerAccount
from fake_devices.device.actions import OpenUplink
from fake_devices.device.outbox import Pack
from fake_devices.fleet.tls import TlsContexts
from fake_devices.fleet.uplink import Uplink
from mqtt.tls import ClientEnd
from runtime.clock import Clock
from runtime.component import Ready, read_config, run_process, say

# Handshakes at one time: more only wait for each other's CPU until they are given up.
CONNECTING_AT_ONCE: Final = 20
RECONNECT_S: Final = 1.0
# A broker that is gone, or refuses somebody for good, ends the process; less time is its starter's.
CONNECTED_WITHIN_S: Final = 600.0
PUBLISHED_WITHIN_S: Final = 600.0
# Labels of RFC 8428 §6.
_BASE_NAME, _BASE_TIME, _NAME, _UNIT, _VALUE = -2, -3, 0, 1, 2


class PublishingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the broker is, and a file (MessagePack) with the `DeviceKeys`."""

    address: str
    keys_file: str
    # Packs of one device that are sent and not acknowledged.
    window: int


class DeviceKeys(msgspec.Struct, frozen=True):
    """What all devices trust, the key that they share, and each one's certificate by name. DER.

    They prove themselves with certificates of their own; that the key in them is the same saves
    the time of making thousands, and nothing of a handshake.
    """

    ca: bytes
    key: bytes
    certificates: dict[str, bytes]


class Wanted(msgspec.Struct, frozen=True):
    """One line on standard input."""

    packs: int
    again: Literal["", "resumed", "full"] = ""


class CountedContexts(TlsContexts):
    """Keeps the ends of the connections that it opened, to see which of them resumed a session."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[ClientEnd] = []

    def open(self, **wanted: Any) -> ClientEnd:
        """See `TlsContexts.open`."""
        pipe = super().open(**wanted)
        self.opened.append(pipe)
        return pipe


def pack(name: str, sequence: int, began_s: float = 1_767_225_600.0) -> bytes:
    """Three records, as a street lamp reports them; no two packs of a device have the same time.

    `began_s` is Unix time.
    """
    head = {
        _BASE_NAME: f"{name}/",
        _BASE_TIME: began_s + sequence,
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
    """One device. `ended` is called at the PUBACK of the last pack it was told to publish."""

    def __init__(
        self, name: str, uplink: Uplink, window: int, began_s: float, ended: Callable[[], None]
    ) -> None:
        self.uplink = uplink
        self._name = name
        self._topic = fill(Topics().state, endpoint=name)
        self._window = window
        self._began_s = began_s
        self._ended = ended
        self._sequence = self._left_to_send = self._left_to_hear = 0

    def begin(self, packs: int) -> None:
        """Publish so many packs."""
        self._left_to_send = self._left_to_hear = packs
        for _ in range(min(self._window, packs)):
            self._publish()

    def heard(self) -> None:
        """A PUBACK came."""
        self._left_to_hear -= 1
        if self._left_to_send:
            self._publish()
        elif not self._left_to_hear:
            self._ended()

    def _publish(self) -> None:
        self._left_to_send -= 1
        self._sequence += 1
        payload = pack(self._name, self._sequence, self._began_s)
        self.uplink.publish(
            Pack("b1", self._sequence, "state", self._topic, 1, retain=False, payload=payload)
        )


class Publishers:
    """All devices of this process, and the owner of their uplinks."""

    def __init__(self, config: PublishingConfig, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._contexts = CountedContexts()
        self._flushing: list[Uplink] = []
        self._running = 0
        self._all_ended = asyncio.Event()
        self._all_connected = asyncio.Event()
        keys = msgspec.msgpack.decode(Path(config.keys_file).read_bytes(), type=DeviceKeys)
        host, _, port = config.address.rpartition(":")
        self._accounts = [
            BrokerAccount(
                is_secure=True, host=host, port=int(port), client_id=name, clean_session=True,
                keep_alive_s=600, certificate=certificate, ca_certificate=keys.ca,
                secret_key=keys.key,
            )
            for name, certificate in keys.certificates.items()
        ]  # fmt: skip
        # A second for each pack, none of them in the future.
        window, began_s = config.window, float(clock.wall_us() // 1_000_000 - 86_400)
        self._publishers = [
            Publisher(name, Uplink(number, self, window), window, began_s, self._one_ended)
            for number, name in enumerate(keys.certificates)
        ]
        self._unconnected = deque[int]()
        self._missing = 0
        self._packs_at_connection = 0

    async def connect(self) -> float:
        """Connect all of them, some at a time; the seconds that it took."""
        began_ns = self._clock.now_ns()
        self._open_all()
        await self._until(self._all_connected, CONNECTED_WITHIN_S)
        return (self._clock.now_ns() - began_ns) / 1e9

    async def connect_again(self, packs: int, *, resumes: bool) -> dict[str, float]:
        """Cut all, connect them again and let each publish so many packs as soon as it is.

        How many were acknowledged, in which time, and how many connections resumed a TLS session.
        """
        for publisher in self._publishers:
            publisher.uplink.close()
        if not resumes:
            # Sessions are those of an account: another account has none.
            self._accounts = [
                msgspec.structs.replace(each, keep_alive_s=each.keep_alive_s + 1)
                for each in self._accounts
            ]
        self._contexts.opened.clear()
        self._running, self._packs_at_connection = len(self._publishers), packs
        self._all_ended.clear()
        began_ns = self._clock.now_ns()
        self._open_all()
        await self._until(self._all_ended, PUBLISHED_WITHIN_S)
        took_s = (self._clock.now_ns() - began_ns) / 1e9
        self._packs_at_connection = 0
        return {
            "acknowledged": packs * len(self._publishers),
            "took_s": took_s,
            "attempts": len(self._contexts.opened),
            "resumed": sum(
                each.is_established and each.is_resumed for each in self._contexts.opened
            ),
        }

    async def publish(self, packs: int) -> dict[str, float]:
        """Let every device publish so many packs: how many were acknowledged, in which time."""
        self._running = len(self._publishers)
        self._all_ended.clear()
        began_ns = self._clock.now_ns()
        for publisher in self._publishers:
            publisher.begin(packs)
        await self._until(self._all_ended, PUBLISHED_WITHIN_S)
        return {
            "acknowledged": packs * len(self._publishers),
            "took_s": (self._clock.now_ns() - began_ns) / 1e9,
        }

    def close(self) -> None:
        """End all connections."""
        for publisher in self._publishers:
            publisher.uplink.close()

    # ---- the owner of the uplinks ----

    def uplink_connected(self, number: int) -> None:
        """See `UplinkOwner`."""
        self._missing -= 1
        if self._packs_at_connection:
            self._publishers[number].begin(self._packs_at_connection)
        if not self._missing:
            self._all_connected.set()
        self._open_next()

    def uplink_lost(self, number: int, reason: str, was_connected: bool) -> None:
        """See `UplinkOwner`: it comes back, and repeats what was not acknowledged."""
        self._missing += was_connected
        self._loop.call_later(RECONNECT_S, self._open, number)

    def pack_acknowledged(self, number: int, boot: str, sequence: int) -> None:
        """See `UplinkOwner`."""
        self._publishers[number].heard()

    def flush_later(self, uplink: Uplink) -> None:
        """See `UplinkOwner`."""
        if not uplink.is_flush_due:
            uplink.is_flush_due = True
            if not self._flushing:
                self._loop.call_soon(self._flush)
            self._flushing.append(uplink)

    def now(self) -> float:
        """See `UplinkOwner`."""
        return self._clock.now_ns() / 1e9

    # ---- inside ----

    async def _until(self, event: asyncio.Event, within_s: float) -> None:
        """Wait for it. Raises `TimeoutError`, which says how many are missing."""
        try:
            async with asyncio.timeout(within_s):
                await event.wait()
        except TimeoutError:
            raise TimeoutError(
                f"after {within_s:g} s {self._missing} of {len(self._publishers)} devices are not "
                f"connected and {self._running} have packs that are not acknowledged"
            ) from None

    def _open_all(self) -> None:
        self._missing = len(self._publishers)
        self._unconnected.extend(range(self._missing))
        self._all_connected.clear()
        for _ in range(min(CONNECTING_AT_ONCE, self._missing)):
            self._open_next()

    def _open_next(self) -> None:
        if self._unconnected:
            self._open(self._unconnected.popleft())

    def _open(self, number: int) -> None:
        wanted = OpenUplink(self._accounts[number], renews_session=False)
        self._publishers[number].uplink.open(wanted, self._contexts)

    def _flush(self) -> None:
        flushing, self._flushing = self._flushing, []
        for uplink in flushing:
            uplink.flush()

    def _one_ended(self) -> None:
        self._running -= 1
        if not self._running:
            self._all_ended.set()


async def run(config: PublishingConfig, clock: Clock, ready: Ready) -> None:
    """Connect, then publish whenever a line asks for it, until standard input ends."""
    publishers = Publishers(config, clock)
    try:
        took_s = await publishers.connect()
        gc.collect()
        gc.freeze()
        ready({"connected_s": f"{took_s:.2f}"})
        await _obey(publishers)
    finally:
        publishers.close()


async def _obey(publishers: Publishers) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        wanted = msgspec.json.decode(line, type=Wanted)
        if wanted.again:
            resumes = wanted.again == "resumed"
            published = await publishers.connect_again(wanted.packs, resumes=resumes)
        else:
            published = await publishers.publish(wanted.packs)
        say({"published": published})


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
