"""The reader of the data interface, in a bridge's place, on a bench without MQTT and platform.

`python -m harness.bench.event_reader --config FILE`: takes every event, checks that each follows
the one before, acknowledges, and journals what was delivered.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from contracts.data_interface import Ack, Resume, encode
from contracts.load import EventsDelivered
from harness.component_command import run_command
from runtime.clock import Clock
from runtime.component import ConfigError, Ready, say
from runtime.journal import JournalFile, JournalSink
from runtime.websocket import WebSocketConnection, connect_websocket

ACKNOWLEDGED_EVERY_S: Final = 0.05
TOLD_EVERY_S: Final = 0.25


class ReaderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the events are and where what was delivered is written."""

    url: str
    token_file: str
    journal_file: str


class _Frame(msgspec.Struct):
    """As much of a frame as has to be looked at."""

    type: str
    server: str = ""
    epoch: str = ""
    seq: int = 0
    kind: str = ""
    reason: str | None = None
    endpoint: str = ""
    last: bool = False
    as_of: int = 0
    registrations: list[msgspec.Raw] = []


class ReaderEnded(ConnectionError):
    """The server let the reader go; the text says why."""


class EventReader:
    """The user of one connection. `fail` is told when it is over."""

    def __init__(
        self, journal: JournalSink, clock: Clock, fail: Callable[[Exception], None]
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._fail = fail
        self._decode = msgspec.json.Decoder(_Frame).decode
        self._connection: WebSocketConnection | None = None
        self._server = self._epoch = ""
        # The first event that is not journalled yet, the last that came, the last acknowledged.
        self._first = self._last = self._acknowledged = 0
        self._kinds: Counter[str] = Counter()
        self._snapshot = 0
        self.has_snapshot = asyncio.Event()

    @property
    def last(self) -> int:
        """The newest event that came."""
        return self._last

    def opened(self, connection: WebSocketConnection) -> None:
        """See `WebSocketUser`."""
        self._connection = connection
        connection.send(encode(Resume(epoch=None, after=0)))

    def received(self, text: bytes) -> None:
        """See `WebSocketUser`."""
        frame = self._decode(text)
        if frame.type == "event":
            self._take(frame)
        elif frame.type == "snapshot":
            self._epoch, self._snapshot = frame.epoch, self._snapshot + len(frame.registrations)
            if frame.last:
                self._last = self._acknowledged = frame.as_of
                self._first = frame.as_of + 1
                self.has_snapshot.set()

    def closed(self, reason: str) -> None:
        """See `WebSocketUser`."""
        self._connection = None
        self._fail(ReaderEnded(f"the data interface was closed: {reason}"))

    def acknowledge(self) -> None:
        """Let the server forget what came."""
        if self._connection is not None and self._last > self._acknowledged:
            self._acknowledged = self._last
            self._connection.send(encode(Ack(epoch=self._epoch, seq=self._last)))

    def note(self) -> None:
        """Journal what came since the last call."""
        if self._last < self._first and not self._snapshot:
            return
        self._journal.record(
            EventsDelivered(
                at_ns=self._clock.now_ns(),
                server=self._server,
                epoch=self._epoch,
                first=self._first,
                last=self._last,
                kinds=dict(self._kinds),
                snapshot=self._snapshot,
            )
        )
        self._first, self._snapshot = self._last + 1, 0
        self._kinds.clear()

    def _take(self, frame: _Frame) -> None:
        if frame.seq != self._last + 1:
            # A gap: what came before it is a range of its own, what is missing is in none.
            self.note()
            self._first = frame.seq
        self._last, self._server = frame.seq, frame.server
        self._kinds[f"{frame.kind}_{frame.reason}" if frame.reason else frame.kind] += 1


async def run(config: ReaderConfig, clock: Clock, ready: Ready) -> None:
    """The component; it is ready when it has the snapshot. Raises when the connection ends."""
    journal = JournalFile(Path(config.journal_file))
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(error: Exception) -> None:
        if not over.done():
            over.set_exception(error)

    reader = EventReader(journal, clock, fail)
    tasks: list[asyncio.Task[None]] = []
    try:
        connection = await connect_websocket(config.url, reader, token=_token(config))
        has_snapshot = asyncio.create_task(_until(reader.has_snapshot))
        tasks = [has_snapshot, asyncio.create_task(_acknowledge(reader))]
        await asyncio.wait({has_snapshot, over}, return_when=asyncio.FIRST_COMPLETED)
        if not over.done():
            ready({})
            tasks.append(asyncio.create_task(_tell(reader)))
        await over
        connection.abort()
    finally:
        for task in tasks:
            task.cancel()
        over.cancel()
        reader.note()
        journal.close()


def _token(config: ReaderConfig) -> str:
    try:
        return Path(config.token_file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"cannot read {config.token_file}: {error.strerror}") from error


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _acknowledge(reader: EventReader) -> None:
    while True:
        await asyncio.sleep(ACKNOWLEDGED_EVERY_S)
        reader.acknowledge()


async def _tell(reader: EventReader) -> None:
    while True:
        await asyncio.sleep(TOLD_EVERY_S)
        reader.note()
        say({"delivered": reader.last})


if __name__ == "__main__":
    sys.exit(run_command(run, ReaderConfig, package="harness.bench.event_reader"))
