"""The whole platform behind real pages: upload, find, dim, see it arrive, find it in the audit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.city_platform.dashboard.browser.driving import ARGUMENTS, DIST, chromium
from tests.city_platform.dashboard.installation import PASSWORD, Installation
from tests.city_platform.dashboard.test_whole_flow import EVERYTHING, HARBOUR, LAMP, city, device
from tests.city_platform.ingestion.packs import state, state_topic

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
# Where the pictures of docs/operations/dashboard.md go; none are taken where it is not set.
PICTURES = os.environ.get("LAMPLIGHTER_PICTURES")
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SEND_AS_THIS_PAGE = """async (endpoint) => {
  const { csrf } = await (await fetch("/api/session")).json();
  const answer = await fetch(`/api/control/v1/devices/${endpoint}/commands`, {
    method: "POST", headers: { "X-CSRF-Token": csrf, "Content-Type": "application/json" },
    body: JSON.stringify({ operation: "read", path: "/3/0/0" }),
  });
  return answer.status;
}"""


@contextlib.asynccontextmanager
async def opened_browser() -> AsyncIterator[Browser]:
    program = chromium()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


async def signed_in(browser: Browser, installation: Installation, name: str) -> Page:
    """A page of a session of its own."""
    address = f"http://{installation.addresses['dashboard']['http']}"
    context = await browser.new_context(base_url=address, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    page = await context.new_page()
    await page.goto("/")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Overview").wait_for()
    return page


async def picture(page: Page, name: str, *, theme: str = "light", is_phone: bool = False) -> None:
    """The page as it looks in a theme and a width, for the docs."""
    if PICTURES is None:
        return
    for close in await page.locator(".toast button").all():
        await close.click()
    await page.set_viewport_size(PHONE if is_phone else WIDE)
    await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    # A frame for the colours, and one for what is drawn by them.
    await page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame("
        "() => setTimeout(done, 300))))"
    )
    await page.screenshot(path=Path(PICTURES) / f"dashboard_{name}.png")
    await page.set_viewport_size(WIDE)
    await page.emulate_media(color_scheme="light")


async def _import_harbour(page: Page) -> None:
    await page.get_by_role("link", name="Imports", exact=True).click()
    await page.get_by_label("Manifest file").set_input_files(HARBOUR)
    await page.get_by_role("button", name="Check only").click()
    await page.get_by_text("All 1200 rows can be imported").wait_for()
    await page.get_by_role("button", name="Import 1200 devices").click()
    await page.get_by_text("Finished: 1200 devices provisioned.").wait_for()
    await picture(page, "import")


async def _find_on_the_map(page: Page) -> None:
    await page.get_by_role("link", name="Show on the map").click()
    await page.locator("[data-drawn='true']").wait_for()
    await page.get_by_label("Search devices").fill(LAMP)
    await page.get_by_role("button").filter(has_text=LAMP).first.click()
    await page.get_by_role("article", name=f"Device {LAMP}").wait_for()
    await picture(page, "found")
    await picture(page, "found_dark", theme="dark")
    await picture(page, "found_phone", is_phone=True)
    await page.get_by_role("link", name="Open device").click()
    await page.get_by_role("heading", name=LAMP, level=1).wait_for()


async def _dim(page: Page) -> None:
    slider = page.get_by_label("Dimming level in per cent")
    await slider.focus()
    await page.keyboard.press("Home")
    for _ in range(4):
        await page.keyboard.press("PageUp")
    await page.get_by_role("button", name="Set to 40 %").click()
    await page.get_by_role("cell", name="Succeeded").first.wait_for()


async def _analyst_may_not(page: Page) -> None:
    await page.goto(f"/devices/{LAMP}")
    await page.locator("[data-path='3416/0/3']", has_text="40").wait_for()
    for name in ("Set to", "Send", "Remove", "Revoke"):
        assert await page.get_by_role("button", name=name).count() == 0
    assert await page.get_by_role("link", name="Imports", exact=True).count() == 0
    assert await page.evaluate(SEND_AS_THIS_PAGE, LAMP) == 403


def test_an_operator_imports_a_city_dims_a_lamp_and_finds_it_in_the_audit(tmp_path: Path) -> None:
    chromium()

    async def whole() -> None:
        async with city(tmp_path) as (installation, server, mqtt), opened_browser() as browser:
            await installation.restart_dashboard(
                token_file=str(tmp_path / "dashboard_token"), web_dir=str(DIST)
            )
            await installation.set_up(ann=EVERYTHING, vic=[("port_of_merrow", "analyst")])
            page = await signed_in(browser, installation, "ann")
            vic = await signed_in(browser, installation, "vic")
            await vic.get_by_role("link", name="Map", exact=True).click()
            await vic.get_by_text("No device is on the map yet").wait_for()
            await _import_harbour(page)
            # Another one's map that was open all the while has them, and was not loaded anew.
            await vic.locator("[data-drawn='true']").wait_for()
            await (
                vic.get_by_role("button", name="Not heard yet 1,200")
                .or_(vic.get_by_role("button", name="Not heard yet 1200"))
                .wait_for()
            )
            server.register(LAMP)
            await _find_on_the_map(page)
            async with device(tmp_path, mqtt, LAMP) as lamp:
                lamp.publish(state_topic(LAMP), state(LAMP, values={"3416/0/3": 0.9}), qos=1)
                await page.locator("[data-path='3416/0/3']", has_text="90").wait_for()
                await _dim(page)
                assert server.devices[LAMP].values["/3416/0/1"] == 40
                news = state(LAMP, values={"3416/0/3": 0.4}, sequence=2)
                lamp.publish(state_topic(LAMP), news, qos=1)
                await page.locator("[data-path='3416/0/3']", has_text="40").wait_for()
                await picture(page, "device")
                await picture(page, "device_dark", theme="dark")
                await picture(page, "phone", is_phone=True)
            await page.goto(f"/audit?device={LAMP}&operation=issue_command")
            await page.get_by_role("cell", name="Issue command").first.wait_for()
            await page.get_by_role("cell", name="ann").first.wait_for()
            await picture(page, "audit")
            await _analyst_may_not(vic)
            await picture(vic, "analyst")
            await page.goto("/")
            await (
                page.get_by_text("street lamp")
                .or_(page.get_by_text("Street lamp"))
                .first.wait_for()
            )
            await picture(page, "overview")

    uvloop.run(whole())
