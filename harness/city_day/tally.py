"""What a schedule asks for, counted while it is written: by model and kind, and over time."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from math import ceil

import msgspec

from contracts.schedule import ScheduledEvent
from harness.city_day.city import City, CityDevice
from harness.city_day.diary import Happening
from harness.city_day.window import Window

_SLICES = 240
# Kinds after which a device sends something by itself.
_SENDING = frozenset({"report", "power_on", "switch_on"})


class HappeningFigure(msgspec.Struct, frozen=True, kw_only=True):
    """Something worth a word: rain, a cut, a round, a repair."""

    at_s: float
    city_time: str
    kind: str
    text: str


class ScheduleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule in figures. Rates are per second of the run; slices divide it evenly."""

    city: str
    seed: int
    date: str
    from_time: str
    to_time: str
    utc_offset_s: float
    speed: float
    duration_s: float
    devices: dict[str, int]
    events: int
    counts: dict[str, dict[str, int]]
    reports: int
    reports_per_s_mean: float
    reports_per_s_peak: float
    peak_at_s: float
    peak_city_time: str
    slice_s: float
    reports_by_slice: dict[str, list[int]]
    without_power_by_slice: list[int]
    """Devices at the end of each slice."""
    open_incidents_by_slice: list[int]
    """Likewise."""
    happenings: list[HappeningFigure]


def _end(clock: str) -> str:
    """A day ends at 24:00, the next one begins at 00:00."""
    return "24:00" if clock == "00:00" else clock


class Tally:
    """Counts events as they come."""

    def __init__(self, city: City, window: Window) -> None:
        self._city = city
        self._window = window
        self._counts: Counter[tuple[str, str]] = Counter()
        self._by_second: Counter[int] = Counter()
        self.slice_s = window.duration_s / _SLICES
        self._reports: dict[str, list[int]] = {}
        self._others: dict[str, list[int]] = {}
        for device in city.devices:
            self._reports.setdefault(device.model, [0] * _SLICES)

    def add(self, device: CityDevice, event: ScheduledEvent) -> None:
        """One more event."""
        kind, model = event.kind, device.model
        self._counts[model, kind] += 1
        place = min(_SLICES - 1, int(event.at_s / self.slice_s))
        if kind in _SENDING:
            self._by_second[int(event.at_s)] += 1
            self._reports[model][place] += 1
        if kind not in ("set", "report"):
            self._others.setdefault(kind, [0] * _SLICES)[place] += 1

    @property
    def events(self) -> int:
        """How many there were."""
        return self._counts.total()

    def figures(self, date: str, happenings: list[Happening]) -> ScheduleFigures:
        """The figures of all that was added."""
        window = self._window
        counts: dict[str, dict[str, int]] = {}
        for (model, kind), count in sorted(self._counts.items()):
            counts.setdefault(model, {})[kind] = count
        # The first of equal seconds; a run shorter than a second has its mean for a peak.
        peak_at, peak = max(
            self._by_second.items(), key=lambda each: (each[1], -each[0]), default=(0, 0)
        )
        reports = self._by_second.total()
        peak_s = float(min(peak_at, max(0, ceil(window.duration_s) - 1)))
        return ScheduleFigures(
            city=self._city.name,
            seed=self._city.seed,
            date=date,
            from_time=window.clock(window.from_s),
            to_time=_end(window.clock(window.to_s)),
            utc_offset_s=window.utc_offset_s,
            speed=window.speed,
            duration_s=window.duration_s,
            devices=dict(sorted(Counter(device.model for device in self._city.devices).items())),
            events=self.events,
            counts=counts,
            reports=reports,
            reports_per_s_mean=reports / window.duration_s,
            reports_per_s_peak=max(float(peak), reports / window.duration_s),
            peak_at_s=peak_s,
            peak_city_time=window.clock(window.from_s + peak_s * window.speed),
            slice_s=self.slice_s,
            reports_by_slice=self._reports,
            without_power_by_slice=self._level("power_off", "power_on"),
            open_incidents_by_slice=self._level("incident_begins", "incident_ends"),
            happenings=[self._happening(happening) for happening in happenings],
        )

    def _level(self, begins: str, ends: str) -> list[int]:
        """How many have begun and not ended, at the end of each slice but the last.

        What goes on at the schedule's end is ended by it: the last slice is as it was before that.
        """
        begun = self._others.get(begins, [0] * _SLICES)
        ended = self._others.get(ends, [0] * _SLICES)
        levels = list(accumulate(b - e for b, e in zip(begun, ended, strict=True)))
        return [*levels[:-1], levels[-2]]

    def _happening(self, happening: Happening) -> HappeningFigure:
        return HappeningFigure(
            at_s=self._window.at_s(happening.t_s),
            city_time=self._window.clock(happening.t_s),
            kind=happening.kind,
            text=happening.text,
        )
