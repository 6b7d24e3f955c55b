"""What stories about many registrations have in common: arrivals at a rate, a hold, and an end."""

from __future__ import annotations

from contracts.load import LoaderLimits
from fake_devices.load_profiles import Constant, LoadProfile
from harness.checks.registrations import LIFETIME_S
from harness.runner import server_side
from harness.runner.run import Run

# What every load keeps to unless its claim says why not.
STRICT = LoaderLimits()


def arrivals(
    name: str, devices: int, rate_per_s: float, limits: LoaderLimits = STRICT
) -> LoadProfile:
    """So many devices at a rate, evenly."""
    return LoadProfile(
        name=name,
        registrations=(Constant(rate_per_s=rate_per_s, duration_s=devices / rate_per_s),),
        limits=limits,
    )


async def all_register(
    run: Run, name: str, rate_per_s: float, limits: LoaderLimits = STRICT
) -> None:
    """Build the fleet and switch it on, at the user's rate or profile, else at this rate."""
    rate_per_s = run.options.rate_per_s or rate_per_s
    devices = len(run.rows)
    await run.start_fleet(
        profile=arrivals(name, devices, rate_per_s, limits), within_s=build_s(devices)
    )
    run.switch_on(rate_per_s=rate_per_s)
    await run.until_registered(devices, within_s=run.arrivals_take_s() + run.patience_s)


def build_s(devices: int) -> float:
    """How long a fleet of so many may take to be built, on a machine that others use too."""
    return 60.0 + devices / 1_000.0


async def hold(run: Run, lifetime_s: int, seconds: float) -> None:
    """Let everybody keep its registration for so long."""
    run.want(**{LIFETIME_S: float(lifetime_s)})
    await run.let_telemetry_flow(seconds, phase="held")


async def end(run: Run) -> None:
    """Count what the server holds, wait until its events are delivered, and end the fleet."""
    numbers = await server_side.count(run, "end")
    await server_side.until_delivered(run, numbers["events_newest"])
    await run.end_fleet()
