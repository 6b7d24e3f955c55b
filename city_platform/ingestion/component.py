"""The ingestion component: rules, spool, pipeline, stores and HTTP, put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from city_platform.broker_access import Draw, chance_from, open_client
from city_platform.endpoint_topics import EndpointTopic
from city_platform.identity.gated import gated
from city_platform.ingestion.alarm_routes import AlarmRoutes
from city_platform.ingestion.api import IngestionApi
from city_platform.ingestion.archive import Archive
from city_platform.ingestion.config import IngestionConfig
from city_platform.ingestion.dead_letter_routes import DeadLetterRoutes
from city_platform.ingestion.feed import Feed
from city_platform.ingestion.intake import Intake
from city_platform.ingestion.live import Live
from city_platform.ingestion.pipeline import Pipeline
from city_platform.ingestion.replays import Replays
from city_platform.ingestion.signals import load_signals
from city_platform.ingestion.spool import Spool, SpoolReader
from city_platform.ingestion.state_routes import StateRoutes
from city_platform.ingestion.telemetry_routes import TelemetryRoutes
from city_platform.ingestion.tenants import DirectoryTenants, NoTenants, Tenants
from city_platform.ingestion.transform import Transformer
from city_platform.ingestion.upkeep import Upkeep
from city_platform.rules import CallbackTarget, Rule, RuleRunner, default_rules, load_rules
from city_platform.stores.dead_letters import SqliteDeadLetterStore
from city_platform.stores.device_directory import SqliteDeviceDirectory
from city_platform.stores.opening import open_object_store, open_telemetry_copy
from city_platform.stores.telemetry_desk import SqliteTelemetryDesk, TelemetryDesk
from city_platform.stores.telemetry_store import SqliteTelemetryStore
from city_platform.stores.worker import Worker
from contracts.names import SERVICE_PREFIX, service_identity
from contracts.topics import Topics
from runtime.clock import Clock
from runtime.component import Ready
from runtime.http import bind, serving

_log = logging.getLogger(__name__)


class _Closes(Protocol):
    def close(self) -> None: ...


_C = TypeVar("_C", bound=_Closes)


async def run(
    config: IngestionConfig, clock: Clock, ready: Ready, *, draw: Draw = os.urandom
) -> None:
    """Store what devices report until cancelled; ready with `{"http": address}` once subscribed."""
    async with contextlib.AsyncExitStack() as opened:
        ingestion = await Ingestion.open(config, clock, opened, draw)
        await _serve(config, clock, ready, draw, ingestion)


class Ingestion:
    """Everything of the component that is neither MQTT nor HTTP."""

    def __init__(
        self,
        intake: Intake,
        pipeline: Pipeline,
        store: SqliteTelemetryStore,
        feed: Feed,
        live: Live,
        desk: TelemetryDesk,
        letters: SqliteDeadLetterStore,
        replays: Replays,
        upkeep: Upkeep,
    ) -> None:
        self.intake = intake
        self.pipeline = pipeline
        self.store = store
        self.feed = feed
        self.live = live
        self.desk = desk
        self.letters = letters
        self.replays = replays
        self.upkeep = upkeep

    @property
    def trouble(self) -> str:
        """Why something is not taken or not stored just now; empty while all is well."""
        return self.intake.trouble or self.pipeline.trouble

    @classmethod
    async def open(
        cls,
        config: IngestionConfig,
        clock: Clock,
        opened: contextlib.AsyncExitStack,
        draw: Draw = os.urandom,
    ) -> Ingestion:
        """Open the stores and the spool; `opened` closes them. Raises what they raise."""
        state, limits = Path(config.state_dir), config.limits
        store = _closing(opened, _open_store(config, clock))
        chance, window_us = chance_from(draw), int(limits.unstamped_window_s * 1e6)
        objects = await open_object_store(config.stores, state / "objects", opened, chance)
        copied = await open_telemetry_copy(config.stores, store, window_us, opened, chance)
        letters = SqliteDeadLetterStore(state / "dead_letters.sqlite", limits.dead_letters_max)
        letters = _closing(opened, letters)
        spool = Spool(state / "spool", limits.segment_bytes, limits.spool_bytes_max)
        spool = _closing(opened, spool)
        spooling = _closing(opened, Worker("spool"))
        intake = Intake(
            spool, spooling, clock.wall_us, limits.waiting_bytes_max, limits.spool_gather_s
        )
        feed = Feed(store, await store.newest(), limits.feed_memory_bytes)
        future_us = int(limits.future_s * 1e6)
        desk = SqliteTelemetryDesk(store, lambda: clock.wall_us() + future_us)
        live = Live(desk, clock, limits.changes_devices_max)
        await live.load()
        archived = await store.archived()
        pipeline = Pipeline(
            clock=clock,
            spool=spool,
            intake=intake,
            reader=_closing(opened, SpoolReader(state / "spool", archived)),
            transformer=Transformer(config.topics),
            tenants=_tenants(config, clock, opened),
            store=copied,
            dead_letters=letters,
            archive=Archive(
                objects,
                archived,
                bytes_max=limits.archive_bytes,
                age_s_max=limits.archive_age_s,
                now_ns=clock.now_ns,
            ),
            feed=feed,
            live=live,
            spooling=spooling,
            batch_packs_max=limits.batch_packs_max,
            batch_bytes_max=limits.batch_bytes_max,
            gather_s=limits.batch_gather_s,
            future_s=limits.future_s,
        )
        upkeep = Upkeep(desk, letters, live, clock, config.retention, config.retention_every_s)
        replays = Replays(letters, intake, clock.wall_us, lambda: pipeline.stored)
        return cls(intake, pipeline, store, feed, live, desk, letters, replays, upkeep)


def _open_store(config: IngestionConfig, clock: Clock) -> SqliteTelemetryStore:
    return SqliteTelemetryStore(
        Path(config.state_dir) / "telemetry.sqlite",
        now_ns=clock.now_ns,
        feed_bytes_max=config.limits.feed_kept_bytes,
        window_us=int(config.limits.unstamped_window_s * 1e6),
        signals=load_signals(config.signals_file),
        flapping=config.flapping,
    )


async def _serve(
    config: IngestionConfig, clock: Clock, ready: Ready, draw: Draw, ingestion: Ingestion
) -> None:
    runner = open_runner(config, ingestion.intake, draw)
    client = open_client(
        config.broker,
        service_identity("ingestion"),
        clock,
        subscriptions=runner.subscriptions,
        on_message=runner.handle_message,
        draw=draw,
    )
    runner.use_client(client)
    api = IngestionApi(
        ingestion.store,
        ingestion.feed,
        lambda: ingestion.pipeline.backlog,
        lambda: "" if client.connected.is_set() else "there is no connection to the broker",
        config.limits.feed_readers_max,
        lambda: ingestion.trouble,
        [
            *TelemetryRoutes(ingestion.desk).routes(),
            *AlarmRoutes(ingestion.desk, ingestion.live, clock.wall_us).routes(),
            *StateRoutes(ingestion.desk, ingestion.live, config.limits).routes(),
            *DeadLetterRoutes(ingestion.letters, ingestion.replays, config.topics).routes(),
            *ingestion.upkeep.routes(),
        ],
    )
    routes, token_file = api.routes(), config.token_file
    try:
        async with (
            gated(
                routes, config.access, token_file, "ingestion", clock, draw,
                state_dir=config.state_dir,
            ) as app,
            serving(app, bind(config.http_host, config.http_port)) as address,
            asyncio.TaskGroup() as tasks,
        ):  # fmt: skip
            tasks.create_task(ingestion.intake.run())
            tasks.create_task(ingestion.pipeline.run())
            tasks.create_task(client.run())
            tasks.create_task(_tell_ready(client.connected, ready, address))
            tasks.create_task(ingestion.upkeep.run())
            tasks.create_task(_end_streams_when_cancelled(ingestion))
    finally:
        await runner.close()


def of_devices(
    topics: Topics, accept: Callable[[str, bytes], Awaitable[None]]
) -> Callable[[str, bytes], Awaitable[None] | None]:
    """What takes of a broker's lifecycle messages those of devices: the platform's own services
    connect, too, and of them nothing is kept here."""
    lifecycle = EndpointTopic(topics.lifecycle)

    def take(topic: str, payload: bytes) -> Awaitable[None] | None:
        is_own = (lifecycle.read(topic) or "").startswith(SERVICE_PREFIX)
        return None if is_own else accept(topic, payload)

    return take


def open_runner(config: IngestionConfig, intake: Intake, draw: Draw) -> RuleRunner:
    """The rules, whose targets are the spool.

    A message that the spool does not take (the disk is full) must not be acknowledged, however
    often it was tried: where others give up, it is offered to the spool again.
    """
    target = CallbackTarget(intake.accept)
    return RuleRunner(
        None,
        _rules(config),
        {
            "telemetry": target,
            "alarms": target,
            "connections": CallbackTarget(of_devices(config.topics, intake.accept)),
        },
        topics=config.topics,
        limits=config.runner,
        dead_letters=lambda letter: intake.accept(letter.topic, letter.payload),
        chance=chance_from(draw),
    )


async def _tell_ready(connected: asyncio.Event, ready: Ready, address: str) -> None:
    await connected.wait()
    ready({"http": address})


async def _end_streams_when_cancelled(ingestion: Ingestion) -> None:
    # The HTTP server waits for open streams when it stops.
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        ingestion.feed.close()
        ingestion.live.close()


def _rules(config: IngestionConfig) -> list[Rule]:
    if config.rules_file is None:
        return default_rules("city_platform.ingestion")
    return load_rules(Path(config.rules_file))


def _tenants(config: IngestionConfig, clock: Clock, opened: contextlib.AsyncExitStack) -> Tenants:
    if config.directory_file is None:
        return NoTenants()
    directory = _closing(opened, SqliteDeviceDirectory(Path(config.directory_file)))
    return DirectoryTenants(directory, config.limits.tenants_cached_s, clock.now_ns)


def _closing(opened: contextlib.AsyncExitStack, found: _C) -> _C:
    opened.callback(found.close)
    return found
