"""One command to a whole city: every device has its outcome, and every lamp follows."""

from __future__ import annotations

from typing import Final

from contracts.api import CommandRequest, CommandTarget, GroupCommandRequest
from harness import checks
from harness.runner.run import Run
from harness.runner.scenario import Scenario
from scenarios.control.asking import Asking
from scenarios.control.checks import (
    GROUP_DEVICES,
    a_group_command_reaches_everyone,
    every_command_has_its_outcome,
)

DEVICES: Final = 5_000
LEVEL: Final = 42
RATE_PER_S: Final = 200.0
# Beyond what its turns take.
ENDS_WITHIN_S: Final = 90.0


async def story(run: Run) -> None:
    """Bring the lamps online, dim all of them by one request, and look at every outcome."""
    await run.provision_rows()
    await run.start_fleet()
    run.switch_on(rate_per_s=100.0)
    await run.until_online()
    run.begin("commands")
    asking = Asking(run)
    began_ns = run.clock.now_ns()
    group = await asking.send_to_group(
        GroupCommandRequest(
            target=CommandTarget(search={"model": "street_lamp"}),
            # By name: /3416/0/1.
            command=CommandRequest(
                operation="write", path="Outdoor lamp controller/0/Command", value=LEVEL
            ),
            rate_per_s=RATE_PER_S,
        )
    )
    run.note(GROUP_DEVICES, value=float(group.devices))
    await asking.until_group_ended(group, group.devices / RATE_PER_S + ENDS_WITHIN_S)
    for number, record in enumerate(await asking.members(group)):
        intended_ns = began_ns + int(number / RATE_PER_S * 1e9)
        asking.journal_issued(record, began_ns, intended_ns, LEVEL)
        asking.journal_concluded(record)
    lamps = run.lamps()
    await run.until_lamps_follow(lamps, LEVEL, within_s=run.patience_s + 3 * run.report_every_s)
    await run.drain()
    await run.end_fleet()


SCENARIO = Scenario(
    name="control.group_command_reaches_everyone",
    claim=(
        f"A group command to {DEVICES:,} lamps, found by a search and paced, ends with "
        f"{DEVICES:,} outcomes; every lamp is dimmed once and shows it."
    ),
    story=story,
    checks=(
        a_group_command_reaches_everyone,
        every_command_has_its_outcome,
        checks.every_row_is_provisioned,
        checks.every_device_comes_online,
        checks.every_lamp_obeys,
        checks.commands_are_executed_once,
        *checks.HOUSEKEEPING,
    ),
    devices=DEVICES,
    takes_s=110.0,
    only_lamps=True,
)
