"""Dusk: within a minute every street lamp lights up and says so."""

from __future__ import annotations

from harness import checks
from harness.checks.city import DUSK_WITHIN_S
from harness.runner.run import Run
from harness.runner.scenario import Scenario
from harness.runner.schedules import dusk, want_schedule, write_events

MINUTE_S = 60.0
# The last lamp lights up within the minute; its report is stored soon after.
STORED_AFTER_S = 5.0


async def story(run: Run) -> None:
    """Bring all lamps online, let it get dark, and drain."""
    lamps = run.lamps()
    minute_s = run.options.lasts_s(MINUTE_S)
    run.want(**{DUSK_WITHIN_S: minute_s + STORED_AFTER_S})
    file = write_events(
        run, dusk(lamps, run.options.seed, within_s=minute_s), run.rows, lasts_s=minute_s
    )
    want_schedule(run, file)
    await run.provision_rows()
    await run.start_fleet(schedule_file=file)
    run.switch_on()
    await run.until_online()
    await run.follow_schedule()
    await run.drain()
    await run.end_fleet()


SCENARIO = Scenario(
    name="scale.dusk",
    claim=(
        "When it gets dark every lamp of the city reports within a minute that it is lit; every "
        "report is stored, once and unaltered, and the loader keeps its schedule."
    ),
    story=story,
    checks=checks.DUSK,
    devices=1_000,
    takes_s=110.0,
    lasts_s_min=1.0,
    only_lamps=True,
)
