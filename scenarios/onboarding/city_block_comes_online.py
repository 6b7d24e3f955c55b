"""The main job: a city block is provisioned, bootstraps, comes online, reports and obeys."""

from __future__ import annotations

from harness import checks
from harness.runner.run import Run
from harness.runner.scenario import Scenario

DIM_LEVEL = 40
READINGS_PER_STREAM = 10


async def story(run: Run) -> None:
    """Import the manifest, switch everything on, let it report, dim every lamp, drain."""
    await run.provision_rows()
    await run.start_fleet(with_demonstration_incidents=True)
    run.switch_on()
    online = await run.until_online()
    began_s = run.clock.now_ns() / 1e9
    lamps = run.lamps()
    run.begin("telemetry")
    await run.dim(lamps, DIM_LEVEL, rate_per_s=run.command_rate_per_s)
    if online:  # otherwise the claim is broken already, and waiting would only take time
        soon_s, every_s = run.patience_s, run.report_every_s
        await run.until_lamps_follow(lamps, DIM_LEVEL, within_s=soon_s + 3 * every_s)
        await run.until_readings(READINGS_PER_STREAM, within_s=soon_s + 15 * every_s)
        await run.until_alarms(run.models(), within_s=soon_s + 10 * every_s)
    await run.let_telemetry_flow(run.telemetry_left_s(began_s))
    await run.drain()
    await run.end_fleet()


SCENARIO = Scenario(
    name="onboarding.city_block_comes_online",
    claim=(
        "Every provisioned device bootstraps through the bridge, comes online over MQTT and "
        "reports; every model raises and clears an alarm; every lamp obeys one command; nothing "
        "is lost, duplicated, altered, misrouted or unknown."
    ),
    story=story,
    checks=checks.MAIN_JOB,
    devices=200,
    takes_s=20.0,
    takes_is_measured=True,
)
