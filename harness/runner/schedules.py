"""Schedules that a story makes itself, as files that fleets follow: dusk, and a power cut."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from contracts.manifest import ManifestRow
from contracts.schedule import (
    ScheduledEvent,
    ScheduleHeader,
    ScheduleReader,
    encode_event,
    encode_header,
)
from harness.checks.city import LIT_PATH, SCHEDULED
from harness.runner.run import Run
from runtime.files import write_atomically

SCHEDULE_FILE: Final = "schedule.ndjson"
# When lamps of a city light up: most near the middle of dusk, so many draws of chance on average.
_PHOTOCELL_DRAWS: Final = 4
# Times are rounded to milliseconds: two that are closer could change places.
_ROUNDING_S: Final = 0.001


def dusk(lamps: Sequence[str], seed: int, *, within_s: float) -> list[ScheduledEvent]:
    """Every lamp lights up and reports it once, at a time of its own: the photocells differ."""
    chance = random.Random(f"{seed}/dusk")
    events = []
    for lamp in lamps:
        share = sum(chance.random() for _ in range(_PHOTOCELL_DRAWS)) / _PHOTOCELL_DRAWS
        events.append(ScheduledEvent(share * within_s, lamp, "report", LIT_PATH, True))
    return in_order(events)


def power_cut(
    endpoints: Sequence[str],
    seed: int,
    *,
    begins_s: float,
    outage_s: float,
    return_within_s: float,
    report_every_s: float,
    ends_s: float,
) -> list[ScheduledEvent]:
    """Everybody loses power at one moment and returns, in random order, within a window.

    Before it, and from its own return on, each device reports again and again.
    """
    chance = random.Random(f"{seed}/power_cut")
    order = list(endpoints)
    chance.shuffle(order)
    events = []
    for place, endpoint in enumerate(order):
        back_s = begins_s + outage_s + return_within_s * place / len(order)
        events.append(ScheduledEvent(begins_s, endpoint, "power_off"))
        events.append(ScheduledEvent(back_s, endpoint, "power_on"))
        first_s = chance.random() * report_every_s
        at_s = first_s
        while at_s < ends_s:
            if not begins_s - _ROUNDING_S <= at_s <= back_s + _ROUNDING_S:
                events.append(ScheduledEvent(at_s, endpoint, "report"))
            at_s += report_every_s
    return in_order(events)


def in_order(events: Iterable[ScheduledEvent]) -> list[ScheduledEvent]:
    """The events by time, which a schedule rounds to milliseconds; one device's keep theirs."""
    rounded = (
        ScheduledEvent(round(each.at_s, 3), each.endpoint, each.kind, each.path, each.value)
        for each in events
    )
    return sorted(rounded, key=lambda event: event.at_s)


def write_events(
    run: Run, events: Sequence[ScheduledEvent], rows: Sequence[ManifestRow], *, lasts_s: float
) -> Path:
    """The events as the run's schedule file. City time goes at the speed of the run."""
    path = run.bench.plan.output_dir / SCHEDULE_FILE
    now_s = run.clock.wall_us() / 1e6
    header = ScheduleHeader(
        city=rows[0].site,
        seed=run.options.seed,
        from_s=now_s,
        to_s=now_s + lasts_s,
        speed=1.0,
        events=len(events),
        devices=len(rows),
    )
    write_atomically(path, encode_header(header) + b"".join(map(encode_event, events)))
    return path


def want_schedule(run: Run, path: Path) -> ScheduleHeader:
    """Journal how many events of each kind the file has, for the check that they are issued."""
    with path.open("rb") as lines:
        reader = ScheduleReader(lines, str(path))
        kinds = Counter(event.kind for event in reader)
    run.want(**{SCHEDULED + kind: float(number) for kind, number in sorted(kinds.items())})
    return reader.header
