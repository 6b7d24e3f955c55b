"""Control as a component: HTTP in front, MQTT behind, a database beside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.routing import BaseRoute

from city_platform.bridge_status import BridgeRoutes
from city_platform.broker_access import Draw, chance_from, open_client, split_address
from city_platform.control.config import ControlConfig
from city_platform.control.desk import CommandDesk
from city_platform.control.dispatch import Dispatch
from city_platform.control.group_driver import GroupDriver
from city_platform.control.group_routes import GroupRoutes
from city_platform.control.group_service import GroupService
from city_platform.control.group_store import GroupStore
from city_platform.control.members import Devices, DirectoryDevices, NoDevices, SearchedDevices
from city_platform.control.requests import builtin_names
from city_platform.control.routes import ControlRoutes, readiness_route
from city_platform.control.service import CommandService
from city_platform.control.store import CommandStore
from city_platform.counts_http import standard_routes
from city_platform.identity.gated import gated, opened_outbox
from city_platform.rules import CallbackTarget, Rule, RuleRunner, default_rules, load_rules
from city_platform.stores.device_directory import SqliteDeviceDirectory
from contracts.names import service_identity
from mqtt.transport.client import MqttClient
from runtime.clock import Clock
from runtime.component import Ready
from runtime.http import bind, serving

if TYPE_CHECKING:
    from city_platform.audit.outbox import AuditOutbox

# PUBACKs and outcomes are read by the handful; what comes alone is read at once.
GATHER_S: Final = 0.005
_log = logging.getLogger(__name__)


async def run(
    config: ControlConfig, clock: Clock, ready: Ready, *, draw: Draw = os.urandom
) -> None:
    """Take commands until cancelled; ready once subscribed and serving HTTP."""
    async with contextlib.AsyncExitStack() as opened:
        store = CommandStore(Path(config.state_dir) / "control.sqlite")
        opened.push_async_callback(store.close)
        devices = _devices(config)
        opened.push_async_callback(devices.close)
        desk = CommandDesk(
            config.topics, config.times, chance_from(draw),
            commands=await store.open_commands(), holders=await store.holders(),
        )  # fmt: skip
        dispatch = Dispatch(desk, store, config.topics, clock)
        opened.push_async_callback(dispatch.close)
        outbox = await opened.enter_async_context(_outbox(config, store))
        await _serve(config, clock, ready, draw, store, devices, desk, dispatch, outbox)


async def _serve(
    config: ControlConfig,
    clock: Clock,
    ready: Ready,
    draw: Draw,
    store: CommandStore,
    devices: Devices,
    desk: CommandDesk,
    dispatch: Dispatch,
    outbox: AuditOutbox | None,
) -> None:
    groups = GroupStore(store)
    driver = GroupDriver(groups, dispatch, clock, config.open_commands_max)
    await driver.recover()
    bridges = BridgeRoutes(config.topics, desk.devices_held, clock)
    targets = {**dispatch.targets, "bridge_status": CallbackTarget(bridges.receive)}
    runner = RuleRunner(
        None, _rules(config), targets,
        topics=config.topics, limits=config.limits, chance=chance_from(draw),
    )  # fmt: skip
    client = open_client(
        config.broker, service_identity("control"), clock,
        subscriptions=runner.subscriptions, on_message=runner.handle_message,
        on_connected=driver.wake, draw=draw, gather_s=GATHER_S,
    )  # fmt: skip
    runner.use_client(client)
    dispatch.use_client(client)

    def counts() -> dict[str, int]:
        own = {**desk.counts, **dispatch.counts, **driver.counts, **bridges.counts}
        own["open_commands"] = desk.open_commands
        return own | {f"rules.{name}": count for name, count in runner.counts.items()}

    commands = CommandService(dispatch, store, devices, clock, config.open_commands_max)
    service = GroupService(groups, driver, devices, commands, clock, config.groups)
    names = builtin_names()
    own = ControlRoutes(commands, names, draw)
    # Looked through in this order: what comes most first.
    routes: list[BaseRoute] = [
        *own.routes, readiness_route(lambda: dispatch.problem), *standard_routes(counts, "control"),
        *GroupRoutes(service, commands, names, draw).routes, *bridges.routes,
    ]  # fmt: skip
    try:
        async with (
            asyncio.TaskGroup() as tasks,
            gated(
                routes, config.access, config.token_file, "control", clock, draw,
                outbox=outbox, state_dir=config.state_dir,
                late_acts=("issue_command",), lanes=own.lanes,
            ) as app,
            serving(app, bind(*split_address(config.http))) as address,
        ):  # fmt: skip
            await _work(tasks, dispatch, driver, client)
            ready({"http": address})
            # A hundred definitions: who first asks by name does not wait for them.
            await asyncio.get_running_loop().run_in_executor(None, names.load)
            await asyncio.get_running_loop().create_future()
    finally:
        await runner.close()
        _log.info("counts: %s", dict(sorted(counts().items())))


@contextlib.asynccontextmanager
async def _outbox(config: ControlConfig, store: CommandStore) -> AsyncIterator[AuditOutbox | None]:
    """Where acts wait: in the commands' own database, so that an act begins in one commit with its
    command. None where nothing is audited."""
    if config.access is None or config.access.state_dir is None:
        yield None
        return
    async with opened_outbox(
        config.access, config.token_file, "control", commits=store.commits
    ) as outbox:
        yield outbox


async def _work(
    tasks: asyncio.TaskGroup, dispatch: Dispatch, driver: GroupDriver, client: MqttClient
) -> None:
    tasks.create_task(client.run())
    tasks.create_task(dispatch.drive())
    tasks.create_task(driver.drive())
    await client.connected.wait()


def _devices(config: ControlConfig) -> Devices:
    file = config.directory_file
    if file is None and config.access is not None:
        file = config.access.directory_file
    known: Devices = NoDevices()
    if file is not None:
        known = DirectoryDevices(SqliteDeviceDirectory(Path(file)))
    if config.search is None:
        return known
    return SearchedDevices(known, config.search.address, config.search.token_file)


def _rules(config: ControlConfig) -> list[Rule]:
    if config.rules_file is not None:
        return load_rules(Path(config.rules_file))
    return default_rules("city_platform.control")
