"""Four servers, each with its bridge, share a city: commands, moves, and a bridge is killed."""

from __future__ import annotations

import asyncio
import random

from harness import checks
from harness.bench import topology
from harness.checks.bridges import LOST_WITHIN_S
from harness.runner.bridges import (
    move,
    read_open_loop,
    restart_control_without_memory,
    until_held,
    until_shown,
)
from harness.runner.run import Run
from harness.runner.scenario import Scenario

SERVERS = 4
MOVED_RATIO = 0.1
# Levels of the three rounds: by holder, after the moves, and on the topic that all bridges hear.
BY_HOLDER, AFTER_MOVES, ON_THE_SHARED_TOPIC = 40, 55, 70
READ_WHILE_MOVING = "/3/0/0"
READS_PER_S = 20.0
SETTLE_S = 3.0


async def story(run: Run) -> None:
    """Command everybody, move some, lose a bridge and control's memory, and command again."""
    lamps, draw = run.lamps(), random.Random(run.options.seed)
    moved = sorted(draw.sample(lamps, max(1, round(len(lamps) * MOVED_RATIO))))
    follow_s = run.patience_s + 3 * run.report_every_s
    await run.provision_rows()
    await run.start_fleet()
    run.switch_on()
    await run.until_online()
    await until_held(run, len(lamps), within_s=run.patience_s)
    await run.dim(lamps, BY_HOLDER, rate_per_s=run.command_rate_per_s)
    await run.until_lamps_follow(lamps, BY_HOLDER, within_s=follow_s)
    await _move(run, moved)
    await run.dim(moved, AFTER_MOVES, rate_per_s=run.command_rate_per_s)
    await run.until_lamps_follow(moved, AFTER_MOVES, within_s=follow_s)
    nth = draw.randrange(run.bench.plan.servers)
    await _lose_a_bridge(run, topology.pair_of(run.bench.plan, nth))
    run.begin("control without memory")
    await restart_control_without_memory(run)
    await run.dim(lamps, ON_THE_SHARED_TOPIC, rate_per_s=run.command_rate_per_s)
    await run.until_lamps_follow(lamps, ON_THE_SHARED_TOPIC, within_s=follow_s)
    await run.drain()
    await run.end_fleet()


async def _move(run: Run, moved: list[str]) -> None:
    """Half of the reads are on their way before the devices move, half come after."""
    run.begin("moves")
    reading = asyncio.create_task(read_open_loop(run, moved, READ_WHILE_MOVING, READS_PER_S))
    try:
        await run.let_pass(len(moved) / READS_PER_S / 2)
        move(run, moved)
        await reading
    finally:
        reading.cancel()
    # Until every move is known to control and to the bridges that have lost a device by it.
    await run.let_pass(SETTLE_S)
    await until_held(run, len(run.lamps()), within_s=run.patience_s)


async def _lose_a_bridge(run: Run, pair: topology.Pair) -> None:
    run.begin("a bridge is killed")
    run.bench.kill(pair.bridge_process, "under way")
    await until_shown(run, pair, "lost", within_s=LOST_WITHIN_S)
    await run.bench.restart(pair.bridge_process)
    await until_shown(run, pair, "live", within_s=LOST_WITHIN_S)
    await run.let_pass(SETTLE_S)


SCENARIO = Scenario(
    name="scale.four_bridges_share_the_city",
    claim=(
        "Four LwM2M servers, each with its bridge, share a city: every command reaches exactly the "
        "server that holds its device, on the holder's topic and on the one that all bridges hear; "
        "devices that move are followed; a bridge that is killed is seen to be lost, and returns."
    ),
    story=story,
    checks=checks.FOUR_BRIDGES,
    # A moved device is a new session: with DTLS its old server's retransmissions would only add to
    # what is refused.
    needs_security=("none",),
    needs_broker=("embedded", "mosquitto"),
    devices=400,
    takes_s=50.0,
    only_lamps=True,
    servers=SERVERS,
    with_presence=True,
)
