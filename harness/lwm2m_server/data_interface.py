"""The server's end of the data interface, without I/O: who is the bridge, what it gets and when.

It owns sessions and the order of frames; what a command does is not known here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from itertools import accumulate
from typing import Final

import msgspec

from contracts.data_interface import (
    Ack,
    BridgeFrame,
    Cancel,
    Command,
    ErrorFrame,
    Hello,
    Limits,
    Resume,
    Snapshot,
    decode_bridge_frame,
    encode,
)
from contracts.errors import ContractError, UnsupportedVersion
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.devices import Device
from harness.lwm2m_server.event_log import EventLog

CLOSE_REPLACED: Final = 1001
CLOSE_REFUSED: Final = 1008
CLOSE_BEHIND: Final = 1013

_EVENTS_AT_ONCE = 512


class SessionState(Enum):
    """How far a bridge has come."""

    GREETED = auto()
    LISTING = auto()
    FLOWING = auto()
    ENDED = auto()


class SessionEvent(Enum):
    """What moves a session."""

    RESUMED = auto()
    SNAPSHOT_BEGUN = auto()
    SNAPSHOT_ENDED = auto()
    CLOSED = auto()


TRANSITIONS: Final[dict[SessionState, dict[SessionEvent, SessionState]]] = {
    SessionState.GREETED: {
        SessionEvent.RESUMED: SessionState.FLOWING,
        SessionEvent.SNAPSHOT_BEGUN: SessionState.LISTING,
        SessionEvent.CLOSED: SessionState.ENDED,
    },
    SessionState.LISTING: {
        SessionEvent.SNAPSHOT_ENDED: SessionState.FLOWING,
        SessionEvent.CLOSED: SessionState.ENDED,
    },
    SessionState.FLOWING: {SessionEvent.CLOSED: SessionState.ENDED},
    SessionState.ENDED: {SessionEvent.CLOSED: SessionState.ENDED},
}


class BridgeSession:
    """One connection of a bridge. `close` is code and reason once the server wants it closed."""

    def __init__(self) -> None:
        self.state = SessionState.GREETED
        self.close: tuple[int, str] | None = None
        # The next event to send.
        self.cursor = 0
        self.answers: deque[bytes] = deque()
        self.snapshot: Iterator[bytes] = iter(())

    @property
    def has_resumed(self) -> bool:
        """Whether commands and acknowledgements are taken."""
        return self.state in (SessionState.LISTING, SessionState.FLOWING)

    def move(self, event: SessionEvent) -> None:
        """Follow the table."""
        self.state = TRANSITIONS[self.state][event]

    def end(self, code: int, reason: str) -> None:
        """Have the connection closed after what is already on its way."""
        self.close = self.close or (code, reason)
        self.snapshot = iter(())
        self.move(SessionEvent.CLOSED)


class DataInterface:
    """All sessions of one server, of which one is the bridge's. `devices` lists all of them."""

    def __init__(
        self,
        server: str,
        log: EventLog,
        limits: ServerLimits,
        devices: Callable[[], list[Device]],
    ) -> None:
        self._server = server
        self._log = log
        self._limits = limits
        self._devices = devices
        self.current: BridgeSession | None = None

    def open(self) -> BridgeSession:
        """A bridge connected: greet it. It replaces the one before."""
        if self.current is not None:
            self._end_fatally(self.current, CLOSE_REPLACED, "a newer bridge took over")
        session = BridgeSession()
        session.answers.append(encode(self._hello()))
        self.current = session
        return session

    def closed(self, session: BridgeSession) -> None:
        """The connection is gone."""
        session.end(CLOSE_REPLACED, "closed")
        if self.current is session:
            self.current = None

    def received(self, session: BridgeSession, text: bytes) -> Command | Cancel | Ack | None:
        """Take one frame; what the server's core has to act upon comes back.

        Frames that do not parse, come before `resume`, or acknowledge what was not sent are
        answered with an error frame. Those of a replaced bridge are refused in silence: it has
        been told.
        """
        if session.state is SessionState.ENDED:
            return None
        frame = self._decode(session, text)
        if type(frame) is Command and session.state is SessionState.FLOWING:
            return frame  # as nearly all do
        if isinstance(frame, Resume):
            self._resume(session, frame)
            return None
        if frame is None or not self._may(session, frame):
            return None
        return frame

    def answer(self, frame: msgspec.Struct) -> None:
        """Queue an answer to the bridge; dropped when there is none."""
        session = self.current
        if session is None or session.state is SessionState.ENDED:
            return
        if len(session.answers) >= self._limits.answers_waiting_max:
            session.answers.clear()
            self._end_fatally(session, CLOSE_BEHIND, "too many unread answers: read faster")
            return
        session.answers.append(encode(frame))

    def refuse(self, detail: str, *, command_id: str | None = None) -> None:
        """Queue an error frame to the bridge."""
        self.answer(ErrorFrame(detail=detail, id=command_id))

    def take_frames(self, session: BridgeSession, room_bytes: int) -> list[bytes]:
        """What to send now: answers, then the snapshot, then events, until `room_bytes` are full.

        At most `events_in_flight_max` events are sent beyond the acknowledged position.
        """
        if room_bytes <= 0:
            return []
        frames = list(session.answers)
        session.answers.clear()
        room = room_bytes - sum(map(len, frames))
        if session.state is SessionState.LISTING:
            room = self._take_snapshot(session, frames, room)
        if session.state is SessionState.FLOWING:
            self._take_events(session, frames, room)
        return frames

    def has_frames(self, session: BridgeSession) -> bool:
        """Whether `take_frames` would give some if there were room."""
        if session.answers or session.state is SessionState.LISTING:
            return True
        return session.state is SessionState.FLOWING and session.cursor <= self._last_to_send()

    def _last_to_send(self) -> int:
        log = self._log
        return min(log.newest, log.acknowledged + self._limits.events_in_flight_max)

    def _hello(self) -> Hello:
        limits = Limits(
            commands_queued_max=self._limits.commands_queued_max,
            commands_per_device_max=self._limits.commands_per_device_max,
            frame_bytes_max=self._limits.frame_bytes_max,
        )
        log = self._log
        return Hello(
            server=self._server,
            epoch=log.epoch,
            oldest=log.oldest,
            newest=log.newest,
            limits=limits,
        )

    def _decode(self, session: BridgeSession, text: bytes) -> BridgeFrame | None:
        if len(text) > self._limits.frame_bytes_max:
            self.refuse(f"a frame has at most {self._limits.frame_bytes_max} bytes")
            return None
        try:
            return decode_bridge_frame(text)
        except UnsupportedVersion as error:
            self._end_fatally(session, CLOSE_REFUSED, str(error))
        except ContractError as error:
            self.refuse(str(error), command_id=_id_of(text))
        return None

    def _resume(self, session: BridgeSession, frame: Resume) -> None:
        if session.has_resumed:
            self.refuse("this connection has resumed already")
            return
        log = self._log
        if frame.epoch == log.epoch and log.oldest - 1 <= frame.after <= log.newest:
            session.cursor = frame.after + 1
            session.move(SessionEvent.RESUMED)
            return
        # A starting bridge, another epoch, or a gap: all registrations, then the unacknowledged.
        session.cursor = log.oldest
        session.snapshot = self._snapshot_frames(self._devices(), log.newest)
        session.move(SessionEvent.SNAPSHOT_BEGUN)

    def _may(self, session: BridgeSession, frame: Command | Cancel | Ack) -> bool:
        if not session.has_resumed:
            self.refuse("the first frame must be resume", command_id=getattr(frame, "id", None))
            return False
        if isinstance(frame, Ack):
            return self._may_acknowledge(session, frame)
        return True

    def _may_acknowledge(self, session: BridgeSession, ack: Ack) -> bool:
        if ack.epoch != self._log.epoch:
            self.refuse(f"this server's epoch is {self._log.epoch}, not {ack.epoch[:40]!r}")
        elif ack.seq >= session.cursor:
            self.refuse(f"event {ack.seq} has not been sent on this connection")
        else:
            return True
        return False

    def _snapshot_frames(self, devices: list[Device], as_of: int) -> Iterator[bytes]:
        # Encoded as they are taken: a registration that changes meanwhile is a later event.
        size = self._limits.snapshot_registrations
        starts = range(0, len(devices), size) or range(1)
        for start in starts:
            yield encode(
                Snapshot(
                    epoch=self._log.epoch,
                    as_of=as_of,
                    registrations=[each.registration for each in devices[start : start + size]],
                    last=start == starts[-1],
                )
            )

    def _take_snapshot(self, session: BridgeSession, frames: list[bytes], room: int) -> int:
        while room > 0:
            frame = next(session.snapshot, None)
            if frame is None:
                session.move(SessionEvent.SNAPSHOT_ENDED)
                break
            frames.append(frame)
            room -= len(frame)
        return room

    def _take_events(self, session: BridgeSession, frames: list[bytes], room: int) -> None:
        log = self._log
        if session.cursor < log.oldest:
            self._end_fatally(session, CLOSE_BEHIND, "events were dropped: resume for a snapshot")
            frames += session.answers
            session.answers.clear()
            return
        last = self._last_to_send()
        while room > 0 and session.cursor <= last:
            count = min(_EVENTS_AT_ONCE, last - session.cursor + 1)
            events = log.frames(session.cursor, count)
            size = sum(map(len, events))
            if size > room:
                # The one that exceeds the room is sent as well.
                taken = bisect_left(list(accumulate(map(len, events))), room) + 1
                events = events[:taken]
            frames += events
            session.cursor += len(events)
            room -= size

    def _end_fatally(self, session: BridgeSession, code: int, detail: str) -> None:
        session.answers.append(encode(ErrorFrame(detail=detail, fatal=True)))
        session.end(code, detail)


class _Identified(msgspec.Struct):
    id: str | None = None


_identified = msgspec.json.Decoder(_Identified)


def _id_of(text: bytes) -> str | None:
    """The id of a frame that is wrong otherwise, so that its sender can tell which it was."""
    try:
        return _identified.decode(text).id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
