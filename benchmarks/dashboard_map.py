"""How soon a browser shows a city's map, and how it stays while devices change.

    python -m benchmarks.dashboard_map [--devices N] [--times N] [--changes N/s] [--seconds S]

A headless Chromium opens the dashboard's pages, served with a made-up city of so many devices (the
server that the pages' tests have), each time with empty caches. Timed is the map page from the
browser's request until all devices are drawn; then, with so many changes a second, the frames, and
how long keys waited before the page took them (Event Timing). Needs Chromium, playwright and
`make dashboard`; `skipped` says what is missing.

Prints one JSON line: milliseconds to the first map, CPU seconds of the browser, frames a second,
and the longest input delay and task in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psutil

from benchmarks.rig import Fields, plain_conditions, write_line

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Event Timing tells of events from 16 ms on; shorter ones count as none.
WATCH = """() => {
  window.seen = { frames: 0, begun: performance.now(), delays: [], durations: [], tasks: [] };
  const watch = (type, take, more) => new PerformanceObserver(
    (list) => list.getEntries().forEach(take)).observe({ type, ...more });
  watch("event", (one) => {
    seen.delays.push(one.processingStart - one.startTime);
    seen.durations.push(one.duration);
  }, { durationThreshold: 16 });
  watch("longtask", (one) => seen.tasks.push(one.duration));
  const frame = () => { seen.frames += 1; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""
READ = """() => ({
  frames_per_s: 1000 * seen.frames / (performance.now() - seen.begun),
  longest_input_delay_ms: Math.max(0, ...seen.delays),
  longest_event_ms: Math.max(0, ...seen.durations),
  longest_task_ms: Math.max(0, ...seen.tasks),
})"""
KEY_EVERY_MS = 200


@contextlib.contextmanager
def pages_served(devices: int, changes_per_s: int) -> Iterator[str]:
    """The address of a made-up city's pages."""
    from tests.city_platform.dashboard.browser.driving import fixture_server

    with fixture_server(devices, changes_per_s) as address:
        yield address


def browser_cpu_s() -> float:
    """CPU used so far by the browser and all its processes, in seconds."""
    used = 0.0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "fixture_server" not in " ".join(child.cmdline()):
                times = child.cpu_times()
                used += times.user + times.system
    return used


def first_map(browser: Browser, address: str) -> tuple[float, float]:
    """Milliseconds until the map is drawn, and CPU seconds of it, with empty caches."""
    from tests.city_platform.dashboard.browser.driving import opened_page, sign_in

    with opened_page(browser, address) as page:
        page.goto("/account")
        sign_in(page, "maria")
        page.get_by_role("heading", level=1).wait_for()
        page.context.new_cdp_session(page).send("Network.clearBrowserCache")
        before_s = browser_cpu_s()
        page.goto("/map")
        page.locator("[data-drawn='true']").wait_for()
        took_ms = page.evaluate("performance.getEntriesByName('city-map-drawn')[0].startTime")
        return took_ms, browser_cpu_s() - before_s


def while_it_changes(page: Page, seconds: float) -> Fields:
    """How the page does while devices change and somebody presses keys on the map."""
    from tests.city_platform.dashboard.browser.driving import sign_in

    page.goto("/map")
    sign_in(page, "maria")
    page.locator("[data-drawn='true']").wait_for()
    page.locator(".map-canvas").focus()
    page.evaluate(WATCH)
    before_s, ends = browser_cpu_s(), time.monotonic() + seconds
    keys = 0
    while time.monotonic() < ends:
        page.keyboard.press(("ArrowRight", "ArrowLeft")[keys % 2])
        keys += 1
        page.wait_for_timeout(KEY_EVERY_MS)
    found: Fields = {name: round(one, 1) for name, one in page.evaluate(READ).items()}
    return {**found, "keys": keys, "cpu_share": round((browser_cpu_s() - before_s) / seconds, 3)}


def measure(devices: int, times: int, changes_per_s: int, seconds: float) -> Fields:
    """The figures of one machine."""
    from tests.city_platform.dashboard.browser.driving import (
        chromium_program,
        opened_browser,
        opened_page,
    )

    chromium_program()
    with opened_browser() as browser:
        with pages_served(devices, 0) as address:
            maps = [first_map(browser, address) for _ in range(times)]
        with (
            pages_served(devices, changes_per_s) as address,
            opened_page(browser, address) as page,
        ):
            live = while_it_changes(page, seconds)
        version = browser.version
    return {
        "benchmark": "dashboard_map",
        "devices": devices,
        "first_map_ms": {
            "median": round(statistics.median(one for one, _ in maps)),
            "best": round(min(one for one, _ in maps)),
            "worst": round(max(one for one, _ in maps)),
        },
        "first_map_cpu_s": round(statistics.median(one for _, one in maps), 2),
        "changes_per_s": changes_per_s,
        "live": live,
        "chromium": version,
        "conditions": plain_conditions(),
    }


def main() -> None:
    """Measure and print the line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=5, help="first maps")
    parser.add_argument("--changes", type=int, default=500, help="a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="of changes")
    told = parser.parse_args()
    from tests.city_platform.dashboard.browser.driving import Missing

    try:
        line = measure(told.devices, told.times, told.changes, told.seconds)
    except Missing as error:
        line = {
            "benchmark": "dashboard_map", "skipped": str(error), "conditions": plain_conditions()
        }  # fmt: skip
    write_line(line, sys.stdout.write)


if __name__ == "__main__":
    main()
