"""What a turn leaves behind: the records for the log, and each event once as frame and record, and
what the tap observed."""

from __future__ import annotations

from collections import Counter

import msgspec

from contracts.data_interface import (
    Completes,
    DeregistrationReason,
    Event,
    EventKind,
    Outcome,
    Registration,
    encode,
)
from contracts.journal import DatagramRefused, EventLogged, EventsAcknowledged
from harness.lwm2m_server.event_log import EventLog
from harness.lwm2m_server.records import EventsAcked, frame_json, frame_record
from runtime.clock import Clock

# Beyond so many of one reason the tap only counts: a flood must not fill the journal.
REFUSALS_RECORDED_MAX = 1_000


class TurnWriter:
    """Collects what one turn of the loop made, in order."""

    def __init__(self, server: str, events: EventLog, clock: Clock) -> None:
        self.server = server
        self.events = events
        self.clock = clock
        # What the tap observed; it is told once the records are on disk.
        self.observed: list[msgspec.Struct] = []
        # Refused datagrams and registrations by reason.
        self.refusals: Counter[str] = Counter()
        self._lines: list[bytes] = []
        self._acknowledged = False

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return self.clock.now_ns() / 1e9

    def write(self, record: msgspec.Struct) -> None:
        """Have a record written before anything of this turn leaves."""
        self._lines.append(frame_record(record))

    def emit(
        self,
        kind: EventKind,
        endpoint: str,
        *,
        registration_id: str | None = None,
        registration: Registration | None = None,
        reason: DeregistrationReason | None = None,
        result: Outcome | None = None,
        completed: Completes | None = None,
    ) -> None:
        """Log the next event."""
        log = self.events
        seq = log.newest + 1
        event = Event(
            server=self.server,
            epoch=log.epoch,
            seq=seq,
            kind=kind,
            endpoint=endpoint,
            at_us=self.clock.wall_us(),
            registration_id=registration_id,
            registration=registration,
            reason=reason,
            result=result,
            completed=completed,
        )
        frame = encode(event)
        log.append(frame)
        self._lines.append(frame_json(frame))
        self.observed.append(
            EventLogged(
                at_ns=self.clock.now_ns(),
                server=self.server,
                epoch=log.epoch,
                seq=seq,
                kind=kind,
                endpoint=endpoint,
            )
        )

    def acknowledge(self, seq: int) -> None:
        """Move the acknowledged position; it is written once a turn."""
        if self.events.acknowledge(seq):
            self._acknowledged = True

    def refuse(self, reason: str, address: str) -> None:
        """Count a datagram or registration that was refused."""
        self.refusals[reason] += 1
        if self.refusals[reason] <= REFUSALS_RECORDED_MAX:
            now_ns = self.clock.now_ns()
            self.observed.append(
                DatagramRefused(at_ns=now_ns, server=self.server, reason=reason, address=address)
            )

    def take_records(self) -> bytes:
        """What has to be on disk before the turn's datagrams and frames leave."""
        if self._acknowledged:
            self._acknowledged = False
            self.write(EventsAcked(self.events.acknowledged))
            self._tell_acknowledged()
        records = b"".join(self._lines)
        self._lines.clear()
        return records

    def _tell_acknowledged(self) -> None:
        self.observed.append(
            EventsAcknowledged(
                at_ns=self.clock.now_ns(),
                server=self.server,
                epoch=self.events.epoch,
                seq=self.events.acknowledged,
            )
        )
