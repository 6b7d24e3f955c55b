"""Moves messages from the spool to the stores, a batch at a time, in replay as live."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from city_platform.ingestion.archive import Archive, DecodedPack
from city_platform.ingestion.feed import Feed
from city_platform.ingestion.intake import Intake
from city_platform.ingestion.live import Live
from city_platform.ingestion.spool import Message, Spool, SpoolReader
from city_platform.ingestion.tenants import Tenants
from city_platform.ingestion.transform import (
    FUTURE_S,
    PresencePack,
    Refused,
    Source,
    StatePack,
    Transformer,
)
from city_platform.pace import Pace
from city_platform.stores.dead_letters import DeadLetter, DeadLetterStore
from city_platform.stores.telemetry_records import (
    PresenceRecord,
    TelemetryBatch,
    UniformPack,
    UnstampedPack,
)
from city_platform.stores.telemetry_store import TelemetryStore
from city_platform.stores.worker import Worker
from contracts.api import DeadLettered
from runtime.clock import Clock

_log = logging.getLogger(__name__)

# What a store raises that cannot take anything now and may again: locked, full, not reached.
PASSING: Final = (sqlite3.OperationalError, OSError)
# A transaction is followed by a pause of so many times its own length, within these bounds: under
# load it gathers what would be several, which changes the same pages of the store once.
REST: Final = 4.0
REST_S_MAX: Final = 0.2
RETRY_S: Final = 0.1
RETRY_S_MAX: Final = 5.0

_Result = TypeVar("_Result")


class Transformed(NamedTuple):
    """What a run of messages came to; `presence` and `uniform` are the batch's. `scattered` are the
    devices with readings in it that are no uniform packs."""

    batch: TelemetryBatch
    packs: list[DecodedPack]
    letters: list[DeadLetter]
    presence: list[PresenceRecord]
    uniform: list[UniformPack]
    scattered: set[str]


class Pipeline:
    """`run` stores what is in the spool and what comes. `trouble` says why it does not just now:
    then it tries again until it can, while the spool goes on taking what comes.

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
        live: Live,
        spooling: Worker,
        batch_packs_max: int,
        batch_bytes_max: int,
        gather_s: float = 0.0,
        future_s: float = FUTURE_S,
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
        self._live = live
        self._spooling = spooling
        self._working = Worker("transform")
        self._batch_packs_max = batch_packs_max
        self._batch_bytes_max = batch_bytes_max
        self._pace = Pace(gather_s)
        self._future_us = int(future_s * 1e6)
        self._stored = 0
        self._ending = asyncio.Event()
        self.trouble = ""

    @property
    def stored(self) -> int:
        """The first spool position that is not stored."""
        return self._stored

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
                    begun_ns = self._clock.now_ns()
                    await self._to_its_end(self._take_batch())
                    self._pace.rest(min(REST_S_MAX, (self._clock.now_ns() - begun_ns) / 1e9 * REST))
        finally:
            self._ending.set()
            await self._end()
            self._working.close()

    async def _end(self) -> None:
        """What is not put now is read from the spool again at the next start."""
        try:
            await self._live.save(is_last=True)
            await self._put_archive()
        except PASSING as error:
            _log.warning("not archived before the end: %s", error)

    async def _take_batch(self) -> None:
        # What an earlier process stored and did not archive is only archived.
        is_replay = self._reader.position < self._stored
        until = self._stored if is_replay else self._intake.end
        fresh = self._intake.fresh(
            self._reader.position, self._batch_packs_max, self._batch_bytes_max
        )
        messages, sources, done = await self._working.do(self._read, fresh, until)
        if done is None:
            tenants = await self._tenants.of([found.endpoint for found in sources if found])
            done = await self._working.do(self._transform, messages, sources, tenants)
        if is_replay:
            self._live.saw(done.packs)
        else:
            await self._keep(done)
        await self._archive_packs(done.packs)

    async def _keep(self, done: Transformed) -> None:
        if done.letters:
            await self._until_done(lambda: self._dead_letters.put(done.letters))
        lines = await self._until_done(lambda: self._store.commit(done.batch))
        self._feed.publish(lines)
        await self._live.committed(done.packs, done.batch.at_us)
        self._stored = done.batch.next

    def _read(
        self, fresh: list[Message], until: int
    ) -> tuple[list[Message], list[Source | None], Transformed | None]:
        """The next messages, transformed at once when all their devices' tenants are known."""
        if fresh:
            # In memory since they came: what the disk has of them is for the next process.
            self._reader.go_to(fresh[-1].position + 1)
        messages = fresh or self._reader.read(until, self._batch_packs_max, self._batch_bytes_max)
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
        following, at_us = first + len(messages), self._clock.wall_us()
        presence: list[PresenceRecord] = []
        uniform: list[UniformPack] = []
        batch = TelemetryBatch(first, following, at_us, [], [], [], [], presence, uniform)
        done = Transformed(batch, [], [], presence, uniform, set())
        for message, source in zip(messages, sources, strict=True):
            try:
                # Who waits in the spool, or is put back into it, is not ahead for having waited.
                latest_us = self._future_us + max(message.received_us, at_us)
                pack = self._transform_one(message, source, tenants, done, latest_us)
                done.packs.append(pack)
            except Refused as refused:
                _refuse(message, refused, done)
        return done

    def _transform_one(
        self,
        message: Message,
        source: Source | None,
        tenants: Mapping[str, str],
        done: Transformed,
        latest_us: int,
    ) -> DecodedPack:
        # Asked again so that a topic that is nobody's raises its reason here.
        source = source or self._transformer.source(message.topic)
        tenant = tenants.get(source.endpoint)
        if tenant is None:
            detail = f"{source.endpoint!r} is not provisioned"
            raise Refused("unknown_device", detail, source.endpoint)
        batch = done.batch
        pack = self._transformer.take(message, source, tenant, latest_us)
        if isinstance(pack, UniformPack):
            if source.endpoint in done.scattered:
                # Of two that contradict each other the first is kept: they stay in their order.
                batch.readings.extend(pack.readings())
            else:
                done.uniform.append(pack)
            return DecodedPack(message.position, message.received_us, uniform=pack)
        if isinstance(pack, StatePack):
            if pack.digest is None:
                done.scattered.add(source.endpoint)
                batch.readings.extend(pack.readings)
            else:
                batch.unstamped.append(
                    UnstampedPack(pack.digest, message.received_us, pack.readings)
                )
            return DecodedPack(message.position, message.received_us, pack.readings)
        if isinstance(pack, PresencePack):
            done.presence.append(PresenceRecord(pack.told, tenant, message.received_us))
            return DecodedPack(message.position, message.received_us)
        batch.alarms.extend(pack.alarms)
        return DecodedPack(message.position, message.received_us, alarms=pack.alarms)

    async def _archive_packs(self, packs: Sequence[DecodedPack]) -> None:
        while packs:
            taken = await self._working.do(self._archive.add, packs)
            packs = packs[taken:]
            if packs:
                await self._until_done(self._put_archive)

    async def _archive_when_due(self) -> None:
        if self._spool.is_filling or self._patience_s() == 0.0:
            await self._to_its_end(self._until_done(self._put_archive))

    async def _put_archive(self) -> None:
        await self._live.save()
        position = await self._archive.put()
        if position > await self._store.archived():
            await self._store.set_archived(position)
            await self._spooling.do(self._spool.drop_before, min(position, self._stored))

    def _patience_s(self) -> float | None:
        """How long to wait for messages before the archive's object is due."""
        due_ns = self._archive.due_ns
        return None if due_ns is None else max(0.0, (due_ns - self._clock.now_ns()) / 1e9)

    async def _until_done(self, step: Callable[[], Awaitable[_Result]]) -> _Result:
        """What `step` returns, once the store takes it. Raises what it raises when this ends."""
        pause_s = RETRY_S
        while True:
            try:
                done = await step()
            except PASSING as error:
                if self._ending.is_set():
                    raise
                if not self.trouble:
                    _log.warning("the store takes nothing, it is tried again: %s", error)
                self.trouble = f"the store takes nothing: {error}"
            else:
                self.trouble = ""
                return done
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._ending.wait()
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    async def _to_its_end(self, work: Coroutine[None, None, None]) -> None:
        """Await `work`; when this is cancelled, end it first, unless the store takes nothing."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self._ending.set()
            with contextlib.suppress(*PASSING):
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
