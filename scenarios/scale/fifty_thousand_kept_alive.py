"""Fifty thousand registrations of one minute's lifetime, kept alive for five minutes."""

from __future__ import annotations

from harness import checks
from harness.runner.arrivals import all_register, end, hold
from harness.runner.run import Run
from harness.runner.scenario import Scenario

LIFETIME_S = 60
ARRIVALS_PER_S = 2_500.0
HELD_S = 300.0


async def story(run: Run) -> None:
    """Switch all on, and let them update in good time."""
    await all_register(run, "fifty_thousand", ARRIVALS_PER_S)
    await hold(run, LIFETIME_S, run.options.lasts_s(HELD_S))
    await end(run)


SCENARIO = Scenario(
    name="scale.fifty_thousand_kept_alive",
    claim=(
        "Fifty thousand devices with a lifetime of 60 s stay registered for five minutes: every "
        "Update is answered in time, none lapses, and the loader is not saturated."
    ),
    story=story,
    checks=checks.KEPT_ALIVE,
    devices=50_000,
    takes_s=330.0,
    with_platform=False,
    needs_security=("none", "psk"),
    fleet_settings={"lifetime_s": LIFETIME_S},
)
