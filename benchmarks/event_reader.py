"""The bridge's place in `benchmarks.registrations`: reads every event, checks that none is missing,
and acknowledges, in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections import Counter
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from benchmarks.child_process import Told, cpu_s, serve_pipe
from contracts.data_interface import Ack, Resume, encode
from runtime.tuning import tune_process

# As often as a bridge whose MQTT broker answers in no time.
ACKNOWLEDGE_EVERY = 256
# The shortest header of a frame without mask.
_HEAD_BYTES = 2
# First bytes of unfragmented frames (RFC 6455 §5.2).
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A


class _Frame(msgspec.Struct):
    """As much of a frame as has to be looked at."""

    type: str
    epoch: str = ""
    seq: int = 0
    kind: str = ""
    last: bool = False
    as_of: int = 0
    registrations: list[msgspec.Raw] = []


class EventReader(asyncio.Protocol):
    """Counts events by kind; `gaps` are events whose predecessor did not come just before.

    It takes frames off the stream by itself: a library's parser costs five times what is counted
    here, and two cores are shared with the server that is measured.
    """

    def __init__(self, url: str, token: str) -> None:
        self.kinds: Counter[str] = Counter()
        self.seq = -1
        # When the latest event came, on the monotonic clock that all processes share.
        self.heard_ns = 0
        self.gaps = 0
        self.snapshot_registrations = 0
        self.gone = ""
        self.snapshot_ended = asyncio.get_running_loop().create_future()
        self._url = urlsplit(url)
        self._token = token
        self._decode = msgspec.json.Decoder(_Frame).decode
        self._epoch = ""
        self._transport: asyncio.WriteTransport | None = None
        self._is_open = False
        self._rest = b""
        self._acknowledged = 0
        self._is_acknowledging = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: ask for the upgrade (RFC 6455 §4.1)."""
        self._transport = cast(asyncio.WriteTransport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {self._token}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """asyncio: the answer to the upgrade, then frames."""
        data = self._rest + data
        at = 0
        if not self._is_open:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self._give_up(f"upgrade refused: {data[:60]!r}")
                return
            self._is_open = True
            self._send(_TEXT, encode(Resume(epoch=None, after=0)))
        self._rest = data[self._take_frames(data, at) :]

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: no more events."""
        self._transport = None
        self._give_up(str(error) if error else "closed")

    def report(self) -> dict[str, Any]:
        """What came so far."""
        return {
            "kinds": dict(self.kinds),
            "seq": self.seq,
            "heard_ns": self.heard_ns,
            "gaps": self.gaps,
            "snapshot_registrations": self.snapshot_registrations,
            "gone": self.gone,
            "cpu_s": cpu_s(),
        }

    def _take_frames(self, data: bytes, at: int) -> int:
        """Take the whole frames from `at` on (RFC 6455 §5.2); returns where the rest begins."""
        size = len(data)
        texts: list[bytes] = []
        while size - at >= _HEAD_BYTES:
            first, length = data[at], data[at + 1]
            begin = at + _HEAD_BYTES
            if length == 126:
                length, begin = data[at + 2] << 8 | data[at + 3], at + 4
            elif length == 127:
                length, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            end = begin + length
            if end > size:
                break
            if first == _TEXT:
                texts.append(data[begin:end])
            elif first == _PING:
                self._send(_PONG, data[begin:end])
            elif first == _CLOSE:
                self._give_up(f"closed by the server: {data[begin + 2 : end]!r}")
            at = end
        self._take(texts)
        return at

    def _take(self, texts: list[bytes]) -> None:
        frames = list(map(self._decode, texts))
        events = [frame for frame in frames if frame.type == "event"]
        if len(events) < len(frames):
            for frame in frames:
                if frame.type == "snapshot":
                    self._take_snapshot(frame)
        if not events:
            return
        numbers = [frame.seq for frame in events]
        known = [self.seq] if self.seq >= 0 else []
        pairs = pairwise(known + numbers)
        self.gaps += sum(later != earlier + 1 for earlier, later in pairs)
        self.kinds.update([frame.kind for frame in events])
        self.seq = numbers[-1]
        self.heard_ns = time.monotonic_ns()
        if self.seq - self._acknowledged >= ACKNOWLEDGE_EVERY:
            self._acknowledge()
        elif not self._is_acknowledging:
            self._is_acknowledging = True
            asyncio.get_running_loop().call_later(0.02, self._acknowledge_rest)

    def _take_snapshot(self, frame: _Frame) -> None:
        self.snapshot_registrations += len(frame.registrations)
        self._epoch = frame.epoch
        if frame.last and not self.snapshot_ended.done():
            self.snapshot_ended.set_result(None)

    def _give_up(self, reason: str) -> None:
        self.gone = self.gone or reason
        if not self.snapshot_ended.done():
            self.snapshot_ended.set_result(None)

    def _send(self, opcode: int, payload: bytes) -> None:
        # A client masks (RFC 6455 §5.3); over loopback a mask of zeros hides as much as any other.
        if self._transport is not None and not self._transport.is_closing():
            assert len(payload) < 126
            self._transport.write(bytes((opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

    def _acknowledge(self) -> None:
        if self.seq > self._acknowledged:
            self._acknowledged = self.seq
            self._send(_TEXT, encode(Ack(epoch=self._epoch, seq=self.seq)))

    def _acknowledge_rest(self) -> None:
        self._is_acknowledging = False
        self._acknowledge()


async def _read(pipe: Connection, url: str, token: str) -> None:
    address = urlsplit(url)
    transport, reader = await asyncio.get_running_loop().create_connection(
        lambda: EventReader(url, token), address.hostname, address.port
    )
    tune_process()
    await reader.snapshot_ended

    async def report(told: Told) -> object:
        return reader.report()

    await serve_pipe(pipe, report)
    transport.abort()


def read_events(pipe: Connection, url: str, token: str) -> None:
    """The process: answers whatever comes on the pipe with its counts, None ends it.

    It answers first when it has the snapshot of all registrations.
    """
    uvloop.run(_read(pipe, url, token))
