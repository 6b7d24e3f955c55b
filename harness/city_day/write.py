"""Writes a city's day: a schedule's file, as a stream, and its figures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from contracts.schedule import ScheduledEvent, ScheduleHeader, encode_event, encode_header
from harness.city_day.city import City, CityDevice
from harness.city_day.day import Progress, no_progress, simulate
from harness.city_day.tally import ScheduleFigures, Tally
from harness.city_day.window import Window
from harness.errors import ScenarioError


def write_schedule(
    city: City, window: Window, date: str, out: Path | None, progress: Progress = no_progress
) -> ScheduleFigures:
    """Let the day happen, write its events to `out` (None: nowhere), and give its figures.

    The file appears when it is whole. Raises `ScenarioError` when it cannot be written.
    """
    tally = Tally(city, window)
    if out is None:
        return tally.figures(date, simulate(city, window, tally.add, progress).happenings)
    with _new_file(out) as file:
        file.write(_header(city, window, 0))

        def take(device: CityDevice, event: ScheduledEvent) -> None:
            file.write(encode_event(event))
            tally.add(device, event)

        day = simulate(city, window, take, progress)
        file.seek(0)
        file.write(_header(city, window, tally.events))
    return tally.figures(date, day.happenings)


def _header(city: City, window: Window, events: int) -> bytes:
    return encode_header(
        ScheduleHeader(
            city=city.name,
            seed=city.seed,
            from_s=window.from_s,
            to_s=window.to_s,
            speed=window.speed,
            events=events,
            devices=len(city.devices),
        )
    )


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when all went well, and is gone otherwise."""
    # Beside the file itself, so that the renaming is one step.
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb", buffering=1 << 20) as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise ScenarioError(
            f"cannot write {path}: {error.strerror}; choose another --out"
        ) from error
    finally:
        part.unlink(missing_ok=True)
