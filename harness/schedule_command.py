"""`lamplighter schedule`: a city's day ahead of the run, as a file, in figures and as a picture."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress

from harness.city_day import (
    load_city,
    make_window,
    print_figures,
    render_schedule_page,
    write_schedule,
)
from harness.errors import ScenarioError

# A day with all its hours, in the season with the longest nights but not the very longest.
DEFAULT_DATE = "2026-11-21"


@dataclass(frozen=True, slots=True)
class ScheduleOptions:
    """What was asked for, as it was written."""

    city: str
    date: str = DEFAULT_DATE
    begins: str = "00:00"
    ends: str = "24:00"
    utc_offset: str | None = None
    speed: float = 60.0
    devices: int | None = None
    seed: int = 1
    life: Path | None = None
    out: Path | None = None
    html: Path | None = None
    as_json: bool = False


def make_schedule(options: ScheduleOptions, console: Console) -> None:
    """Let the day happen, write what is wanted, print the figures. Raises `ScenarioError`."""
    if options.html is not None and not options.html.parent.is_dir():
        # Found before the day has been worked out, not after.
        folder = options.html.parent
        raise ScenarioError(
            f"cannot write {options.html}: {folder} is no folder; choose another --html"
        )
    city = load_city(options.city, options.seed, options.devices, options.life)
    window = make_window(
        options.date,
        options.begins,
        options.ends,
        options.speed,
        city.longitude,
        options.utc_offset,
    )
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("the day goes on", total=1.0)
        figures = write_schedule(
            city, window, options.date, options.out, lambda done: bar.update(task, completed=done)
        )
    if options.html is not None:
        _write_page(options.html, render_schedule_page(figures))
    if options.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(figures), indent=2).decode())
        sys.stdout.write("\n")
        return
    print_figures(figures, console)
    for path in (options.out, options.html):
        if path is not None:
            console.out(f"written: {path}", highlight=False)


def _write_page(path: Path, page: str) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise ScenarioError(
            f"cannot write {path}: {error.strerror}; choose another --html"
        ) from error
    finally:
        part.unlink(missing_ok=True)
