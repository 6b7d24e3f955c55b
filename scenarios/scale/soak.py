"""A soak: devices report and obey for as long as is asked, and no process grows."""

from __future__ import annotations

from fake_devices.load_profiles import Constant, LoadProfile
from harness import checks
from harness.checks.resources import PHASE
from harness.runner.run import DEVICES_PER_S, Run
from harness.runner.scenario import Scenario

LASTS_S = 600.0
COMMANDS_PER_S = 2.0


async def story(run: Run) -> None:
    """Bring all online, let them report and be read, and drain."""
    lasts_s = run.options.lasts_s(LASTS_S)
    rate_per_s = run.options.rate_per_s or DEVICES_PER_S
    await run.provision_rows()
    await run.start_fleet(profile=soak_profile(len(run.rows), rate_per_s, lasts_s))
    run.switch_on()
    await run.until_online()
    await run.let_telemetry_flow(lasts_s, phase=PHASE)
    await run.drain()
    await run.end_fleet()


def soak_profile(devices: int, rate_per_s: float, lasts_s: float) -> LoadProfile:
    """Commands at a slow, even rate from when all devices are on; reports are the devices' own."""
    arrivals_s = devices / rate_per_s
    return LoadProfile(
        name="soak",
        registrations=(Constant(rate_per_s=rate_per_s, duration_s=arrivals_s),),
        commands=(Constant(begins_s=arrivals_s, rate_per_s=COMMANDS_PER_S, duration_s=lasts_s),),
    )


SCENARIO = Scenario(
    name="scale.soak",
    claim=(
        "Over a long time (`--duration`) of reports and commands no process grows in memory or "
        "open descriptors after its warm-up, and no reading is lost, altered or unknown."
    ),
    story=story,
    checks=checks.SOAK,
    devices=200,
    takes_s=640.0,
    lasts_s_min=1.0,
)
