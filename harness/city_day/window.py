"""Which part of which day is wanted, and how fast: between city time and time of the run.

A city's clock shows mean solar time at its middle, to the full minute, which is what its devices
go by; or civil time, where a difference to UTC is given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite

from fake_devices.behaviours.rhythm import DAY_S
from harness.errors import ScenarioError

_HOUR_S = 3_600.0
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?", re.ASCII)
_OFFSET = re.compile(r"([+-])([0-9]{1,2}):([0-9]{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """City time from `from_s` to `to_s`, Unix seconds, at `speed` city seconds a second."""

    from_s: float
    to_s: float
    speed: float
    utc_offset_s: float

    @property
    def duration_s(self) -> float:
        """Seconds that a run takes."""
        return (self.to_s - self.from_s) / self.speed

    def at_s(self, t_s: float) -> float:
        """Seconds after the run's start, to the millisecond, for city time `t_s`."""
        return round((t_s - self.from_s) / self.speed, 3)

    def hour(self, t_s: float) -> float:
        """Hours since midnight by the city's clock, 0 (included) to 24 (excluded)."""
        return ((t_s + self.utc_offset_s) % DAY_S) / _HOUR_S

    def next_hour_s(self, hour: float, t_s: float) -> float:
        """When the city's clock shows `hour` for the first time after `t_s`."""
        midnight_s = t_s - self.hour(t_s) * _HOUR_S
        found_s = midnight_s + hour * _HOUR_S
        return found_s if found_s > t_s else found_s + DAY_S

    def clock(self, t_s: float) -> str:
        """What the city's clock shows: `17:12`."""
        return f"{datetime.fromtimestamp(t_s + self.utc_offset_s, UTC):%H:%M}"

    @property
    def begins_s(self) -> float:
        """Where the model begins: noon of the day before, so that evening, night and the morning's
        rounds lie behind whatever is wanted, and a day's hours do not depend on which are asked."""
        midnight_s = self.from_s - self.hour(self.from_s) * _HOUR_S
        return midnight_s - DAY_S / 2.0


def make_window(
    day: str, begins: str, ends: str, speed: float, longitude: float, utc_offset: str | None = None
) -> Window:
    """A window from what a user wrote: `2026-11-21`, `16:00`, `20:00`, 60, `+01:00`.

    An end that is not after the begin is on the next day; `24:00` is midnight. Raises
    `ScenarioError`.
    """
    if not (isfinite(speed) and speed > 0.0):
        raise ScenarioError(f"--speed {speed:g}: a number above 0 is needed, 1 is real time")
    offset_s = _solar_offset_s(longitude) if utc_offset is None else _offset_s(utc_offset)
    midnight_s = _midnight_s(day) - offset_s
    from_clock_s, to_clock_s = _clock_s("--from", begins), _clock_s("--to", ends)
    if to_clock_s <= from_clock_s:
        to_clock_s += DAY_S
    return Window(midnight_s + from_clock_s, midnight_s + to_clock_s, speed, offset_s)


def _solar_offset_s(longitude: float) -> float:
    return round(longitude * 240.0 / 60.0) * 60.0


def _offset_s(text: str) -> float:
    found = _OFFSET.fullmatch(text)
    if found is None or int(found[2]) > 14 or int(found[3]) > 59:
        raise ScenarioError(f"--utc-offset {text!r}: write it as +01:00")
    seconds = 3600.0 * int(found[2]) + 60.0 * int(found[3])
    return -seconds if found[1] == "-" else seconds


def _midnight_s(day: str) -> float:
    try:
        found = date.fromisoformat(day)
    except ValueError:
        raise ScenarioError(f"--date {day!r}: write it as 2026-11-21") from None
    # The almanac behind the sun is good for these years.
    if not 1950 < found.year < 2050:
        raise ScenarioError(f"--date {day}: the sun is known from 1951 to 2049")
    return datetime(found.year, found.month, found.day, tzinfo=UTC).timestamp()


def _clock_s(option: str, text: str) -> float:
    found = _CLOCK.fullmatch(text)
    if found is not None:
        hours, minutes, seconds = int(found[1]), int(found[2]), int(found[3] or 0)
        clock_s = 3600.0 * hours + 60.0 * minutes + seconds
        if minutes < 60 and seconds < 60 and clock_s <= DAY_S:
            return clock_s
    raise ScenarioError(f"{option} {text!r}: write it as 16:00, from 00:00 to 24:00")
