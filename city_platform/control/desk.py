"""The open commands: who holds their device, when each is published again and when it ends.

Without I/O: what happened goes in, the rows to keep and the messages to publish come out.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from city_platform.control.rows import ISSUED_BY, CommandRow, HolderRow
from city_platform.control.states import TRANSITIONS, Occurrence, occurrence_of
from city_platform.endpoint_topics import EndpointTopic, topic_of
from contracts.data_interface import (
    NEVER_SENT_TWICE,
    Cancel,
    Command,
    Holder,
    Outcome,
    encode,
)
from contracts.topics import Topics

# A question what became of a command expires so long before it is asked: no server, whose clock may
# be off, carries it out.
ASKED_EXPIRED_US = 5_000_000
# The least time between two commands that are published again, own choice: what is behind for being
# overloaded, or away with ten thousand devices, is not given more to do than 200 a second.
AGAIN_EVERY_US = 5_000


class Times(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When commands are published again, and when they end."""

    # First pause before a command without outcome is published again, in seconds; then doubled.
    first_s: float = 3.0
    # The longest pause, in seconds.
    longest_s: float = 30.0
    # How long after its expiry an outcome may still come: MAX_TRANSMIT_WAIT, RFC 7252 §4.8.2.
    grace_s: float = 93.0


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
        self._topic = EndpointTopic(topics.command)
        self._times = times
        self._chance = chance
        self._holders = {row.endpoint: row for row in holders}
        self._open = {row.id: row for row in commands}
        self._of_device: dict[str, list[str]] = {}
        self._attempts: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._due_us: dict[str, int] = {}
        # Which are due, and wait until it is their turn to be published again.
        self._in_turn: set[str] = set()
        self._next_turn_us = 0
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
        `queued`: it was sent to nobody in particular. Execute and Create wait for the holder.
        """
        row = self._open.get(command_id)
        if row is None:
            return Turn([], [])
        self._postpone(row, now_us)
        holder = self._holders.get(row.endpoint)
        if row.cancel_asked_at_us is not None:
            return Turn([], self._asked_back(row, holder, row.cancel_asked_at_us))
        if not self._may_be_sent(row, holder):
            return Turn([], [])
        self.counts["published"] += 1
        rows: list[CommandRow] = []
        if holder is not None and row.sent_to is None:
            row = msgspec.structs.replace(row, sent_to=(holder.server, holder.epoch))
            self._open[row.id] = row
            rows.append(row)
        if holder is None:
            self.counts["published_without_holder"] += 1
        moved = self._moved(row, Occurrence.PUBLISHED, now_us) if row.sent_to else None
        return Turn([moved] if moved else rows, [self._publication(row, holder)])

    def not_published(self, command_id: str) -> None:
        """It could not be kept to whom a command goes, so it did not go: it waits as before."""
        row = self._open.get(command_id)
        if row is not None:
            self._open[row.id] = msgspec.structs.replace(row, sent_to=None, state="queued")

    def cancel(self, command_id: str, now_us: int) -> Turn:
        """Take an open command back. What went to nobody has ended; the rest is asked back."""
        row = self._open.get(command_id)
        if row is None or row.cancel_asked_at_us is not None:
            return Turn([], [])
        self.counts["cancellations"] += 1
        row = msgspec.structs.replace(row, cancel_asked_at_us=now_us)
        if row.sent_to is not None:
            self._open[row.id] = row
            return Turn([row], self.publish(command_id, now_us).publications)
        # A bridge that nobody knows to hold the device may have passed it on all the same.
        is_out = command_id in self._attempts
        ended = self._moved(row, Occurrence.CANCELLED, now_us)
        assert ended is not None
        topic = self._topic.of(row.endpoint)
        cancel = Publication(row.id, topic, encode(Cancel(id=row.id)))
        return Turn([ended], [cancel] if is_out else [])

    def acknowledged(self, command_id: str, now_us: int) -> Turn:
        """The broker has the command: its PUBACK came."""
        row = self._open.get(command_id)
        moved = self._moved(row, Occurrence.BROKER_ACKNOWLEDGED, now_us) if row else None
        return Turn([moved] if moved else [], [])

    def conclude(self, row: CommandRow, outcome: Outcome, now_us: int) -> CommandRow | None:
        """The outcome of `row`, open or ended, arrived. The row to keep, None when it is old."""
        occurrence = occurrence_of(outcome)
        if row.cancel_asked_at_us is not None and occurrence is Occurrence.EXPIRED:
            # That it was taken back is why it expired.
            occurrence = Occurrence.CANCELLED
        if occurrence not in TRANSITIONS[row.state]:
            self.counts["outcomes_repeated"] += 1
            return None
        return self._moved(msgspec.structs.replace(row, outcome=outcome), occurrence, now_us)

    def follow(self, command_id: str, outcome: Outcome, log: tuple[str, str], now_us: int) -> Turn:
        """A server of `log` says that it did not hold the device. Where another one does now, the
        command goes there; an empty turn says that it does not."""
        row = self._open.get(command_id)
        holder = None if row is None else self._holders.get(row.endpoint)
        if (
            row is None
            or holder is None
            or outcome.error is None
            or outcome.error.stage != "not_registered"
            or row.sent_to != log
            or log == (holder.server, holder.epoch)
            or row.cancel_asked_at_us is not None
            or row.expires_at_us <= now_us
        ):
            return Turn([], [])
        self.counts["followed"] += 1
        moved = self._moved(row, Occurrence.DEVICE_MOVED, now_us)
        assert moved is not None
        self._open[row.id] = msgspec.structs.replace(moved, sent_to=None)
        return self.publish(command_id, now_us)

    def hold(self, holder: HolderRow, now_us: int, *, is_snapshot: bool) -> Turn:
        """A device registered. Its open commands are published when that may help."""
        before = self._holders.get(holder.endpoint)
        if before is not None and before.is_later_than(holder):
            # A server that has not noticed yet that the device went elsewhere.
            self.counts["older_registrations"] += 1
            return Turn([], [])
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

    def holder_of(self, endpoint: str) -> HolderRow | None:
        """Who holds a device."""
        return self._holders.get(endpoint)

    def devices_held(self) -> dict[str, int]:
        """How many devices each server holds."""
        return Counter(holder.server for holder in self._holders.values())

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
            turn_us = self._turn_us(row.id, now_us)
            if turn_us > now_us:
                self._schedule(row.id, min(turn_us, row.expires_at_us))
                return Turn([], [])
            self.counts["published_again"] += 1
            return self.publish(row.id, now_us)
        if row.sent_to is not None and now_us < self._latest_us(row):
            self._schedule(row.id, self._latest_us(row))
            return Turn([], [])
        # No server was ever known to hold the device: none can have begun.
        occurrence = Occurrence.EXPIRED if row.sent_to is None else Occurrence.LOST
        if row.sent_to is None and row.cancel_asked_at_us is not None:
            occurrence = Occurrence.CANCELLED
        moved = self._moved(row, occurrence, now_us)
        return Turn([moved] if moved else [], [])

    def _turn_us(self, command_id: str, now_us: int) -> int:
        """When it may be published again. What an earlier process left is not kept waiting."""
        if command_id in self._in_turn:
            self._in_turn.discard(command_id)
            return now_us
        if command_id not in self._attempts:
            return now_us
        turn_us = max(now_us, self._next_turn_us)
        self._next_turn_us = turn_us + AGAIN_EVERY_US
        if turn_us > now_us:
            self._in_turn.add(command_id)
        return turn_us

    def _latest_us(self, row: CommandRow) -> int:
        return row.expires_at_us + round(self._times.grace_s * 1e6)

    def _may_be_sent(self, row: CommandRow, holder: HolderRow | None) -> bool:
        """Only the log that knows an id keeps an Execute or Create from happening twice: they go
        to one log, and never to whoever may hold the device."""
        if row.request.operation not in NEVER_SENT_TWICE:
            return True
        if holder is None:
            self.counts["waits_for_holder"] += 1
            return False
        if row.sent_to in (None, (holder.server, holder.epoch)):
            return True
        self.counts["not_sent_to_another_log"] += 1
        return False

    def _asked_back(
        self, row: CommandRow, holder: HolderRow | None, asked_at_us: int
    ) -> list[Publication]:
        """A cancellation, and the command again, expired: a server that has never seen it ends it
        so, one that has tells its outcome, and none sends it. Another log would not know."""
        if holder is None or row.sent_to != (holder.server, holder.epoch):
            return []
        self.counts["asked_back"] += 1
        expired = msgspec.structs.replace(row, expires_at_us=asked_at_us - ASKED_EXPIRED_US)
        question = self._publication(expired, holder)
        return [question._replace(payload=encode(Cancel(id=row.id))), question]

    def _publication(self, row: CommandRow, holder: HolderRow | None) -> Publication:
        request = row.request
        command = Command(
            id=row.id,
            endpoint=row.endpoint,
            operation=request.operation,
            expires_at_us=row.expires_at_us,
            path=request.path or None,
            paths=request.paths,
            values=request.values,
            mode=request.mode,
            arguments=request.arguments,
            attributes=request.attributes,
            format=request.format,
            depth=request.depth,
            passive=request.passive,
            holder=Holder(holder.server, holder.registration_id) if holder else None,
            issued_by=row.issued_by or ISSUED_BY,
        )
        if holder is None:
            topic = self._topic.of(row.endpoint)
        else:
            topic = topic_of(self._topics.held_command, holder.server).of(row.endpoint)
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
        self._in_turn.discard(row.id)
        if self._open.pop(row.id, None) is not None:
            of_device = self._of_device[row.endpoint]
            of_device.remove(row.id)
            if not of_device:
                del self._of_device[row.endpoint]

    def _postpone(self, row: CommandRow, now_us: int) -> None:
        self._in_turn.discard(row.id)
        attempt = self._attempts[row.id] = self._attempts.get(row.id, 0) + 1
        pause_s = min(self._times.longest_s, self._times.first_s * 2.0 ** min(attempt - 1, 30))
        due_us = now_us + round(pause_s * (1 + 0.25 * self._chance()) * 1e6)
        self._schedule(row.id, min(due_us, max(row.expires_at_us, now_us)))

    def _schedule(self, command_id: str, due_us: int) -> None:
        self._due_us[command_id] = due_us
        heapq.heappush(self._due, (due_us, command_id))
