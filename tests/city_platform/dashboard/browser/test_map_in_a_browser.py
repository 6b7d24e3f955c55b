"""The map with 10,000 devices: how it is used, and that little is done for what little changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.city_platform.dashboard.browser.driving import (
    chromium,
    fixture_server,
    opened_browser,
    opened_page,
    sign_in,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
DEVICES = 10_000
MAP = "document.querySelector('.map-canvas').cityMap"
CHANGED_PER_S = 500
# What is stamped for a device of a state: the map is drawn with that state alone.
PIXELS_OF = """(state) => new Promise((done) => {
  const map = document.querySelector('.map-canvas').cityMap;
  const names = ["unknown", "offline", "online", "warning", "critical"];
  const { wholes } = map.work;
  map.show(names.map((one) => one === state));
  const look = () => {
    if (map.work.wholes === wholes) return requestAnimationFrame(look);
    const canvas = document.querySelector('.map-points');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    let drawn = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] < 128) continue;
      drawn += 1;
      seen.add(data.slice(at, at + 4).join());
    }
    done({ drawn, all: [...seen].sort().slice(0, 40).join(";") + seen.size });
  };
  requestAnimationFrame(look);
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as found:
        yield found


@pytest.fixture(scope="module")
def still() -> Iterator[str]:
    chromium()
    with fixture_server(DEVICES) as found:
        yield found


@pytest.fixture
def page(browser: Browser, still: str) -> Iterator[Page]:
    with opened_page(browser, still) as found:
        drawn(found)
        yield found


def drawn(page: Page) -> None:
    page.goto("/map")
    sign_in(page, "maria")
    page.locator("[data-drawn='true']").wait_for()


def until(page: Page, condition: str) -> None:
    """Looked at in the page, once a frame: its policy allows no text to become code later."""
    page.evaluate(
        f"new Promise((done) => {{ const look = () => ({condition}) ? done()"
        " : requestAnimationFrame(look); look(); })"
    )


def box(page: Page) -> dict[str, float]:
    found: dict[str, float] = page.evaluate(f"{MAP}.box()")
    return found


def settled(page: Page, before: dict[str, float]) -> dict[str, float]:
    """What is in view once it is something else."""
    until(page, f"JSON.stringify({MAP}.box()) !== {as_text(before)}")
    return box(page)


def as_text(found: dict[str, Any]) -> str:
    pairs = ", ".join(f"{name}: {value!r}" for name, value in found.items())
    return f"JSON.stringify({{{pairs}}})"


def test_the_first_map_is_one_drawing_and_a_handful_of_requests(
    browser: Browser, still: str
) -> None:
    with opened_page(browser, still) as page:
        page.goto("/account")
        sign_in(page, "maria")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.removeprefix(still)))
        page.goto("/map")
        page.locator("[data-drawn='true']").wait_for()
        work = page.evaluate(f"{MAP}.work")
        # Once, and once more where the page was laid out anew in between.
        assert work["wholes"] <= 3
        assert work["circles"] <= 3 * DEVICES
        assert asked.count("/api/map") == 1
        assert len([one for one in asked if one.startswith("/assets/")]) <= 4
        sizes = page.evaluate(
            "performance.getEntriesByType('resource')"
            ".filter(({ name }) => name.endsWith('.js')).map((one) => one.decodedBodySize)"
        )
        assert sum(sizes) < 250_000


def test_what_changes_is_drawn_and_the_rest_is_left_as_it_is(browser: Browser) -> None:
    with fixture_server(DEVICES, CHANGED_PER_S) as address, opened_page(browser, address) as page:
        drawn(page)
        revision = f"{MAP}.revision"
        until(page, f"{revision} > 2")
        before, seen = page.evaluate(f"[{MAP}.work, {revision}]")
        until(page, f"{revision} > {seen} + 30")
        after, now = page.evaluate(f"[{MAP}.work, {revision}]")
        messages = now - seen
        circles = after["circles"] - before["circles"]
        assert after["wholes"] - before["wholes"] <= 1
        assert 0 < circles < 0.35 * DEVICES * messages
        # No page keeps what has gone by.
        assert page.evaluate("document.querySelectorAll('*').length") < 2_000


def test_the_map_is_moved_and_neared_by_keys_wheel_and_pointer(page: Page) -> None:
    first = box(page)
    page.locator(".map-canvas").focus()
    page.keyboard.press("ArrowRight")
    moved = settled(page, first)
    assert moved["west"] > first["west"]
    assert moved["north"] == pytest.approx(first["north"])
    page.keyboard.press("+")
    nearer = settled(page, moved)
    assert nearer["east"] - nearer["west"] == pytest.approx((moved["east"] - moved["west"]) / 2)
    page.mouse.move(900, 400)
    page.mouse.wheel(0, 320)
    further = settled(page, nearer)
    assert further["east"] - further["west"] > nearer["east"] - nearer["west"]
    page.mouse.down()
    page.mouse.move(950, 430, steps=3)
    page.mouse.up()
    dragged = settled(page, further)
    assert dragged["west"] < further["west"]
    assert dragged["north"] > further["north"]
    page.get_by_role("button", name="Show the whole city").click()
    whole = settled(page, dragged)
    assert whole["west"] == pytest.approx(first["west"])


def test_a_click_on_a_circle_chooses_its_device_and_one_beside_it_none(page: Page) -> None:
    page.get_by_label("Search devices").fill("lamp-00012")
    page.locator(".results li", has_text="lamp-00012").get_by_role("button").click()
    card = page.get_by_role("article")
    card.get_by_text("lamp-00012").wait_for()
    at = page.evaluate(f"{MAP}.pixelOf('lamp-00012')")
    corner = page.locator(".map-canvas").bounding_box()
    assert corner is not None
    card.get_by_role("button", name="Close").click()
    card.wait_for(state="detached")
    page.mouse.click(corner["x"] + at["x"], corner["y"] + at["y"])
    page.get_by_role("article", name="Device lamp-00012").wait_for()
    page.mouse.click(corner["x"] + at["x"] + 40, corner["y"] + at["y"] + 60)
    page.get_by_role("article").wait_for(state="detached")


def test_a_state_that_is_switched_off_is_neither_drawn_nor_clicked(page: Page) -> None:
    def drawn_circles() -> int:
        work = page.evaluate(f"{MAP}.work")
        page.get_by_role("button", name="Show the whole city").click()
        until(page, f"{MAP}.work.wholes > {work['wholes']}")
        found: int = page.evaluate(f"{MAP}.work.circles - {work['circles']}")
        return found

    all_of_them = drawn_circles()
    assert all_of_them == DEVICES
    legend = page.get_by_role("group", name="States shown on the map")
    legend.get_by_role("button", name="Online").click()
    legend.get_by_role("button", name="Online", pressed=False).wait_for()
    assert drawn_circles() < 0.2 * DEVICES


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_device_of_each_state_is_seen_and_looks_unlike_the_others(
    browser: Browser, still: str, theme: str
) -> None:
    with opened_page(browser, still, theme=theme) as page:
        drawn(page)
        looks = set()
        for state in ("critical", "warning", "online", "offline", "unknown"):
            look = page.evaluate(PIXELS_OF, state)
            # Something is drawn, and more than a few pixels of it.
            assert look["drawn"] > 8, state
            looks.add(look["all"])
        assert len(looks) == 5
