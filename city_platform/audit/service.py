"""Audit's log, rules and HTTP interface, put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from city_platform.audit.chain import genesis
from city_platform.audit.config import AuditConfig
from city_platform.audit.entries import AuditEntry
from city_platform.audit.keeper import AuditKeeper
from city_platform.audit.routes import AuditRoutes
from city_platform.audit.signing import Signer, open_signer, public_pem
from city_platform.audit.topics import CommandTopics, ended_entry, published_entry
from city_platform.audit.verify import DATABASE, HEAD_FILE, PUBLIC_KEY_FILE
from city_platform.broker_access import chance_from, open_client
from city_platform.counts_http import standard_routes
from city_platform.device_tenants import Directory
from city_platform.identity.gated import gated
from city_platform.rules import CallbackTarget, Rule, RuleRunner, default_rules, load_rules
from city_platform.stores.audit_log import SqliteAuditLog
from city_platform.stores.object_store import FileObjectStore
from contracts.errors import ContractError
from contracts.topics import Topics
from mqtt.transport.client import MqttClient
from runtime.clock import Clock
from runtime.component import Ready
from runtime.files import write_atomically
from runtime.http import bind, serving

# Nobody waits for what is heard but the broker, for its PUBACK: it is read by the handful.
GATHER_S: Final = 0.05
_log = logging.getLogger(__name__)


async def serve(
    config: AuditConfig, clock: Clock, ready: Ready, draw: Callable[[int], bytes]
) -> None:
    """Keep entries until cancelled."""
    state = Path(config.state_dir)
    signer = _open_signer(config, draw)
    async with contextlib.AsyncExitStack() as opened:
        log = SqliteAuditLog(state / DATABASE, genesis(signer.public_key))
        opened.callback(log.close)
        objects = FileObjectStore(Path(config.objects_dir or state / "objects"))
        opened.callback(objects.close)
        keeper = AuditKeeper(log, objects, signer, clock, state / HEAD_FILE, config.limits)
        await keeper.open()
        directory = Directory(config.directory_file, clock.now_ns)
        opened.callback(directory.close)
        targets = CommandTargets(keeper, directory, config.topics, clock)
        runner = _runner(config, targets, draw)
        opened.push_async_callback(runner.close)
        # First of these: the runner waits for what the keeper has yet to write.
        opened.push_async_callback(keeper.close)
        client = _client(config, runner, clock, draw)

        def counts() -> dict[str, int]:
            own = {**keeper.counts, "head": keeper.head.sequence}
            return own | {f"rules.{name}": count for name, count in runner.counts.items()}

        app = await opened.enter_async_context(
            gated(
                [*standard_routes(counts, "audit"), *AuditRoutes(keeper, log).routes],
                config.access, config.token_file, "audit", clock, draw, state_dir=config.state_dir,
            )
        )  # fmt: skip
        listener = bind(config.http_host, config.http_port)
        async with serving(app, listener) as address, asyncio.TaskGroup() as tasks:
            tasks.create_task(keeper.run())
            tasks.create_task(_run_client(client))
            if client is not None:
                await client.connected.wait()
            ready({"http": address})


def _open_signer(config: AuditConfig, draw: Callable[[int], bytes]) -> Signer:
    state = Path(config.state_dir)
    state.mkdir(parents=True, exist_ok=True)
    signer = open_signer(Path(config.key_file) if config.key_file else state / "audit.key", draw)
    # Beside the log too, wherever the key is: who verifies finds it.
    write_atomically(state / PUBLIC_KEY_FILE, public_pem(signer.public_key))
    return signer


class CommandTargets:
    """The targets of the rules: what was published on command topics, and how commands ended."""

    def __init__(
        self,
        keeper: AuditKeeper,
        directory: Directory,
        topics: Topics,
        clock: Clock,
    ) -> None:
        self._keeper = keeper
        self._directory = directory
        self._topics = CommandTopics(topics)
        self._clock = clock

    def published(self, topic: str, payload: bytes) -> Awaitable[None]:
        """Keep that a command was published; what comes back ends when that is synced."""
        return self._keep(published_entry(self._topics, topic, payload, self._clock.wall_us()))

    def ended(self, topic: str, payload: bytes) -> Awaitable[None] | None:
        """Keep how a command ended. The ends of what no command topic told of are not kept:

        the credentials that are written to every device that registers.
        """
        try:
            entry = ended_entry(topic, payload, self._clock.wall_us())
        except ContractError:
            # Whoever may publish events is a bridge; its own counters tell of a broken server.
            return None
        return None if entry is None else self._keep(entry, is_end=True)

    def _keep(self, entry: AuditEntry, *, is_end: bool = False) -> Awaitable[None]:
        # Mostly one future for all that are written together, and no task for each.
        tenant = self._directory.remembered(entry.device)
        if tenant is None:
            return self._ask_and_keep(entry, is_end)
        return self._keeper.keep(msgspec.structs.replace(entry, tenant=tenant), is_end=is_end)

    async def _ask_and_keep(self, entry: AuditEntry, is_end: bool) -> None:
        tenant = await self._directory.tenant_of(entry.device) or ""
        kept = self._keeper.keep(msgspec.structs.replace(entry, tenant=tenant), is_end=is_end)
        await asyncio.shield(kept)


def _runner(
    config: AuditConfig, targets: CommandTargets, draw: Callable[[int], bytes]
) -> RuleRunner:
    rules = _rules(config)
    return RuleRunner(
        None, rules,
        {
            "published": CallbackTarget(targets.published),
            "ended": CallbackTarget(targets.ended),
        },
        topics=config.topics, limits=config.runner, chance=chance_from(draw),
        # A command that cannot be kept is not acknowledged: it comes again.
        dead_letters=lambda letter: targets.published(letter.topic, letter.payload)
        if letter.rule.startswith("command_published") else None,
    )  # fmt: skip


def _rules(config: AuditConfig) -> list[Rule]:
    if config.rules_file is not None:
        return load_rules(Path(config.rules_file))
    return default_rules("city_platform.audit")


def _client(
    config: AuditConfig, runner: RuleRunner, clock: Clock, draw: Callable[[int], bytes]
) -> MqttClient | None:
    if config.broker is None:
        return None
    client = open_client(
        config.broker, config.identity, clock,
        subscriptions=runner.subscriptions, on_message=runner.handle_message, draw=draw,
        gather_s=GATHER_S,
    )  # fmt: skip
    runner.use_client(client)
    return client


async def _run_client(client: MqttClient | None) -> None:
    if client is not None:
        await client.run()
