"""A million street lamps on one machine: registered, updating, and each readable by command."""

from __future__ import annotations

import random
from collections.abc import Sequence

from contracts.load import LoaderLimits
from contracts.manifest import ManifestRow
from harness import checks
from harness.checks.registrations import REGISTERED_WITHIN_S, UPDATES_TRIGGERED
from harness.checks.resources import MEMORY_BYTES
from harness.runner.arrivals import all_register, end
from harness.runner.run import Run
from harness.runner.scenario import Scenario
from harness.runner.server_side import Wanted, operate

LIFETIME_S = 86_400
WITHIN_S = 120.0
# So that the last is switched on with time to spare.
ARRIVALS_TAKE_S = 105.0
MEMORY_BYTES_MAX = 5e9
# The claim is when the last one is registered. A loader that falls behind makes that harder, and
# never earlier: it is in the time that is judged, and voids nothing.
LIMITS = LoaderLimits(lag_p99_ms=WITHIN_S * 1_000, loop_delay_p99_ms=200.0)
# A device that has half its lifetime behind it updates: of a million, 23 a second. Within minutes
# none would, so the server asks as many (/1/0/8).
UPDATES_PER_S_AND_DEVICE = 2 / LIFETIME_S
UPDATING_S = 10.0
UPDATES_MIN = 20
READ = 200
READS_PER_S = 50.0
SERIAL = "/3/0/2"


async def story(run: Run) -> None:
    """Switch all on, have some update all the time, and read some at random."""
    count = len(run.rows)
    run.want(**{REGISTERED_WITHIN_S: WITHIN_S, MEMORY_BYTES: MEMORY_BYTES_MAX})
    await all_register(run, "a_million_lamps", count / ARRIVALS_TAKE_S, LIMITS)
    chance = random.Random(f"{run.options.seed}/a_million")
    run.begin("updates")
    per_s = max(UPDATES_MIN / UPDATING_S, count * UPDATES_PER_S_AND_DEVICE)
    updates = updates_of(run.rows, chance, round(per_s * UPDATING_S))
    run.want(**{UPDATES_TRIGGERED: float(len(updates))})
    await operate(run, updates, rate_per_s=per_s)
    run.begin("reads")
    await operate(run, reads_of(run.rows, chance, READ), rate_per_s=READS_PER_S)
    await run.let_pass(2.0)
    await end(run)


def updates_of(rows: Sequence[ManifestRow], chance: random.Random, count: int) -> list[Wanted]:
    """So many different devices are asked for an Update."""
    chosen = chance.sample(range(len(rows)), min(count, len(rows)))
    return [Wanted(rows[number].endpoint, "execute", "/1/0/8") for number in chosen]


def reads_of(rows: Sequence[ManifestRow], chance: random.Random, count: int) -> list[Wanted]:
    """So many different devices are read, each for its own serial number."""
    chosen = chance.sample(range(len(rows)), min(count, len(rows)))
    return [
        Wanted(rows[number].endpoint, "read", SERIAL, expected=rows[number].serial)
        for number in chosen
    ]


SCENARIO = Scenario(
    name="scale.a_million_lamps_on_one_machine",
    claim=(
        "A million devices with a lifetime of a day are registered within 120 s; Updates are "
        "answered, any one device is read by command with its own value, and fleet and server "
        "together hold less than 5 GB."
    ),
    story=story,
    checks=checks.A_MILLION,
    devices=1_000_000,
    takes_s=240.0,
    with_platform=False,
    with_taps=False,
    needs_security=("none",),
    # The log is written anew when it has grown by this much: not within one run.
    server_settings={"limits": {"log_bytes_compact": 1 << 33}},
    fleet_settings={"lifetime_s": LIFETIME_S, "sample_every_s": 1.0},
)
