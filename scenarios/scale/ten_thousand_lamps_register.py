"""Ten thousand street lamps register with the LwM2M server, whatever it has to say to that."""

from __future__ import annotations

from harness import checks
from harness.checks.registrations import REGISTERED_P99_MS
from harness.runner.arrivals import all_register, end, hold
from harness.runner.run import Run
from harness.runner.scenario import Scenario

LIFETIME_S = 300
ARRIVALS_PER_S = 1_000.0
# A tenth of what CoAP waits before it sends again.
P99_MS = 200.0
HELD_S = 10.0


async def story(run: Run) -> None:
    """Switch all on at an open rate, let them be for a while, and count."""
    run.want(**{REGISTERED_P99_MS: P99_MS})
    await all_register(run, "ten_thousand_lamps", ARRIVALS_PER_S)
    await hold(run, LIFETIME_S, run.options.lasts_s(HELD_S))
    await end(run)


SCENARIO = Scenario(
    name="scale.ten_thousand_lamps_register",
    claim=(
        "Ten thousand lamps that are switched on at an open rate register in time (p99 from the "
        "intended start), keep their registrations, and the data interface delivers every event."
    ),
    story=story,
    checks=checks.MANY_REGISTER,
    devices=10_000,
    takes_s=25.0,
    with_platform=False,
    needs_security=("none", "psk"),
    fleet_settings={"lifetime_s": LIFETIME_S},
)
