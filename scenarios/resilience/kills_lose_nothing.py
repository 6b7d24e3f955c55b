"""Twenty kill -9 of the bridge and the server emulator, each at a point where it hurts."""

from __future__ import annotations

import asyncio
import random
from typing import NamedTuple

from harness import checks
from harness.runner.run import Run
from harness.runner.scenario import Scenario

ONBOARDING_POINTS = (
    "event_received_not_published",
    "event_published_not_acknowledged",
    "credentials_received_not_written",
)
COMMAND_POINT = "command_sent_no_outcome"
TARGETS = ("bridge", "server")
KILLS_WHILE_ONBOARDING = 15
KILLS_WHILE_COMMANDING = 5
DIM_LEVEL = 35
# Slow enough that events and commands are still to come when the last kill is due.
DEVICES_PER_S = 8.0
COMMANDS_PER_S = 6.0


class Kill(NamedTuple):
    """Where, at which occurrence from the moment it is armed, and whom."""

    point: str
    occurrence: int
    target: str


def plan_kills(seed: int) -> list[Kill]:
    """Twenty kills: every point with both targets, order and occurrence by seed."""
    draw = random.Random(seed)
    points = [ONBOARDING_POINTS[n % 3] for n in range(KILLS_WHILE_ONBOARDING)]
    kills = [Kill(point, draw.randint(1, 4), TARGETS[n // 3 % 2]) for n, point in enumerate(points)]
    draw.shuffle(kills)
    return kills + [
        Kill(COMMAND_POINT, draw.randint(1, 4), TARGETS[n % 2])
        for n in range(KILLS_WHILE_COMMANDING)
    ]


async def story(run: Run) -> None:
    """Kill while devices come online and while lamps are dimmed; then everything must be there."""
    kills = plan_kills(run.options.seed)
    run.note("kills_planned", value=float(len(kills)))
    await run.provision_rows()
    await run.start_fleet()
    run.switch_on(rate_per_s=DEVICES_PER_S)
    for kill in kills[:KILLS_WHILE_ONBOARDING]:
        if len(run.live.online) == len(run.rows):
            break  # nothing comes to these points any more
        await run.kill_at(*kill, within_s=run.patience_s)
    await run.until_online()
    lamps = run.lamps()
    dimming = asyncio.create_task(run.dim(lamps, DIM_LEVEL, rate_per_s=COMMANDS_PER_S))
    for kill in kills[KILLS_WHILE_ONBOARDING:]:
        if dimming.done():
            break
        await run.kill_at(*kill, within_s=run.patience_s)
    await dimming
    await run.until_lamps_follow(lamps, DIM_LEVEL, within_s=run.patience_s + 3 * run.report_every_s)
    await run.drain()
    await run.end_fleet()


SCENARIO = Scenario(
    name="resilience.kills_lose_nothing",
    claim=(
        "Twenty kill -9 of bridge and server emulator, between an event and its publication, its "
        "acknowledgement, credentials and their writing, a command and its outcome: every device "
        "comes online, no command is executed twice, nothing is lost or unknown at the end."
    ),
    story=story,
    checks=checks.KILLS,
    devices=200,
    takes_s=60.0,
    needs_broker=("embedded",),
    # A server that comes back has lost its DTLS sessions: it reaches a device again when that
    # speaks, which may take as long as a registration lives. What waits meanwhile is no loss.
    needs_security=("none",),
)
