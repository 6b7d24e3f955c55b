"""A day of a mixed city, compressed: dusk and dawn, rush hours, rain, failures, tripped feeders."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness import checks
from harness.city_day import load_city, make_window, write_schedule
from harness.runner.run import Run
from harness.runner.scenario import Scenario
from harness.runner.schedules import SCHEDULE_FILE, want_schedule

CITY: Final = "harbour_district"
DATE: Final = "2026-11-21"
DAY_S: Final = 86_400.0
# Twenty-four hours in ten minutes; `--duration` takes another length.
LASTS_S: Final = 600.0


async def story(run: Run) -> None:
    """Write the day's schedule, bring all online, follow it, and drain."""
    run.begin("writing the day")
    file = write_day(run)
    want_schedule(run, file)
    await run.provision_rows()
    await run.start_fleet(schedule_file=file)
    run.switch_on()
    await run.until_online()
    await run.follow_schedule()
    await run.drain()
    await run.end_fleet()


def write_day(run: Run) -> Path:
    """The schedule of the run's own devices, from midnight to midnight."""
    options = run.options
    manifest = str(options.manifest) if options.manifest else CITY
    city = load_city(manifest, options.seed, len(run.rows))
    speed = DAY_S / options.lasts_s(LASTS_S)
    window = make_window(DATE, "00:00", "24:00", speed, city.longitude)
    file = run.bench.plan.output_dir / SCHEDULE_FILE
    write_schedule(city, window, DATE, file)
    return file


SCENARIO = Scenario(
    name="scale.a_city_day",
    claim=(
        "A mixed city lives through twenty-four hours in ten minutes: everything that its schedule "
        "asks for happens on time, and every reading is stored, once and unaltered."
    ),
    story=story,
    checks=checks.CITY,
    devices=500,
    takes_s=640.0,
    lasts_s_min=1.0,
)
