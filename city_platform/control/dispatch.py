"""Control's shell: keeps what the desk decides, publishes it, and feeds it what rules deliver."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from city_platform.control.desk import CommandDesk, CommandRow, HolderRow, Publication, Turn
from city_platform.control.store import CommandStore
from city_platform.due_timer import DueTimer
from city_platform.endpoint_topics import read_event_topic
from city_platform.rules import CallbackTarget
from contracts.api import CommandRequest
from contracts.data_interface import NEVER_SENT_TWICE, Event, Outcome, decode_event
from contracts.errors import ContractError
from contracts.topics import Topics
from mqtt.connection import QueueFull
from mqtt.transport.client import MqttClient
from runtime.clock import Clock

# How many are published again in one go, before the loop may do something else.
AT_ONCE = 200
# How long the disk may be behind on how far a command has come. Most have ended by then, and that
# is kept at once; after a restart one that is kept as `queued` is published again under its id.
KEEP_LATER_S = 0.1


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
        self._keeping: set[asyncio.Future[None]] = set()
        self._keep_later: dict[str, CommandRow] = {}
        self._keep_timer: asyncio.TimerHandle | None = None
        # Commands that have ended and are not yet kept so: newer than what the store says.
        self._ending: dict[str, CommandRow] = {}

    @property
    def open_commands(self) -> int:
        """How many have no final state."""
        return self._desk.open_commands

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

    async def issue(self, command_id: str, endpoint: str, request: CommandRequest) -> CommandRow:
        """Keep a new command, then publish it. Raises `sqlite3.Error` when it cannot be kept."""
        now_us = self._clock.wall_us()
        row = CommandRow(
            id=command_id,
            endpoint=endpoint,
            request=request,
            state="queued",
            issued_at_us=now_us,
            expires_at_us=now_us + round(request.expires_in_s * 1e6),
        )
        # An Idempotency-Key that is used twice at once: the first opened it.
        earlier = self._desk.get(command_id)
        if earlier is not None:
            return earlier
        self._desk.open(row)
        try:
            await self._store.put(row)
        except BaseException:
            self._desk.abandon(command_id)
            raise
        self._carry_out(self._desk.publish(command_id, self._clock.wall_us()))
        self._timer.wake_for(self._desk.next_timer())
        return self._desk.get(command_id) or row

    def is_held(self, endpoint: str) -> bool:
        """Whether a server has announced the device."""
        return self._desk.is_held(endpoint)

    async def find(self, command_id: str) -> CommandRow | None:
        """A command, open or ended."""
        return self._newest(command_id) or await self._find_kept(command_id)

    async def drive(self) -> None:
        """Publish again what is due and end what has expired, until cancelled."""
        while True:
            await self._timer.sleep_until(self._desk.next_timer())
            self._carry_out(self._desk.due(self._clock.wall_us(), AT_ONCE))

    async def close(self) -> None:
        """Wait for what is being kept."""
        if self._keep_timer is not None:
            self._keep_timer.cancel()
            self._keep_all_later()
        if self._keeping:
            await asyncio.gather(*self._keeping, return_exceptions=True)

    # ---- targets ----

    def _registered(self, topic: str, payload: bytes) -> asyncio.Future[None] | None:
        event = self._read(topic, payload)
        registration_id = event.registration_id if event else None
        if event is not None and event.registration is not None:
            registration_id = event.registration.registration_id
        if event is None or registration_id is None:
            return None
        holder = HolderRow(event.endpoint, event.server, event.epoch, registration_id)
        kept = self._store.put_holder(holder)
        turn = self._desk.hold(holder, self._clock.wall_us(), is_snapshot=event.snapshot)
        self._carry_out(turn)
        return kept

    def _deregistered(self, topic: str, payload: bytes) -> asyncio.Future[None] | None:
        event = self._read(topic, payload)
        if event is not None and self._desk.release(event.endpoint, event.registration_id):
            return self._store.remove_holder(event.endpoint)
        return None

    def _result(self, topic: str, payload: bytes) -> Awaitable[None] | None:
        event = self._read(topic, payload)
        if event is None or event.result is None:
            return None
        row = self._newest(event.result.id)
        if row is None:
            return self._result_of_kept(event, event.result)
        return self._conclude(row, event, event.result)

    async def _result_of_kept(self, event: Event, outcome: Outcome) -> None:
        kept = self._conclude(await self._find_kept(outcome.id), event, outcome)
        if kept is not None:
            await asyncio.shield(kept)

    def _conclude(
        self, row: CommandRow | None, event: Event, outcome: Outcome
    ) -> asyncio.Future[None] | None:
        if row is None or row.endpoint != event.endpoint:
            self.counts["ignored.results_of_others"] += 1
            return None
        concluded = self._desk.conclude(row, outcome, self._clock.wall_us())
        # Only the event's PUBACK waits: who asks is answered from memory.
        return None if concluded is None else self._keep(concluded, self._store.put_patiently)

    def _read(self, topic: str, payload: bytes) -> Event | None:
        """The event, when its topic says the same of server and endpoint: only the topic is
        guarded by the broker's policy."""
        told = read_event_topic(self._topics.event, topic)
        try:
            event = decode_event(payload)
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
        return self._desk.get(command_id) or self._ending.get(command_id)

    async def _find_kept(self, command_id: str) -> CommandRow | None:
        kept = await self._store.find(command_id)
        # It may have moved on while the store was asked.
        return self._newest(command_id) or kept

    def _keep(
        self, row: CommandRow, put: Callable[[CommandRow], asyncio.Future[None]]
    ) -> asyncio.Future[None]:
        self._keep_later.pop(row.id, None)
        kept = put(row)
        if row.is_final:
            self._ending[row.id] = row
            kept.add_done_callback(lambda _: self._ending.pop(row.id, None))
        return kept

    def _carry_out(self, turn: Turn) -> None:
        for row in turn.rows:
            # Which log may have seen an Execute or Create must outlive this process.
            if row.is_final or row.request.operation in NEVER_SENT_TWICE:
                self._keep_in_background(row)
            else:
                self._keep_later[row.id] = row
        if self._keep_later and self._keep_timer is None:
            loop = asyncio.get_running_loop()
            self._keep_timer = loop.call_later(KEEP_LATER_S, self._keep_all_later)
        for publication in turn.publications:
            self._publish(publication)

    def _keep_all_later(self) -> None:
        self._keep_timer = None
        for row in list(self._keep_later.values()):
            self._keep_in_background(row)

    def _keep_in_background(self, row: CommandRow) -> None:
        kept = self._keep(row, self._store.put)
        self._keeping.add(kept)
        kept.add_done_callback(self._kept)

    def _kept(self, kept: asyncio.Future[None]) -> None:
        self._keeping.discard(kept)
        if not kept.cancelled() and kept.exception() is not None:
            # The state in memory is the newer one; the next change writes it again.
            self.counts["states_not_kept"] += 1

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
