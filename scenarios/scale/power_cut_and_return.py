"""A power cut takes every device off at once; all come back within a window, nothing is lost."""

from __future__ import annotations

from harness import checks
from harness.checks.city import BACK_WITHIN_S
from harness.runner.books import ask_stores
from harness.runner.run import Run
from harness.runner.scenario import Scenario
from harness.runner.schedules import power_cut, want_schedule, write_events

BEGINS_S = 10.0
OUTAGE_S = 5.0
# As many return in a second as can be expected to shake hands with the embedded broker's TLS.
RETURNS_PER_S = 50.0
RETURN_WITHIN_S_MIN = 5.0
# From a device's own return: it registers, connects, reports, and the report is stored.
BACK_S = 30.0
# Reports go on for so long after the last return; `--duration` takes another length.
AFTER_S = 15.0


async def story(run: Run) -> None:
    """Bring all online, cut the power, have it come back, drain, and ask every store."""
    rows = run.rows
    return_within_s = max(
        RETURN_WITHIN_S_MIN, len(rows) / (run.options.rate_per_s or RETURNS_PER_S)
    )
    ends_s = BEGINS_S + OUTAGE_S + return_within_s + run.options.lasts_s(AFTER_S)
    run.want(**{BACK_WITHIN_S: BACK_S})
    events = power_cut(
        [row.endpoint for row in rows],
        run.options.seed,
        begins_s=BEGINS_S,
        outage_s=OUTAGE_S,
        return_within_s=return_within_s,
        report_every_s=max(2.0, run.report_every_s),
        ends_s=ends_s,
    )
    file = write_events(run, events, rows, lasts_s=ends_s)
    want_schedule(run, file)
    await run.provision_rows()
    await run.start_fleet(schedule_file=file)
    run.switch_on()
    await run.until_online()
    await run.follow_schedule()
    await run.drain()
    await ask_stores(run)
    await run.end_fleet()


SCENARIO = Scenario(
    name="scale.power_cut_and_return",
    claim=(
        "When the power of every device is cut at once and comes back within a window, every "
        "device is registered, connected and heard again in time, nothing that was acknowledged is "
        "lost, and server, things and telemetry store agree."
    ),
    story=story,
    checks=checks.POWER_CUT,
    devices=500,
    takes_s=70.0,
)
