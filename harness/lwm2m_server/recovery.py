"""What an incarnation of the server knows when it begins: the fold of the log's records.

Pure: records in, state out; and state back to records for a compaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from contracts.data_interface import Command, Event, Outcome, Registration
from harness.lwm2m_server.event_log import EventLog
from harness.lwm2m_server.records import (
    CommandAccepted,
    CommandIntent,
    CommandRequeued,
    DecodedLog,
    EventsAcked,
    LogHeader,
    LogRecord,
    MessageIdUsed,
    ObservationKept,
    OutcomeKept,
    RegistrationKept,
    frame_json,
    frame_record,
)


@dataclass(slots=True)
class CommandRecovered:
    """A command as the log tells of it."""

    command: Command
    secret: bool
    intent: CommandIntent | None = None
    outcome: Outcome | None = None
    # Whether it waits again after a request that got no answer.
    was_sent: bool = False


@dataclass(slots=True)
class ServerState:
    """Everything that lives through a restart."""

    epoch: str
    newest: int = 0
    acknowledged: int = 0
    # Frames of the unacknowledged events, in order.
    events: list[bytes] = field(default_factory=list)
    # By endpoint: the registration and when it was last renewed, Unix time.
    registrations: dict[str, tuple[Registration, int]] = field(default_factory=dict)
    # By address: the last message id that was used towards it, and when.
    message_ids: dict[str, MessageIdUsed] = field(default_factory=dict)
    commands: dict[str, CommandRecovered] = field(default_factory=dict)
    # By endpoint, then by id: the commands that began the observations there are.
    observations: dict[str, dict[str, Command]] = field(default_factory=dict)
    # Endpoints in queue mode that are asleep; values mean nothing.
    asleep: dict[str, bool] = field(default_factory=dict)

    def event_log(self, kept_max: int, bytes_max: int) -> EventLog:
        """The events from the first that was not acknowledged, to which more are added."""
        return EventLog(
            self.epoch,
            newest=self.newest,
            acknowledged=self.acknowledged,
            kept_max=kept_max,
            bytes_max=bytes_max,
            frames=self.events,
        )


def recover(log: DecodedLog, *, server: str, new_epoch: str) -> ServerState:
    """The state that a log tells of.

    A log that is absent, another server's, or damaged loses its events: `new_epoch` begins. From a
    damaged one the commands are still taken, so that none of them is sent a second time.
    """
    records = log.records
    frames = iter(log.frames)
    header = records[0] if records else None
    usable = isinstance(header, LogHeader) and header.server == server
    if isinstance(header, LogHeader) and usable and not log.damaged:
        state = ServerState(header.epoch, newest=header.newest, acknowledged=header.acknowledged)
        _fold(state, records, frames, header.newest)
        return state
    state = ServerState(new_epoch)
    if usable:
        salvaged = ServerState(new_epoch)
        _fold(salvaged, records, frames, 0)
        state.commands = salvaged.commands
        state.message_ids = salvaged.message_ids
    return state


def state_records(
    state: ServerState,
    *,
    server: str,
    registrations: Iterable[tuple[Registration, int]] | None = None,
) -> Iterator[bytes]:
    """The shortest log that `recover` makes `state` of, record by record.

    `registrations`, with when each was last renewed, may come instead of those of `state`. They may
    be newer than it, if the events that made them so follow: folding those again changes nothing.
    """
    yield frame_record(
        LogHeader(
            server=server, epoch=state.epoch, newest=state.newest, acknowledged=state.acknowledged
        )
    )
    for registration, renewed_at_us in registrations or state.registrations.values():
        asleep = registration.endpoint in state.asleep
        yield frame_record(RegistrationKept(registration, renewed_at_us, asleep))
    for begun in state.observations.values():
        yield from (frame_record(ObservationKept(command)) for command in begun.values())
    yield from map(frame_record, state.message_ids.values())
    for command in state.commands.values():
        yield from map(frame_record, _command_records(command))
    yield from map(frame_json, state.events)


def _command_records(found: CommandRecovered) -> Iterable[msgspec.Struct]:
    yield CommandAccepted(found.command, found.secret)
    if found.was_sent:
        yield CommandRequeued(found.command.id)
    if found.outcome is not None:
        yield OutcomeKept(found.outcome)
    elif found.intent is not None:
        yield found.intent


def _fold(
    state: ServerState, records: list[LogRecord], frames: Iterator[bytes], known: int
) -> None:
    for record in records:
        if isinstance(record, Event):
            state.events.append(next(frames))
            _fold_event(state, record, known)
        elif isinstance(record, CommandAccepted):
            command = record.command
            state.commands[command.id] = CommandRecovered(command, record.secret)
        elif isinstance(record, CommandIntent):
            _fold_intent(state, record)
        elif isinstance(record, CommandRequeued):
            _fold_requeued(state, record)
        elif isinstance(record, EventsAcked):
            _fold_acknowledgement(state, record.seq)
        elif isinstance(record, RegistrationKept):
            _fold_registration(state, record)
        elif isinstance(record, ObservationKept):
            begun = state.observations.setdefault(record.command.endpoint, {})
            begun[record.command.id] = record.command
        elif isinstance(record, MessageIdUsed):
            state.message_ids[record.address] = record
        elif isinstance(record, OutcomeKept):
            _fold_outcome(state, record.outcome)


def _fold_event(state: ServerState, event: Event, known: int) -> None:
    state.newest = max(state.newest, event.seq)
    if event.result is not None:
        _fold_outcome(state, event.result)
    if event.seq <= known:
        return  # what the compaction wrote is as new as this
    endpoint = event.endpoint
    if event.kind in ("registered", "updated", "awake"):
        state.asleep.pop(endpoint, None)
    elif event.kind == "sleeping":
        state.asleep[endpoint] = True
    elif event.kind == "observation_ended" and event.observation_id is not None:
        _fold_observation_end(state, endpoint, event.observation_id)
    if event.registration is not None:
        state.registrations[endpoint] = (event.registration, event.at_us)
    elif event.kind == "deregistered":
        held = state.registrations.get(endpoint)
        if held is not None and held[0].registration_id == event.registration_id:
            del state.registrations[endpoint]
            state.observations.pop(endpoint, None)
            state.asleep.pop(endpoint, None)


def _fold_registration(state: ServerState, record: RegistrationKept) -> None:
    endpoint = record.registration.endpoint
    state.registrations[endpoint] = (record.registration, record.renewed_at_us)
    if record.is_asleep:
        state.asleep[endpoint] = True


def _fold_observation_end(state: ServerState, endpoint: str, observation_id: str) -> None:
    begun = state.observations.get(endpoint, {})
    begun.pop(observation_id, None)
    if not begun:
        state.observations.pop(endpoint, None)


def _fold_requeued(state: ServerState, record: CommandRequeued) -> None:
    found = state.commands.get(record.id)
    if found is not None:
        found.intent = None
        found.was_sent = True


def _fold_intent(state: ServerState, intent: CommandIntent) -> None:
    used = MessageIdUsed(intent.address, intent.message_id, intent.sent_at_us)
    state.message_ids[intent.address] = used
    if intent.id in state.commands:
        state.commands[intent.id].intent = intent


def _fold_outcome(state: ServerState, outcome: Outcome) -> None:
    found = state.commands.get(outcome.id)
    if found is not None:
        found.outcome = outcome


def _fold_acknowledgement(state: ServerState, seq: int) -> None:
    # Events are contiguous and end at `newest`.
    oldest = state.newest - len(state.events) + 1
    del state.events[: max(0, seq - oldest + 1)]
    state.acknowledged = max(state.acknowledged, seq)
