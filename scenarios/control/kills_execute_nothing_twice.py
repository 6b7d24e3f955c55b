"""kill -9 of control, bridge, server emulator and broker, one each, while commands run."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from contracts.api import CommandRecord, CommandRequest
from harness import checks
from harness.runner.run import Run
from harness.runner.scenario import Scenario
from scenarios.control.asking import Asking
from scenarios.control.checks import (
    every_command_has_its_outcome,
    nothing_is_executed_twice,
    unknown_only_what_was_under_way,
)

TARGETS: Final = ("control", "bridge", "server", "broker")
POINT: Final = "command_sent_no_outcome"
# The device updates its registration: harmless, and seen in its journal.
EXECUTABLE: Final = "/1/0/8"
COMMANDED: Final = "/3416/0/1"
LEVEL: Final = 35
# Slow enough that commands are still to come when the last kill is due.
COMMANDS_PER_S: Final = 4.0
EXPIRES_S: Final = 60.0
# Longer than a command and the grace in which its outcome may still come.
ENDS_WITHIN_S: Final = 170.0


async def story(run: Run) -> None:
    """Execute on every lamp and dim it, while each of the four is killed at a bad moment."""
    order = list(TARGETS)
    draw = random.Random(run.options.seed)
    draw.shuffle(order)
    run.note("kills_planned", value=float(len(order)))
    await run.provision_rows()
    await run.start_fleet()
    run.switch_on()
    await run.until_online()
    run.begin("commands")
    commanding = asyncio.create_task(_command(run, run.lamps()))
    try:
        for target in order:
            if commanding.done():
                break
            await run.kill_at(POINT, draw.randint(1, 3), target, within_s=run.patience_s)
        await commanding
    finally:
        commanding.cancel()
        await asyncio.gather(commanding, return_exceptions=True)
    await run.drain()
    await run.end_fleet()


async def _command(run: Run, lamps: list[str]) -> None:
    asking = Asking(run)
    issued: list[CommandRecord] = []
    began_ns = run.clock.now_ns()
    for number, lamp in enumerate(lamps):
        intended_ns = began_ns + int(number / COMMANDS_PER_S * 1e9)
        await asyncio.sleep(max(0.0, (intended_ns - run.clock.now_ns()) / 1e9))
        requests = (
            CommandRequest(operation="execute", path=EXECUTABLE, expires_in_s=EXPIRES_S),
            CommandRequest(operation="write", path=COMMANDED, value=LEVEL, expires_in_s=EXPIRES_S),
        )
        for request, value in zip(requests, (None, LEVEL), strict=True):
            record = await asking.send(lamp, request)
            asking.journal_issued(record, run.clock.now_ns(), intended_ns, value)
            issued.append(record)
    due_ns = run.clock.now_ns() + int(ENDS_WITHIN_S * 1e9)
    for record in issued:
        asking.journal_concluded(await asking.until_final(record, due_ns))


SCENARIO = Scenario(
    name="control.kills_execute_nothing_twice",
    claim=(
        "kill -9 of the control API, the bridge, the server emulator and the broker, one each, "
        "between a command and its outcome: no command is executed twice, every one has its "
        "outcome, and unknown is only what was under way at a kill."
    ),
    story=story,
    # Readings that a killed broker had in its memory are not this claim's.
    checks=(
        checks.every_planned_kill_struck,
        checks.every_row_is_provisioned,
        checks.every_device_comes_online,
        nothing_is_executed_twice,
        checks.commands_are_executed_once,
        every_command_has_its_outcome,
        unknown_only_what_was_under_way,
        *checks.HOUSEKEEPING,
    ),
    needs_broker=("embedded",),
    # As `resilience.kills_lose_nothing`: a server that comes back has lost its DTLS sessions.
    needs_security=("none",),
    devices=60,
    takes_s=45.0,
    only_lamps=True,
)
