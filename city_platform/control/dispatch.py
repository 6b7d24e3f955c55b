"""Control's shell: keeps what the desk decides, publishes it, and feeds it what rules deliver."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

from city_platform.control.callers import Begins
from city_platform.control.desk import CommandDesk, Publication, Turn
from city_platform.control.keeping import Keeper
from city_platform.control.rows import CommandRow, HolderRow
from city_platform.control.store import CommandStore
from city_platform.due_timer import DueTimer
from city_platform.endpoint_topics import read_event_topic
from city_platform.event_heads import EventHead, decode_event_head
from city_platform.rules import CallbackTarget
from contracts.bridge_status import HolderNotice
from contracts.data_interface import (
    NEVER_SENT_TWICE,
    Holder,
    Outcome,
    encode,
)
from contracts.errors import ContractError
from contracts.topics import Topics, fill
from mqtt.connection import QueueFull
from mqtt.transport.client import MqttClient
from runtime.clock import Clock

# How many are published again in one go, before the loop may do something else.
AT_ONCE = 200


class Dispatch:
    """One per component. A command is on disk before it is published."""

    def __init__(
        self, desk: CommandDesk, store: CommandStore, topics: Topics, clock: Clock
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._desk = desk
        self._store = store
        self._topics = topics
        self._clock = clock
        self._timer = DueTimer(clock)
        self._client: MqttClient | None = None
        self._keeper = Keeper(store, self.counts)
        # Commands that go out once it is kept where to.
        self._held_back: set[str] = set()

    @property
    def open_commands(self) -> int:
        """How many have no final state."""
        return self._desk.open_commands

    @property
    def room(self) -> int:
        """How many more may be published before the client's queue is full; none while the broker
        is away."""
        client = self._client
        if client is None or not client.connected.is_set():
            return 0
        return max(0, client.queue_max - client.outstanding)

    @property
    def problem(self) -> str | None:
        """Why control does not work as it should just now."""
        if self._keeper.is_failing:
            return "what became of commands cannot be kept: free the disk or unlock the database"
        if self._client is None or not self._client.connected.is_set():
            return "the broker cannot be reached: commands are kept and go out when it is back"
        return None

    @property
    def targets(self) -> Mapping[str, CallbackTarget]:
        """What rules may name."""
        return {
            "registered": CallbackTarget(self._registered),
            "deregistered": CallbackTarget(self._deregistered),
            "result": CallbackTarget(self._result),
        }

    def use_client(self, client: MqttClient) -> None:
        """The client to publish with."""
        self._client = client

    async def issue(self, row: CommandRow, act: Begins | None = None) -> CommandRow:
        """Keep a new command, then publish it; `act` begins in the same commit. Raises
        `sqlite3.Error` when it cannot be kept."""
        # An Idempotency-Key that is used twice at once: the first opened it.
        earlier = self._desk.get(row.id)
        if earlier is not None:
            return earlier
        self._desk.open(row)
        try:
            if act is None:
                await self._store.put(row)
            else:
                await act.begin_with(partial(self._store.put_behind, row))
        except BaseException:
            self._desk.abandon(row.id)
            raise
        self._publish_kept([row])
        return self._desk.get(row.id) or self._keeper.ending(row.id) or row

    async def issue_all(self, rows: Sequence[CommandRow]) -> None:
        """The same for many: all are kept together, or none is open."""
        for row in rows:
            self._desk.open(row)
        try:
            await asyncio.gather(*(self._store.put(row) for row in rows))
        except BaseException:
            for row in rows:
                self._desk.abandon(row.id)
            raise
        self._publish_kept(rows)

    def _publish_kept(self, rows: Sequence[CommandRow]) -> None:
        now_us = self._clock.wall_us()
        for row in rows:
            self._carry_out(self._desk.publish(row.id, now_us))
        self._timer.wake_for(self._desk.next_timer())

    def cancel(self, command_id: str) -> None:
        """Take an open command back; one that has ended stays as it is."""
        self._carry_out(self._desk.cancel(command_id, self._clock.wall_us()))
        self._timer.wake_for(self._desk.next_timer())

    def is_held(self, endpoint: str) -> bool:
        """Whether a server has announced the device."""
        return self._desk.is_held(endpoint)

    async def find(self, command_id: str) -> CommandRow | None:
        """A command, open or ended."""
        return self._newest(command_id) or await self._find_kept(command_id)

    def as_of_now(self, row: CommandRow) -> CommandRow:
        """What has become of a row since the store had it."""
        return self._newest(row.id) or row

    async def drive(self) -> None:
        """Publish again what is due and end what has expired, until cancelled."""
        while True:
            await self._timer.sleep_until(self._desk.next_timer())
            self._carry_out(self._desk.due(self._clock.wall_us(), AT_ONCE))

    async def close(self) -> None:
        """Wait for what is being kept."""
        await self._keeper.close()

    # ---- targets ----

    def _registered(self, topic: str, payload: bytes) -> asyncio.Future[None] | None:
        event = self._read(topic, payload)
        registration_id = event.registration_id if event else None
        if event is not None and event.registration is not None:
            registration_id = event.registration.registration_id
        if event is None or registration_id is None:
            return None
        registered_at_us = event.registration.registered_at_us if event.registration else 0
        holder = HolderRow(
            event.endpoint, event.server, event.epoch, registration_id, registered_at_us
        )
        before = self._desk.holder_of(event.endpoint)
        turn = self._desk.hold(holder, self._clock.wall_us(), is_snapshot=event.snapshot)
        kept = None
        if self._desk.holder_of(event.endpoint) != before:
            kept = self._keeper.keep_holder(event.endpoint, holder)
        self._tell_overtaken(before, holder)
        self._carry_out(turn)
        return kept

    def _tell_overtaken(self, before: HolderRow | None, claim: HolderRow) -> None:
        """When two servers claim a device, the bridge whose registration no longer counts is told:
        it must pass nothing on to it."""
        if before is None or before.server == claim.server or self._client is None:
            return
        holder = self._desk.holder_of(claim.endpoint)
        if holder is None:
            return
        overtaken = claim if holder == before else before
        self.counts["registrations_overtaken"] += 1
        notice = HolderNotice(
            endpoint=overtaken.endpoint,
            registration_id=overtaken.registration_id,
            holder=Holder(holder.server, holder.registration_id),
        )
        topic = fill(self._topics.holder, server=overtaken.server, endpoint=overtaken.endpoint)
        # What does not go out now is told again when that bridge announces the registration again.
        with contextlib.suppress(QueueFull):
            self._client.publish(topic, encode(notice))

    def _deregistered(self, topic: str, payload: bytes) -> asyncio.Future[None] | None:
        event = self._read(topic, payload)
        if event is not None and self._desk.release(event.endpoint, event.registration_id):
            return self._keeper.keep_holder(event.endpoint, None)
        return None

    def _result(self, topic: str, payload: bytes) -> Awaitable[None] | None:
        event = self._read(topic, payload)
        if event is None or event.result is None:
            return None
        row = self._newest(event.result.id)
        if row is None:
            return self._result_of_kept(event, event.result)
        return self._conclude(row, event, event.result)

    async def _result_of_kept(self, event: EventHead, outcome: Outcome) -> None:
        kept = self._conclude(await self._find_kept(outcome.id), event, outcome)
        if kept is not None:
            await asyncio.shield(kept)

    def _conclude(
        self, row: CommandRow | None, event: EventHead, outcome: Outcome
    ) -> asyncio.Future[None] | None:
        if row is None or row.endpoint != event.endpoint:
            self.counts["ignored.results_of_others"] += 1
            return None
        now_us = self._clock.wall_us()
        followed = self._desk.follow(row.id, outcome, (event.server, event.epoch), now_us)
        if followed.publications or followed.rows:
            self._carry_out(followed)
            return None
        concluded = self._desk.conclude(row, outcome, now_us)
        if concluded is None:
            # It comes again because it could not be kept, or because of a PUBACK that was lost.
            concluded = self._keeper.ending(row.id)
        # Only the event's PUBACK waits: who asks is answered from memory.
        return None if concluded is None else self._keeper.keep(concluded, is_urgent=False)

    def _read(self, topic: str, payload: bytes) -> EventHead | None:
        """The event, when its topic says the same of server and endpoint: only the topic is
        guarded by the broker's policy."""
        told = read_event_topic(self._topics.event, topic)
        try:
            event = decode_event_head(payload)
        except ContractError:
            told = None
        if told is None:
            self.counts["ignored.malformed"] += 1
            return None
        if (told.server, told.endpoint) == (event.server, event.endpoint):
            return event
        self.counts["ignored.claims_another_device"] += 1
        return None

    # ---- carrying out ----

    def _newest(self, command_id: str) -> CommandRow | None:
        return self._desk.get(command_id) or self._keeper.ending(command_id)

    async def _find_kept(self, command_id: str) -> CommandRow | None:
        kept = await self._store.find(command_id)
        # It may have moved on while the store was asked.
        return self._newest(command_id) or kept

    def _carry_out(self, turn: Turn) -> None:
        for row in turn.rows:
            if row.is_final or row.cancel_asked_at_us is not None:
                self._keeper.keep(row)
            elif row.request.operation in NEVER_SENT_TWICE and row.state == "sent":
                # Which log may have seen it must outlive this process: it goes out after that.
                self._held_back.add(row.id)
                own = [one for one in turn.publications if one.command_id == row.id]
                self._keeper.keep(row, kept=partial(self._publish_when_kept, row.id, own))
            else:
                self._keeper.keep_later(row)
        for publication in turn.publications:
            if publication.command_id not in self._held_back:
                self._publish(publication)

    def _publish_when_kept(
        self, command_id: str, publications: list[Publication], worked: bool
    ) -> None:
        self._held_back.discard(command_id)
        if not worked:
            self._desk.not_published(command_id)
            return
        row = self._desk.get(command_id)
        # Taken back meanwhile: it never goes.
        if row is not None and row.cancel_asked_at_us is None:
            for publication in publications:
                self._publish(publication)

    def _publish(self, publication: Publication) -> None:
        client = self._client
        assert client is not None
        with contextlib.suppress(QueueFull):
            client.publish(
                publication.topic,
                publication.payload,
                on_acknowledged=partial(self._acknowledged, publication.command_id),
            )
            return
        self.counts["queue_full"] += 1

    def _acknowledged(self, command_id: str) -> None:
        self._carry_out(self._desk.acknowledged(command_id, self._clock.wall_us()))
