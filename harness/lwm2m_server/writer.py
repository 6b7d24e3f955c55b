"""What a turn leaves behind: the records for the log, and each event once as frame and record, and
what the tap observed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count, repeat

import msgspec

from contracts.data_interface import (
    Completes,
    DeregistrationReason,
    Event,
    EventKind,
    ObservationEnd,
    Outcome,
    Value,
    encode,
)
from contracts.journal import (
    DatagramRefused,
    EventLogged,
    EventsAcknowledged,
    HandshakeRefused,
)
from harness.lwm2m_server.devices import Device
from harness.lwm2m_server.event_log import EventLog
from harness.lwm2m_server.records import EventsAcked, encode_record, frame_all
from harness.lwm2m_server.registration_frames import RegistrationFrames, RegistrationKind
from harness.lwm2m_server.result_frames import BootstrapEvent, ResultEvent
from lwm2m.registration import Registration
from runtime.clock import Clock

# Beyond so many of one reason the tap only counts: a flood must not fill the journal.
REFUSALS_RECORDED_MAX = 1_000


class TurnWriter:
    """Collects what one turn of the loop made, in order. Without a tap nothing is `observed`."""

    def __init__(
        self, server: str, events: EventLog, clock: Clock, *, is_tapped: bool = True
    ) -> None:
        self.is_tapped = is_tapped
        self.server = server
        self.events = events
        self.clock = clock
        # What the tap observed; it is told once the records are on disk.
        self.observed: list[msgspec.Struct] = []
        # Refused datagrams and registrations by reason.
        self.refusals: Counter[str] = Counter()
        # Encoded records of this turn: what events are is told by their frames themselves.
        self._records: list[bytes] = []
        self._registrations = RegistrationFrames(server, events.epoch)
        # Bound once: a whole fleet's arrival goes through them.
        self._encode_registration, self._append_event = self._registrations.encode, events.append
        self._encode_new = self._registrations.encode_new
        self._acknowledged = False

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return self.clock.now_ns() / 1e9

    def wall_s(self) -> float:
        """Unix time in seconds."""
        return self.clock.wall_us() / 1e6

    def write(self, record: msgspec.Struct) -> None:
        """Have a record written before anything of this turn leaves."""
        self._records.append(encode_record(record))

    def emit(
        self,
        kind: EventKind,
        endpoint: str,
        *,
        registration_id: str | None = None,
        path: str | None = None,
        paths: list[str] | None = None,
        values: list[Value] | None = None,
        observation_id: str | None = None,
        sequence: int | None = None,
        ended: ObservationEnd | None = None,
        detail: str | None = None,
        dropped: int | None = None,
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
            path=path,
            paths=paths,
            values=values,
            observation_id=observation_id,
            sequence=sequence,
            ended=ended,
            detail=detail,
            dropped=dropped,
        )
        self._log_event(kind, endpoint, encode(event))

    def emit_registration(self, kind: RegistrationKind, device: Device, at_us: int) -> None:
        """Log that a device registered or updated: `emit` for what a whole fleet does at once."""
        frame = self._encode_registration(kind, self.events.newest + 1, device, at_us)
        self._append_event(frame)
        self._records.append(frame)
        if self.is_tapped:
            self._tell_event(kind, device.held.endpoint_name)

    def emit_new(self, held: Registration, middle: str, at_us: int) -> None:
        """`emit_registration` of a device that registered just now; see `encode_new`."""
        events = self.events
        frame = self._encode_new(events.newest + 1, held, middle, at_us)
        events.append(frame)
        self._records.append(frame)
        if self.is_tapped:
            self._tell_event("registered", held.endpoint_name)

    def emit_all_new(
        self, registrations: Sequence[Registration], middles: Iterable[str], at_us: int
    ) -> None:
        """`emit_new` of each."""
        events = self.events
        first = events.newest + 1
        frames = list(map(self._encode_new, count(first), registrations, middles, repeat(at_us)))
        self._records += frames
        if not self.is_tapped:
            events.extend(frames)
            return
        for held, frame in zip(registrations, frames, strict=True):
            events.append(frame)
            self._tell_event("registered", held.endpoint_name)

    def emit_left(self, endpoint: str, registration_id: str, reason: DeregistrationReason) -> None:
        """Log that a registration ended: likewise."""
        at_us, seq = self.clock.wall_us(), self.events.newest + 1
        frame = self._registrations.encode_left(seq, endpoint, registration_id, reason, at_us)
        self._log_event("deregistered", endpoint, frame)

    def emit_result(self, endpoint: str, registration_id: str | None, result: Outcome) -> None:
        """Log how a command ended: likewise."""
        log, at_us = self.events, self.clock.wall_us()
        event = ResultEvent(
            self.server, log.epoch, log.newest + 1, "result", endpoint, at_us, registration_id,
            result,
        )  # fmt: skip
        self._log_event("result", endpoint, encode(event))

    def emit_bootstrap(
        self, endpoint: str, registration_id: str | None, completed: Completes
    ) -> None:
        """Log that a procedure succeeded: likewise."""
        log, at_us = self.events, self.clock.wall_us()
        event = BootstrapEvent(
            self.server, log.epoch, log.newest + 1, "bootstrap", endpoint, at_us, registration_id,
            completed,
        )  # fmt: skip
        self._log_event("bootstrap", endpoint, encode(event))

    def _log_event(self, kind: EventKind, endpoint: str, frame: bytes) -> None:
        self.events.append(frame)
        self._records.append(frame)
        if self.is_tapped:
            self._tell_event(kind, endpoint)

    def _tell_event(self, kind: EventKind, endpoint: str) -> None:
        log = self.events
        self.observed.append(
            EventLogged(
                at_ns=self.clock.now_ns(),
                server=self.server,
                epoch=log.epoch,
                seq=log.newest,
                kind=kind,
                endpoint=endpoint,
            )
        )

    def acknowledge(self, seq: int) -> None:
        """Move the acknowledged position; it is written once a turn."""
        if self.events.acknowledge(seq):
            self._acknowledged = True

    def refuse(self, reason: str, address: str, count: int = 1) -> None:
        """Count datagrams, registrations or Sends that were refused."""
        self.refusals[reason] += count
        if self.is_tapped and self.refusals[reason] <= REFUSALS_RECORDED_MAX:
            now_ns = self.clock.now_ns()
            self.observed.append(
                DatagramRefused(at_ns=now_ns, server=self.server, reason=reason, address=address)
            )

    def refuse_handshake(self, reason: str, address: str, identity_hash: str) -> None:
        """Count a security session that was refused or broke off."""
        counter = f"handshake_{reason}"
        self.refusals[counter] += 1
        if self.is_tapped and self.refusals[counter] <= REFUSALS_RECORDED_MAX:
            self.observed.append(
                HandshakeRefused(
                    at_ns=self.clock.now_ns(),
                    server=self.server,
                    address=address,
                    reason=reason,
                    identity_hash=identity_hash,
                )
            )

    def take_records(self) -> bytes:
        """What has to be on disk before the turn's datagrams and frames leave."""
        if self._acknowledged:
            self._acknowledged = False
            self.write(EventsAcked(self.events.acknowledged))
            self._tell_acknowledged()
        if not self._records:
            return b""
        lines = frame_all(self._records)
        self._records.clear()
        return lines

    def _tell_acknowledged(self) -> None:
        if not self.is_tapped:
            return
        self.observed.append(
            EventsAcknowledged(
                at_ns=self.clock.now_ns(),
                server=self.server,
                epoch=self.events.epoch,
                seq=self.events.acknowledged,
            )
        )
