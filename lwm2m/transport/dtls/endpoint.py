"""What both sides of DTLS do alike: what they hand out, the timers of handshakes, and what comes on
an established session besides data in order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from lwm2m.coap.timers import TICKS_PER_S, TimerWheel
from lwm2m.transport.dtls.channel import Channel
from lwm2m.transport.dtls.events import DtlsCounters, DtlsEvent
from lwm2m.transport.dtls.failures import CLOSE_NOTIFY, NO_RENEGOTIATION, alert_reason
from lwm2m.transport.dtls.handshake import Handshake
from lwm2m.transport.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    FATAL,
    FINISHED,
    HANDSHAKE,
    WARNING,
    encode_alert,
)
from lwm2m.transport.dtls.settings import DtlsSettings


class Attempt:
    """A handshake under way, and its place in the timer wheel; tick 0: in none."""

    __slots__ = ("handshake", "number", "tick")

    def __init__(self, number: int, handshake: Handshake) -> None:
        self.number = number
        self.handshake = handshake
        self.tick = 0


class Session(Protocol):
    """What is kept of an established session; a client's has no channel before and after."""

    @property
    def address(self) -> Hashable: ...

    @property
    def channel(self) -> Channel | None: ...


AttemptT = TypeVar("AttemptT", bound=Attempt)
SessionT = TypeVar("SessionT", bound=Session)


class DtlsEndpoint(ABC, Generic[AttemptT, SessionT]):
    """One side. `random_bytes(n)` gives secrets; `unix_time_s` says when certificates are judged,
    None: by the system's clock.
    """

    def __init__(
        self,
        random_bytes: Callable[[int], bytes],
        settings: DtlsSettings | None,
        unix_time_s: Callable[[], float] | None,
    ) -> None:
        self.settings = settings or DtlsSettings()
        self.counters = DtlsCounters()
        self._random_bytes = random_bytes
        self._unix_time_s = unix_time_s
        self._timers: TimerWheel[AttemptT] = TimerWheel()
        self._number = 0
        self._outgoing: list[tuple[bytes, Hashable]] = []
        self._received: list[tuple[bytes, Hashable]] = []
        self._events: list[DtlsEvent] = []

    def datagrams_to_send(self) -> list[tuple[bytes, Hashable]]:
        """Take what is to be sent: (datagram, address)."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def datagrams_received(self) -> list[tuple[bytes, Hashable]]:
        """Take what was received on sessions: (application data, a server's `SecurePeer` or a
        client's plain address).
        """
        taken, self._received = self._received, []
        return taken

    def events(self) -> list[DtlsEvent]:
        """Take what happened, in order."""
        taken, self._events = self._events, []
        return taken

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do, or None."""
        return self._timers.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Repeat flights, give handshakes up."""
        due = self._timers.take_due(now)
        for attempt in due:
            attempt.tick = 0
        due.reverse()
        try:
            while due:
                attempt = due.pop()
                attempt.handshake.handle_timer(now)
                self._settle(attempt, now)
        finally:
            # Should the application's tables have raised: the others' time is still to come.
            for attempt in due:
                self._watch(attempt)

    @abstractmethod
    def _settle(self, attempt: AttemptT, now: float) -> None:
        """Do what follows from the state of a handshake."""

    @abstractmethod
    def _deliver(self, session: SessionT, content: bytes, now: float) -> None:
        """Application data came."""

    @abstractmethod
    def _forget(self, session: SessionT, reason: str) -> None:
        """The other side ended the session."""

    def _watch(self, attempt: AttemptT) -> None:
        """See to it that the timer of a handshake fires in time. Earlier does no harm: a handshake
        that goes well moves its deadline three times and never reaches it.
        """
        due = attempt.handshake.due
        if attempt.tick and attempt.tick <= due * TICKS_PER_S:
            return
        self._unwatch(attempt)
        attempt.tick = self._timers.schedule(attempt.number, attempt, due)

    def _unwatch(self, attempt: AttemptT) -> None:
        if attempt.tick:
            self._timers.cancel(attempt.number, attempt.tick)
            attempt.tick = 0

    def _receive_protected(
        self, session: SessionT, channel: Channel, record: bytes, now: float
    ) -> bool:
        """Take a record of epoch 1; False when it came before or is not made with these keys."""
        content_type = record[0]
        if content_type == HANDSHAKE:
            return self._receive_late_handshake(session, channel, record)
        content = channel.open(record)
        if content is None:
            return False
        if content_type == APPLICATION_DATA:
            self._deliver(session, content, now)
        elif content_type == ALERT and len(content) == 2:
            level, description = content
            if description == CLOSE_NOTIFY:
                # RFC 5246 §7.2.1: answered with our own.
                self._send_alert(session, WARNING, CLOSE_NOTIFY)
                self._forget(session, "close_notify")
            elif level == FATAL:
                self._forget(session, alert_reason(description))
        return True

    def _receive_late_handshake(self, session: SessionT, channel: Channel, record: bytes) -> bool:
        """The other side repeats its Finished: it has not got ours. Another message is a
        renegotiation, which is refused (RFC 5746 is not needed without it).
        """
        message = channel.peek(record)
        if message is None:
            return False
        if message[:1] == bytes([FINISHED]):
            for datagram in channel.repeat_last_flight():
                self._outgoing.append((datagram, session.address))
        elif channel.open(record) is not None:
            self._send_alert(session, WARNING, NO_RENEGOTIATION)
        return True

    def _count_unopened(self, channel: Channel, record: bytes) -> None:
        if channel.is_replay(record):
            self.counters.replayed_records += 1
        else:
            self.counters.discarded_records += 1

    def _send_alert(self, session: SessionT, level: int, description: int) -> None:
        if session.channel is not None:
            alert = session.channel.seal(ALERT, encode_alert(level, description))
            self._outgoing.append((alert, session.address))
