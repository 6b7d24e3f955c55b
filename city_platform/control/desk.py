"""The open commands: who holds their device, when each is published again and when it ends.

Without I/O: what happened goes in, the rows to keep and the messages to publish come out.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from city_platform.control.states import TRANSITIONS, Occurrence, occurrence_of
from contracts.api import FINAL_COMMAND_STATES, CommandRequest, CommandState
from contracts.data_interface import NEVER_SENT_TWICE, Command, Holder, Outcome, encode
from contracts.topics import Topics, fill

ISSUED_BY = "control"


class Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When commands are published again, and when they end."""

    # First pause before a command without outcome is published again, in seconds; then doubled.
    first_s: float = 3.0
    # The longest pause, in seconds.
    longest_s: float = 30.0
    # How long after its expiry an outcome may still come: MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2.
    grace_s: float = 93.0


class HolderRow(NamedTuple):
    """Which server holds a device, in which epoch of its log."""

    endpoint: str
    server: str
    epoch: str
    registration_id: str


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """A command as it is kept. Times are Unix microseconds.

    `sent_to` is the log (server, epoch) that may have seen the command: only there is its id known.
    """

    id: str
    endpoint: str
    request: CommandRequest
    state: CommandState
    issued_at_us: int
    expires_at_us: int
    ended_at_us: int | None = None
    outcome: Outcome | None = None
    sent_to: tuple[str, str] | None = None

    @property
    def is_final(self) -> bool:
        """Whether the operator's question is answered."""
        return self.state in FINAL_COMMAND_STATES


class Publication(NamedTuple):
    """One message, QoS 1, of one command."""

    command_id: str
    topic: str
    payload: bytes


class Turn(NamedTuple):
    """What came of one thing that happened: rows to keep, then messages to publish."""

    rows: list[CommandRow]
    publications: list[Publication]


class CommandDesk:
    """Commands that have no final state yet, and the holders of devices."""

    def __init__(
        self,
        topics: Topics,
        times: Times,
        chance: Callable[[], float],
        *,
        commands: Iterable[CommandRow] = (),
        holders: Iterable[HolderRow] = (),
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._topics = topics
        self._times = times
        self._chance = chance
        self._holders = {row.endpoint: row for row in holders}
        self._open = {row.id: row for row in commands}
        self._of_device: dict[str, list[str]] = {}
        self._attempts: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._due_us: dict[str, int] = {}
        for row in self._open.values():
            self._of_device.setdefault(row.endpoint, []).append(row.id)
            self._schedule(row.id, 0)

    def get(self, command_id: str) -> CommandRow | None:
        """An open command."""
        return self._open.get(command_id)

    @property
    def open_commands(self) -> int:
        """How many have no final state."""
        return len(self._open)

    def open(self, row: CommandRow) -> CommandRow:
        """A new command. It may be published once it is kept: call `publish` then."""
        self._open[row.id] = row
        self._of_device.setdefault(row.endpoint, []).append(row.id)
        self.counts["commands"] += 1
        return row

    def abandon(self, command_id: str) -> None:
        """A new command could not be kept: it never was."""
        row = self._open.get(command_id)
        if row is not None:
            self._close(row)

    def is_held(self, endpoint: str) -> bool:
        """Whether a server has announced the device and not said since that it is gone."""
        return endpoint in self._holders

    def publish(self, command_id: str, now_us: int) -> Turn:
        """Publish an open command now, and again later until it has its outcome.

        Without a known holder it goes to every bridge, in case one knows the device, and stays
        `queued`: it was sent to nobody in particular.
        """
        row = self._open.get(command_id)
        if row is None:
            return Turn([], [])
        self._postpone(row, now_us)
        if not self._may_be_sent(row):
            self.counts["not_sent_to_another_log"] += 1
            return Turn([], [])
        self.counts["published"] += 1
        holder = self._holders.get(row.endpoint)
        rows: list[CommandRow] = []
        if holder is not None and row.sent_to is None:
            row = msgspec.structs.replace(row, sent_to=(holder.server, holder.epoch))
            self._open[row.id] = row
            rows.append(row)
        if holder is None:
            self.counts["published_without_holder"] += 1
        moved = self._moved(row, Occurrence.PUBLISHED, now_us) if row.sent_to else None
        return Turn([moved] if moved else rows, [self._publication(row, holder)])

    def acknowledged(self, command_id: str, now_us: int) -> Turn:
        """The broker has the command: its PUBACK came."""
        row = self._open.get(command_id)
        moved = self._moved(row, Occurrence.BROKER_ACKNOWLEDGED, now_us) if row else None
        return Turn([moved] if moved else [], [])

    def conclude(self, row: CommandRow, outcome: Outcome, now_us: int) -> CommandRow | None:
        """The outcome of `row`, open or ended, arrived. The row to keep, None when it is old."""
        occurrence = occurrence_of(outcome)
        if occurrence not in TRANSITIONS[row.state]:
            self.counts["outcomes_repeated"] += 1
            return None
        return self._moved(msgspec.structs.replace(row, outcome=outcome), occurrence, now_us)

    def hold(self, holder: HolderRow, now_us: int, *, is_snapshot: bool) -> Turn:
        """A device registered. Its open commands are published when that may help."""
        before = self._holders.get(holder.endpoint)
        self._holders[holder.endpoint] = holder
        if before == holder and not is_snapshot:
            return Turn([], [])
        rows: list[CommandRow] = []
        publications: list[Publication] = []
        for command_id in list(self._of_device.get(holder.endpoint, ())):
            if self._open[command_id].expires_at_us > now_us and command_id in self._due_us:
                turn = self.publish(command_id, now_us)
                rows += turn.rows
                publications += turn.publications
        return Turn(rows, publications)

    def release(self, endpoint: str, registration_id: str | None) -> bool:
        """A registration ended. Whether the device has no holder now."""
        holder = self._holders.get(endpoint)
        if holder is None or holder.registration_id != registration_id:
            return False
        del self._holders[endpoint]
        return True

    def due(self, now_us: int, limit: int) -> Turn:
        """What time alone brings: at most `limit` commands published again or ended."""
        rows: list[CommandRow] = []
        publications: list[Publication] = []
        for _ in range(limit):
            due_us = self.next_timer()
            if due_us is None or due_us > now_us:
                break
            _, command_id = heapq.heappop(self._due)
            turn = self._time_came(self._open[command_id], now_us)
            rows += turn.rows
            publications += turn.publications
        return Turn(rows, publications)

    def next_timer(self) -> int | None:
        """When `due` has something, in Unix microseconds."""
        while self._due and self._due_us.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _time_came(self, row: CommandRow, now_us: int) -> Turn:
        if now_us < row.expires_at_us:
            self.counts["published_again"] += 1
            return self.publish(row.id, now_us)
        if row.sent_to is not None and now_us < self._latest_us(row):
            self._schedule(row.id, self._latest_us(row))
            return Turn([], [])
        # No server was ever known to hold the device: none can have begun.
        occurrence = Occurrence.EXPIRED if row.sent_to is None else Occurrence.LOST
        moved = self._moved(row, occurrence, now_us)
        return Turn([moved] if moved else [], [])

    def _latest_us(self, row: CommandRow) -> int:
        return row.expires_at_us + round(self._times.grace_s * 1e6)

    def _may_be_sent(self, row: CommandRow) -> bool:
        """Only the log that knows an id keeps an Execute or Create from happening twice."""
        holder = self._holders.get(row.endpoint)
        if row.request.operation not in NEVER_SENT_TWICE or row.sent_to is None:
            return True
        return holder is None or row.sent_to == (holder.server, holder.epoch)

    def _publication(self, row: CommandRow, holder: HolderRow | None) -> Publication:
        request = row.request
        command = Command(
            id=row.id,
            endpoint=row.endpoint,
            operation=request.operation,
            expires_at_us=row.expires_at_us,
            path=request.path,
            values=request.values,
            mode=request.mode,
            arguments=request.arguments,
            format=request.format,
            holder=Holder(holder.server, holder.registration_id) if holder else None,
            issued_by=ISSUED_BY,
        )
        if holder is None:
            topic = fill(self._topics.command, endpoint=row.endpoint)
        else:
            topic = fill(self._topics.held_command, server=holder.server, endpoint=row.endpoint)
        return Publication(row.id, topic, encode(command))

    def _moved(self, row: CommandRow, occurrence: Occurrence, now_us: int) -> CommandRow | None:
        state = TRANSITIONS[row.state].get(occurrence)
        if state is None or (state == row.state and row.outcome is None):
            return None
        moved = msgspec.structs.replace(row, state=state)
        if not moved.is_final:
            self._open[row.id] = moved
            return moved
        self._close(row)
        self.counts[state] += 1
        return msgspec.structs.replace(moved, ended_at_us=now_us)

    def _close(self, row: CommandRow) -> None:
        self._due_us.pop(row.id, None)
        self._attempts.pop(row.id, None)
        if self._open.pop(row.id, None) is not None:
            of_device = self._of_device[row.endpoint]
            of_device.remove(row.id)
            if not of_device:
                del self._of_device[row.endpoint]

    def _postpone(self, row: CommandRow, now_us: int) -> None:
        attempt = self._attempts[row.id] = self._attempts.get(row.id, 0) + 1
        pause_s = min(self._times.longest_s, self._times.first_s * 2.0 ** min(attempt - 1, 30))
        due_us = now_us + round(pause_s * (1 + 0.25 * self._chance()) * 1e6)
        self._schedule(row.id, min(due_us, max(row.expires_at_us, now_us)))

    def _schedule(self, command_id: str, due_us: int) -> None:
        self._due_us[command_id] = due_us
        heapq.heappush(self._due, (due_us, command_id))
