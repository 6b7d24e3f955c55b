"""The commands of a server: their states, each device's queue, bounds, and outcomes by id.

It knows neither CoAP nor frames: who sends a request tells it so, and how it ended.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from heapq import heappop, heappush
from typing import Final

import msgspec

from contracts.data_interface import Command, Outcome
from harness.lwm2m_server.config import ServerLimits
from harness.lwm2m_server.records import CommandIntent

# An outcome is kept a little longer than its command is valid: a repetition may be on its way.
OUTCOME_GRACE_US: Final = 60_000_000


class CommandState(Enum):
    """How far a command has come. The last three are ends; UNKNOWN may have happened or not."""

    QUEUED = auto()
    SENT = auto()
    DONE = auto()
    REFUSED = auto()
    UNKNOWN = auto()

    # Looked up in tables for every command: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


class CommandEvent(Enum):
    """What moves a command. LOST: sent, and no answer will come. CUT_OFF: sent, and no answer will
    come, but the request may be sent again."""

    REQUEST_SENT = auto()
    CUT_OFF = auto()
    SUCCEEDED = auto()
    REFUSED = auto()
    EXPIRED = auto()
    CANCELLED = auto()
    LOST = auto()

    # Looked up in tables for every command: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


TRANSITIONS: Final[dict[CommandState, dict[CommandEvent, CommandState]]] = {
    CommandState.QUEUED: {
        CommandEvent.REQUEST_SENT: CommandState.SENT,
        # Done without a request, as a passive cancellation is.
        CommandEvent.SUCCEEDED: CommandState.DONE,
        CommandEvent.REFUSED: CommandState.REFUSED,
        CommandEvent.EXPIRED: CommandState.REFUSED,
        CommandEvent.CANCELLED: CommandState.REFUSED,
        # It has been cut off before: nobody knows.
        CommandEvent.LOST: CommandState.UNKNOWN,
    },
    CommandState.SENT: {
        CommandEvent.CUT_OFF: CommandState.QUEUED,
        CommandEvent.SUCCEEDED: CommandState.DONE,
        CommandEvent.REFUSED: CommandState.REFUSED,
        CommandEvent.LOST: CommandState.UNKNOWN,
    },
    CommandState.DONE: {},
    CommandState.REFUSED: {},
    CommandState.UNKNOWN: {},
}
ENDED: Final = frozenset({CommandState.DONE, CommandState.REFUSED, CommandState.UNKNOWN})


class CommandsFull(Exception):
    """A bound is reached; the text says which."""


class CommandEntry:
    """One command. Its values are dropped once it has ended."""

    __slots__ = (
        "bare",
        "command",
        "exchange",
        "intent",
        "logged",
        "outcome",
        "secret",
        "state",
        "was_sent",
    )

    def __init__(self, command: Command, *, secret: bool) -> None:
        self.command = command
        # The command without its values, once it was wanted.
        self.bare: Command | None = None
        # Whether its values may not be kept anywhere.
        self.secret = secret
        self.state = CommandState.QUEUED
        # Whether the log already tells of it.
        self.logged = False
        # Whether it waits again after a request that got no answer.
        self.was_sent = False
        self.intent: CommandIntent | None = None
        self.exchange = -1
        self.outcome: Outcome | None = None

    def __repr__(self) -> str:
        return f"CommandEntry(id={self.command.id!r}, state={self.state.name})"

    def without_values(self) -> Command:
        """The command as it may be kept for long."""
        if self.bare is None:
            self.bare = without_values(self.command)
        return self.bare

    @property
    def has_ended(self) -> bool:
        """Whether its outcome is known."""
        return self.state in ENDED

    def move(self, event: CommandEvent) -> None:
        """Follow the table."""
        self.state = TRANSITIONS[self.state][event]


class CommandTable:
    """Commands by id, and the queue of each device: one request at a time, in order."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._entries: dict[str, CommandEntry] = {}
        self._queues: dict[str, deque[CommandEntry]] = {}
        self._sent: dict[str, CommandEntry] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._open = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def open_count(self) -> int:
        """Commands without outcome."""
        return self._open

    def find(self, command_id: str) -> CommandEntry | None:
        """The command with this id, while it is remembered."""
        return self._entries.get(command_id)

    def entries(self) -> list[CommandEntry]:
        """All that are remembered, in the order in which they came."""
        return list(self._entries.values())

    def check_room(self, endpoint: str) -> None:
        """Raises `CommandsFull` when one more command for `endpoint` is one too many."""
        limits = self._limits
        if len(self._queues.get(endpoint, ())) >= limits.commands_per_device_max:
            raise CommandsFull(f"{limits.commands_per_device_max} commands wait for this device")
        if self._open >= limits.commands_queued_max:
            raise CommandsFull(f"{limits.commands_queued_max} commands have no outcome yet")
        if len(self._entries) >= limits.outcomes_kept_max:
            raise CommandsFull(f"{limits.outcomes_kept_max} outcomes are kept until they expire")

    def add(self, command: Command, *, secret: bool) -> CommandEntry:
        """Queue a command whose id is new."""
        entry = self._remember(CommandEntry(command, secret=secret))
        self._open += 1
        self._queues.setdefault(command.endpoint, deque()).append(entry)
        return entry

    def restore_ended(self, command: Command, outcome: Outcome, *, secret: bool) -> None:
        """Remember a command that ended in an earlier incarnation."""
        entry = self._remember(CommandEntry(command, secret=secret))
        entry.logged = True
        entry.outcome = outcome
        entry.state = CommandState.DONE if outcome.succeeded else CommandState.REFUSED

    def next_ready(self, endpoint: str) -> CommandEntry | None:
        """The command to send to this device now; None when one is on its way, or none waits."""
        if endpoint in self._sent:
            return None
        queue = self._queues.get(endpoint)
        return queue[0] if queue else None

    def in_flight(self, endpoint: str) -> CommandEntry | None:
        """The command whose request is on its way to this device."""
        return self._sent.get(endpoint)

    def queued(self, endpoint: str) -> list[CommandEntry]:
        """Those that wait for this device, in order."""
        return list(self._queues.get(endpoint, ()))

    def mark_sent(self, entry: CommandEntry, intent: CommandIntent, exchange: int) -> None:
        """The request of a queued command goes out."""
        self._unqueue(entry)
        entry.move(CommandEvent.REQUEST_SENT)
        entry.intent = intent
        entry.exchange = exchange
        self._sent[entry.command.endpoint] = entry

    def mark_cut_off(self, entry: CommandEntry) -> None:
        """The request of a command got no answer and may be sent again: it is the next one."""
        endpoint = entry.command.endpoint
        del self._sent[endpoint]
        entry.move(CommandEvent.CUT_OFF)
        entry.intent = None
        entry.exchange = -1
        entry.was_sent = True
        self._queues.setdefault(endpoint, deque()).appendleft(entry)
        # The deadline of a command that is out is looked at late: it waits now.
        heappush(self._deadlines, (entry.command.expires_at_us, entry.command.id))

    def mark_ended(self, entry: CommandEntry, event: CommandEvent, outcome: Outcome) -> None:
        """A command has its outcome."""
        if entry.state is CommandState.QUEUED:
            self._unqueue(entry)
        else:
            del self._sent[entry.command.endpoint]
        entry.move(event)
        entry.outcome = outcome
        entry.intent = None
        entry.exchange = -1
        entry.command = entry.without_values()
        entry.bare = None
        self._open -= 1

    def next_deadline_us(self) -> int | None:
        """When `pass_deadlines` has something to do; Unix time."""
        return self._deadlines[0][0] if self._deadlines else None

    def pass_deadlines(self, now_us: int) -> list[CommandEntry]:
        """Forget old outcomes; return the queued commands that have expired."""
        expired: list[CommandEntry] = []
        while self._deadlines and self._deadlines[0][0] <= now_us:
            _, command_id = heappop(self._deadlines)
            entry = self._entries.get(command_id)
            if entry is None:
                continue  # a command that was cut off has more than one deadline
            if entry.has_ended and entry.command.expires_at_us + OUTCOME_GRACE_US <= now_us:
                del self._entries[command_id]
                continue
            if entry.state is CommandState.QUEUED:
                expired.append(entry)
            heappush(self._deadlines, (now_us + OUTCOME_GRACE_US, command_id))
        return expired

    def _remember(self, entry: CommandEntry) -> CommandEntry:
        command = entry.command
        self._entries[command.id] = entry
        heappush(self._deadlines, (command.expires_at_us, command.id))
        return entry

    def _unqueue(self, entry: CommandEntry) -> None:
        endpoint = entry.command.endpoint
        queue = self._queues[endpoint]
        queue.remove(entry)
        if not queue:
            del self._queues[endpoint]


def without_values(command: Command) -> Command:
    """The command as it may be kept for long: no values, no arguments."""
    if command.values is None and command.arguments is None:
        return command
    return msgspec.structs.replace(command, values=None, arguments=None)
