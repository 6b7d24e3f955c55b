"""Where an axis of city time has its labels: at both ends, and at round times between them."""

from __future__ import annotations

from harness.city_day.tally import ScheduleFigures
from harness.reporting.scale import Tick

_STEPS_MIN = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360)


def time_ticks(figures: ScheduleFigures, most: int) -> list[Tick]:
    """About `most` ticks or fewer, in seconds of the run, labelled with the city's clock."""
    hours, minutes = figures.from_time.split(":")
    begins_min = 60 * int(hours) + int(minutes)
    length_min = figures.duration_s * figures.speed / 60.0
    step = next((step for step in _STEPS_MIN if length_min / step <= most - 1), _STEPS_MIN[-1])
    ticks = [Tick(0.0, figures.from_time)]
    at_min = (begins_min // step + 1) * step
    while at_min < begins_min + length_min - step / 2.0:
        # A label of its own only where it does not run into the first.
        if at_min >= begins_min + step / 2.0:
            label = f"{at_min // 60 % 24:02d}:{at_min % 60:02d}"
            ticks.append(Tick((at_min - begins_min) * 60.0 / figures.speed, label))
        at_min += step
    return [*ticks, Tick(figures.duration_s, figures.to_time)]
