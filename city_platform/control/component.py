"""Control as a component: HTTP in front, MQTT behind, a database beside."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from city_platform.broker_access import Draw, chance_from, open_client, split_address
from city_platform.control.config import ControlConfig
from city_platform.control.desk import CommandDesk
from city_platform.control.dispatch import Dispatch
from city_platform.control.routes import ControlRoutes
from city_platform.control.store import CommandStore
from city_platform.counts_http import standard_routes
from city_platform.identity.gated import gated
from city_platform.rules import Rule, RuleRunner, default_rules, load_rules
from contracts.names import service_identity
from mqtt.transport.client import MqttClient
from runtime.clock import Clock
from runtime.component import Ready
from runtime.http import bind, serving

_log = logging.getLogger(__name__)


async def run(
    config: ControlConfig, clock: Clock, ready: Ready, *, draw: Draw = os.urandom
) -> None:
    """Take commands until cancelled; ready once subscribed and serving HTTP."""
    store = CommandStore(Path(config.state_dir) / "control.sqlite")
    desk = CommandDesk(
        config.topics, config.times, chance_from(draw),
        commands=await store.open_commands(), holders=await store.holders(),
    )  # fmt: skip
    dispatch = Dispatch(desk, store, config.topics, clock)
    runner = RuleRunner(
        None, _rules(config), dispatch.targets,
        topics=config.topics, limits=config.limits, chance=chance_from(draw),
    )  # fmt: skip
    client = open_client(
        config.broker, service_identity("control"), clock,
        subscriptions=runner.subscriptions, on_message=runner.handle_message, draw=draw,
    )  # fmt: skip
    runner.use_client(client)
    dispatch.use_client(client)

    def counts() -> dict[str, int]:
        own = {**desk.counts, **dispatch.counts, "open_commands": desk.open_commands}
        return own | {f"rules.{name}": count for name, count in runner.counts.items()}

    control_routes = ControlRoutes(dispatch, draw, config.open_commands_max).routes
    routes = [*standard_routes(counts), *control_routes]
    try:
        async with (
            asyncio.TaskGroup() as tasks,
            gated(routes, config.access, config.token_file, "control", clock, draw) as app,
            serving(app, bind(*split_address(config.http))) as address,
        ):
            await _work(tasks, dispatch, client)
            ready({"http": address})
            await asyncio.get_running_loop().create_future()
    finally:
        await runner.close()
        await dispatch.close()
        await store.close()
        _log.info("counts: %s", dict(sorted(counts().items())))


async def _work(tasks: asyncio.TaskGroup, dispatch: Dispatch, client: MqttClient) -> None:
    tasks.create_task(client.run())
    tasks.create_task(dispatch.drive())
    await client.connected.wait()


def _rules(config: ControlConfig) -> list[Rule]:
    if config.rules_file is not None:
        return load_rules(Path(config.rules_file))
    return default_rules("city_platform.control")
