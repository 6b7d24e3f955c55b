"""A server, devices and a bridge in virtual time, without a socket; the log is a real file.

The server can be killed at every point that a kill can tell apart: before its turn's records are
written, within that write, after it, and after the datagrams or the frames have left.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Hashable
from enum import Enum, auto
from pathlib import Path
from typing import Any

import msgspec

from contracts.data_interface import (
    Ack,
    Cancel,
    Command,
    ErrorFrame,
    Event,
    Hello,
    Operation,
    Result,
    Resume,
    ServerFrame,
    Snapshot,
    Value,
    decode_server_frame,
    encode,
)
from harness.lwm2m_server.config import Defect, ServerLimits
from harness.lwm2m_server.core import ServerCore
from harness.lwm2m_server.data_interface import BridgeSession
from harness.lwm2m_server.log_file import LOG_NAME, LogFile
from harness.lwm2m_server.turn import COMPACTED_PER_TURN, Turn, begin
from harness.testing import HandMovedClock, seeded_draw
from lwm2m.objects import ModelRegistry, builtin_models
from lwm2m.transport.peers import PeerSecurity, SecurePeer
from tests.harness.lwm2m_server.device import LINKS, SERVER, Device

__all__ = ["LINKS", "MODELS", "SERVER", "Bridge", "Device", "Killed", "Point", "World"]


MODELS = builtin_models()
REGISTRY = ModelRegistry()
DELAY_S = 0.01
# Logs of servers that nobody let die: closed after each test, or the process runs out of files.
OPEN_LOGS: list[LogFile] = []


class Point(Enum):
    """Where a kill strikes within a turn."""

    BEFORE_WRITE = auto()
    WITHIN_WRITE = auto()
    AFTER_WRITE = auto()
    AFTER_DATAGRAMS = auto()
    AFTER_FRAMES = auto()


class Killed(Exception):
    """The server is gone."""


class Observed:
    """A journal that keeps its records."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def record(self, record: msgspec.Struct) -> None:
        self.records.append(record)

    def of(self, kind: type) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


class Bridge:
    """A bridge that keeps its place, checks the order of events, and acknowledges when told."""

    def __init__(self, world: World, *, acknowledges: bool = True) -> None:
        self.world = world
        self.acknowledges = acknowledges
        self.session: BridgeSession | None = None
        self.reads = True
        self.epoch: str | None = None
        self.received = 0
        self.frames: list[ServerFrame] = []
        # Every event ever seen, by (epoch, seq); a second sight must be the same event.
        self.seen: dict[tuple[str, int], bytes] = {}
        self.deliveries: list[tuple[str, int]] = []

    def connect(self, *, resume: bool = True) -> None:
        self.session = self.world.core.bridge_opened()
        if resume:
            self.send(Resume(epoch=self.epoch, after=self.received))

    def send(self, frame: msgspec.Struct) -> None:
        self.send_text(encode(frame))

    def send_text(self, text: bytes) -> None:
        assert self.session is not None
        self.world.core.bridge_received(self.session, text)

    def disconnect(self) -> None:
        if self.session is not None:
            self.world.core.bridge_closed(self.session)
            self.session = None

    def take(self, texts: list[bytes]) -> None:
        for text in texts:
            frame = decode_server_frame(text)
            self.frames.append(frame)
            if isinstance(frame, Event):
                self._take_event(frame, text)
            elif isinstance(frame, Snapshot) and frame.last:
                self.epoch = frame.epoch
                self.received = -1

    def _take_event(self, event: Event, text: bytes) -> None:
        assert event.epoch == self.epoch
        assert self.received in (-1, event.seq - 1), "a gap within a connection"
        key = (event.epoch, event.seq)
        again = self.seen.setdefault(key, text)
        assert decode_server_frame(again) == event, "one number, two events"
        self.deliveries.append(key)
        self.received = event.seq

    def acknowledge(self) -> None:
        if self.acknowledges and self.session is not None and self.received > 0 and self.epoch:
            self.send(Ack(epoch=self.epoch, seq=self.received))

    def of(self, kind: type) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def events(self, kind: str = "") -> list[Event]:
        return [event for event in self.of(Event) if kind in ("", event.kind)]

    def outcomes(self) -> dict[str, Any]:
        found = {event.result.id: event.result for event in self.events("result") if event.result}
        return found | {frame.result.id: frame.result for frame in self.of(Result)}

    def errors(self) -> list[ErrorFrame]:
        return self.of(ErrorFrame)

    @property
    def hello(self) -> Hello:
        found: Hello = self.of(Hello)[-1]
        return found


class World:
    """Everything at once. Nothing happens but in `run_for` and `settle`."""

    def __init__(
        self,
        directory: Path,
        *,
        seed: int = 1,
        loss_ratio: float = 0.0,
        limits: ServerLimits | None = None,
        defect: Defect | None = None,
        room_bytes: int = 1_000_000,
        compacted_per_turn: int = COMPACTED_PER_TURN,
        **options: Any,
    ) -> None:
        self.directory = directory
        self.options = options
        self.compacted_per_turn = compacted_per_turn
        # By address: the session that its datagrams belong to, for those that have one.
        self.sessions: dict[tuple[str, int], SecurePeer] = {}
        self.clock = HandMovedClock()
        self.chance = random.Random(seed)
        self.loss_ratio = loss_ratio
        self.limits = limits or ServerLimits()
        self.defect = defect
        self.room_bytes = room_bytes
        self.observed = Observed()
        self.devices: dict[tuple[str, int], Device] = {}
        self.bridges: list[Bridge] = []
        self.said: list[dict[str, str]] = []
        self.kill_at: Point | None = None
        self.closes: list[tuple[int, str]] = []
        self.warning: str | None = None
        # Datagrams that the server sent, as (bytes, target).
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self._under_way: list[tuple[float, int, bytes, Any, Any]] = []
        self._order = itertools.count()
        self._log: LogFile | None = None
        self._incarnations = itertools.count(seed * 1_000)
        self.start()

    # ---- life and death ----

    def start(self) -> None:
        draw = seeded_draw(next(self._incarnations))
        self._log = LogFile(self.directory)
        OPEN_LOGS.append(self._log)
        state, self.warning = begin(self._log, server="s1", new_epoch=draw(8).hex())
        self.core = ServerCore(
            "s1",
            state,
            clock=self.clock,
            draw=draw,
            models_for=REGISTRY.models_for,
            limits=self.limits,
            defect=self.defect,
            **self.options,
        )
        self.turn = Turn(
            self.core,
            self._log,
            journal=self.observed,
            send_datagrams=self._send_datagrams,
            send_frames=self._send_frames,
            say=self.said.append,
            compact_bytes=self.limits.log_bytes_compact,
            compacted_per_turn=self.compacted_per_turn,
        )

    def die(self) -> None:
        """What has not left and is not on disk is lost. Connections break."""
        assert self._log is not None
        self._log.close()
        for bridge in self.bridges:
            bridge.session = None
        self.sessions.clear()

    def restart(self) -> None:
        self.die()
        self.start()

    def device(self, endpoint: str, number: int | None = None) -> Device:
        index = len(self.devices) if number is None else number
        address = ("127.0.1.1", 10_000 + index)
        self.devices[address] = Device(self, endpoint, address, index)
        return self.devices[address]

    def secure(
        self,
        device: Device,
        identity: str,
        *,
        endpoint_name: str | None = None,
        mode: Any = "psk",
        is_told: bool = True,
    ) -> SecurePeer:
        """Give a device a new session; `is_told` has the server hear of it at once."""
        host, port = device.address
        peer = SecurePeer(host, port, PeerSecurity(mode, identity), endpoint_name=endpoint_name)
        self.sessions[device.address] = peer
        if is_told:
            self.core.peer_established(peer)
        return peer

    def bridge(self, **options: Any) -> Bridge:
        bridge = Bridge(self, **options)
        self.bridges.append(bridge)
        bridge.connect()
        return bridge

    # ---- time ----

    def run_for(self, seconds: float) -> None:
        until = self.clock.now_s + seconds
        self.settle()
        while (due := self._next_time()) <= until:
            self.clock.advance(max(0.0, due - self.clock.now_s))
            self._deliver()
            self._fire()
            self.settle()
        self.clock.advance(max(0.0, until - self.clock.now_s))
        self._fire()
        self.settle()

    def settle(self) -> None:
        """End the turn, and go on until nobody has anything more to say just now."""
        for _ in range(10_000):
            before = next(self._order)
            for device in list(self.devices.values()):
                device.settle()
                for data, peer in device.coap.datagrams_to_send():
                    self._carry(data, device.address, peer)
            self._end_turn()
            for bridge in self.bridges:
                bridge.acknowledge()
            frames = sum(len(bridge.frames) for bridge in self.bridges)
            self._end_turn()
            if next(self._order) == before + 1 and frames == sum(
                len(bridge.frames) for bridge in self.bridges
            ):
                return
        raise AssertionError("the world never settles")

    def inject(self, data: bytes, source: tuple[str, int]) -> None:
        self.core.receive_datagrams([(data, source)])

    # ---- shorthands ----

    def command(
        self,
        command_id: str,
        endpoint: str,
        operation: Operation = "write",
        path: str = "/3416/0/1",
        **fields: Any,
    ) -> Command:
        if operation == "write" and "values" not in fields:
            fields["values"] = [Value(path, "integer", 40)]
        expires_in_s = fields.pop("expires_in_s", 600)
        return Command(
            id=command_id,
            endpoint=endpoint,
            operation=operation,
            path=path,
            expires_at_us=self.clock.wall_us() + round(expires_in_s * 1e6),
            **fields,
        )

    def cancel(self, command_id: str) -> Cancel:
        return Cancel(id=command_id)

    def log_bytes(self) -> bytes:
        return (self.directory / LOG_NAME).read_bytes()

    # ---- inside ----

    def _end_turn(self) -> None:
        if self.kill_at is Point.BEFORE_WRITE:
            raise Killed
        size = len(self.log_bytes())
        try:
            self.turn.end()
        except Killed:
            if self.kill_at is Point.WITHIN_WRITE:
                self._tear(size)
            raise
        if self.kill_at is not None:
            raise Killed

    def _tear(self, size: int) -> None:
        written = len(self.log_bytes()) - size
        kept = self.chance.randrange(written) if written else 0
        with (self.directory / LOG_NAME).open("r+b") as file:
            file.truncate(size + kept)

    def _send_datagrams(self, datagrams: list[tuple[bytes, Hashable]]) -> None:
        if self.kill_at in (Point.WITHIN_WRITE, Point.AFTER_WRITE):
            raise Killed
        for data, peer in datagrams:
            if isinstance(peer, SecurePeer):
                address = (peer.host, peer.port)
                if self.sessions.get(address) is not peer:
                    continue  # the session is gone
            else:
                assert isinstance(peer, tuple)
                address = peer
                if address in self.sessions:
                    raise AssertionError("a datagram for a session, without its security")
            self.sent.append((data, address))
            self._carry(data, SERVER, address)
        if self.kill_at is Point.AFTER_DATAGRAMS:
            raise Killed

    def _send_frames(self) -> None:
        if self.kill_at not in (None, Point.AFTER_FRAMES):
            raise Killed
        for bridge in self.bridges:
            session = bridge.session
            if session is None:
                continue
            if bridge.reads:
                frames = self.core.take_frames(session, self.room_bytes)
                bridge.take(frames)
                while frames and session.close is None:
                    frames = self.core.take_frames(session, self.room_bytes)
                    bridge.take(frames)
            if session.close is not None:
                self.closes.append(session.close)
                bridge.disconnect()

    def _carry(self, data: bytes, source: Any, target: Any) -> None:
        order = next(self._order)
        if self.chance.random() >= self.loss_ratio:
            heapq.heappush(
                self._under_way, (self.clock.now_s + DELAY_S, order, data, source, target)
            )

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= self.clock.now_s:
            _, _, data, source, target = heapq.heappop(self._under_way)
            if target == SERVER:
                peer = self.sessions.get(source, source)
                self.core.receive_datagrams([(data, peer)])
            elif target in self.devices and self.devices[target].hears:
                self.devices[target].coap.receive_datagram(data, source, self.clock.now_s)

    def _fire(self) -> None:
        now = self.clock.now_s
        for device in self.devices.values():
            due = device.coap.next_timer()
            if due is not None and due <= now:
                device.coap.handle_timer(now)
        due = self.core.next_timer()
        if due is not None and due <= now:
            self.core.handle_timer()

    def _next_time(self) -> float:
        times = [device.coap.next_timer() for device in self.devices.values()]
        times.append(self.core.next_timer())
        if self._under_way:
            times.append(self._under_way[0][0])
        # Virtual time moves in steps that the clock can tell apart.
        return max(
            self.clock.now_s + 1e-6, min((due for due in times if due is not None), default=1e12)
        )
