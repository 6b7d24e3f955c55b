"""Devices that nobody provisioned register and get nothing."""

from __future__ import annotations

from fake_devices.city import district
from harness import checks
from harness.runner.run import Run
from harness.runner.scenario import Scenario

UNKNOWN = 20


async def story(run: Run) -> None:
    """Provision the run's devices, switch on twenty more, and watch what those are sent."""
    known = {row.endpoint for row in run.rows}
    everybody = district(run.rows, len(run.rows) + UNKNOWN, run.options.seed)
    unknown = [row.endpoint for row in everybody if row.endpoint not in known]
    for endpoint in unknown:
        run.note("unknown_device", endpoint=endpoint)
    await run.provision_rows()
    await run.start_fleet(everybody)
    run.switch_on()
    await run.until_online(len(run.rows))
    await run.until_registered(len(everybody))
    await run.let_telemetry_flow(run.options.lasts_s(5.0))
    await run.drain()
    await run.end_fleet()


SCENARIO = Scenario(
    name="security.unknown_devices_are_ignored",
    claim=(
        "Devices that were never provisioned may register, and nothing is published on any "
        "credentials topic for them and nothing is written to them, while all others come online."
    ),
    story=story,
    checks=checks.UNKNOWN_DEVICES,
    devices=200,
    takes_s=20.0,
)
