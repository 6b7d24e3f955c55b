"""Moves messages from the spool to the stores, a batch at a time, in replay as live."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import NamedTuple

from city_platform.ingestion.archive import Archive, DecodedPack
from city_platform.ingestion.feed import Feed
from city_platform.ingestion.intake import Intake
from city_platform.ingestion.spool import Message, Spool, SpoolReader
from city_platform.ingestion.tenants import Tenants
from city_platform.ingestion.transform import Refused, Source, StatePack, Transformer
from city_platform.pace import Pace
from city_platform.stores.dead_letters import DeadLetter, DeadLetterStore
from city_platform.stores.telemetry_records import TelemetryBatch, UnstampedPack
from city_platform.stores.telemetry_store import TelemetryStore
from city_platform.stores.worker import Worker
from contracts.api import DeadLettered
from runtime.clock import Clock


class Transformed(NamedTuple):
    """What a run of messages came to."""

    batch: TelemetryBatch
    packs: list[DecodedPack]
    letters: list[DeadLetter]


class Pipeline:
    """`run` stores what is in the spool and what comes; `position` is the first not stored.

    Order per batch: dead letters, readings and alarms with the spool position (one transaction),
    feed, archive. Each step may be repeated after a kill without anything being there twice.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        spool: Spool,
        intake: Intake,
        reader: SpoolReader,
        transformer: Transformer,
        tenants: Tenants,
        store: TelemetryStore,
        dead_letters: DeadLetterStore,
        archive: Archive,
        feed: Feed,
        spooling: Worker,
        batch_packs_max: int,
        batch_bytes_max: int,
        gather_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._spool = spool
        self._intake = intake
        self._reader = reader
        self._transformer = transformer
        self._tenants = tenants
        self._store = store
        self._dead_letters = dead_letters
        self._archive = archive
        self._feed = feed
        self._spooling = spooling
        self._working = Worker("transform")
        self._batch_packs_max = batch_packs_max
        self._batch_bytes_max = batch_bytes_max
        self._pace = Pace(gather_s)
        self._stored = 0

    @property
    def backlog(self) -> int:
        """Packs that are spooled and not yet stored."""
        return self._intake.end - self._stored

    async def run(self) -> None:
        """Store until cancelled, then put what is in the archive's open object."""
        self._stored = await self._store.position()
        try:
            while True:
                await self._archive_when_due()
                if await self._intake.wait_beyond(self._reader.position, self._patience_s()):
                    if self.backlog < self._batch_packs_max:
                        await self._pace.turn()
                    await _to_its_end(self._take_batch())
        finally:
            await self._put_archive()
            self._working.close()

    async def _take_batch(self) -> None:
        # What an earlier process stored and did not archive is only archived.
        is_replay = self._reader.position < self._stored
        until = self._stored if is_replay else self._intake.end
        messages, sources, done = await self._working.do(self._read, until)
        if done is None:
            tenants = await self._tenants.of([found.endpoint for found in sources if found])
            done = await self._working.do(self._transform, messages, sources, tenants)
        if not is_replay:
            await self._keep(done)
        await self._archive_packs(done.packs)

    async def _keep(self, done: Transformed) -> None:
        if done.letters:
            await self._dead_letters.put(done.letters)
        lines = await self._store.commit(done.batch)
        self._stored = done.batch.next
        self._feed.publish(lines)

    def _read(self, until: int) -> tuple[list[Message], list[Source | None], Transformed | None]:
        """The next messages, transformed at once when all their devices' tenants are known."""
        messages = self._reader.read(until, self._batch_packs_max, self._batch_bytes_max)
        sources = self._sources(messages)
        tenants = self._tenants.known([found.endpoint for found in sources if found])
        done = None if tenants is None else self._transform(messages, sources, tenants)
        return messages, sources, done

    def _sources(self, messages: Sequence[Message]) -> list[Source | None]:
        """Whose each message is, None for a topic that is nobody's."""
        found: list[Source | None] = []
        for message in messages:
            try:
                found.append(self._transformer.source(message.topic))
            except Refused:
                found.append(None)
        return found

    def _transform(
        self,
        messages: Sequence[Message],
        sources: Sequence[Source | None],
        tenants: Mapping[str, str],
    ) -> Transformed:
        first = messages[0].position
        batch = TelemetryBatch(first, first + len(messages), self._clock.wall_us(), [], [], [], [])
        done = Transformed(batch, [], [])
        for message, source in zip(messages, sources, strict=True):
            try:
                done.packs.append(self._transform_one(message, source, tenants, batch))
            except Refused as refused:
                _refuse(message, refused, done)
        return done

    def _transform_one(
        self,
        message: Message,
        source: Source | None,
        tenants: Mapping[str, str],
        batch: TelemetryBatch,
    ) -> DecodedPack:
        # Asked again so that a topic that is nobody's raises its reason here.
        source = source or self._transformer.source(message.topic)
        tenant = tenants.get(source.endpoint)
        if tenant is None:
            detail = f"{source.endpoint!r} is not provisioned"
            raise Refused("unknown_device", detail, source.endpoint)
        pack = self._transformer.transform(message, source, tenant)
        if not isinstance(pack, StatePack):
            batch.alarms.extend(pack.alarms)
            return DecodedPack(message.position, message.received_us, alarms=pack.alarms)
        if pack.digest is None:
            batch.readings.extend(pack.readings)
        else:
            batch.unstamped.append(UnstampedPack(pack.digest, message.received_us, pack.readings))
        return DecodedPack(message.position, message.received_us, pack.readings)

    async def _archive_packs(self, packs: Sequence[DecodedPack]) -> None:
        while packs:
            taken = await self._working.do(self._archive.add, packs)
            packs = packs[taken:]
            if packs:
                await self._put_archive()

    async def _archive_when_due(self) -> None:
        due_ns = self._archive.due_ns
        if due_ns is not None and due_ns <= self._clock.now_ns():
            await self._put_archive()

    async def _put_archive(self) -> None:
        position = await self._archive.put()
        if position > await self._store.archived():
            await self._store.set_archived(position)
            await self._spooling.do(self._spool.drop_before, min(position, self._stored))

    def _patience_s(self) -> float | None:
        """How long to wait for messages before the archive's object is due."""
        due_ns = self._archive.due_ns
        return None if due_ns is None else max(0.0, (due_ns - self._clock.now_ns()) / 1e9)


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Await `work`; when this is cancelled, end it first."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _refuse(message: Message, refused: Refused, done: Transformed) -> None:
    """Note a message as a dead letter, and that its position has been dealt with."""
    done.packs.append(DecodedPack(message.position, message.received_us))
    done.letters.append(
        DeadLetter(
            position=message.position,
            reason=refused.reason,
            topic=message.topic,
            detail=refused.detail,
            endpoint=refused.endpoint,
            claimed=refused.claimed,
            received_us=message.received_us,
            payload=message.payload,
        )
    )
    done.batch.dead_letters.append(
        DeadLettered(
            cursor=0,
            at_ns=0,
            reason=refused.reason,
            topic=message.topic,
            detail=refused.detail,
            endpoint=refused.endpoint,
            claimed=refused.claimed,
            payload_bytes=len(message.payload),
        )
    )
