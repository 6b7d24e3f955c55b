"""The pages by themselves, against a made-up city: what is shown, to whom, and how it is used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

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
PAGES = (
    "/", "/map", "/devices/lamp-00001", "/alarms", "/group-commands", "/group-commands/grp-1",
    "/audit", "/bridges", "/imports", "/imports/job1", "/account", "/nowhere",
)  # fmt: skip
# What has to be moved sideways to be read as a whole.
SCROLLED_SIDEWAYS = """[...document.querySelectorAll("body *")]
  .filter((one) => ["auto", "scroll"].includes(getComputedStyle(one).overflowX))
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => `${one.tagName}.${one.className}`)"""
LABELS = "(cells) => cells.map((one) => getComputedStyle(one, '::before').content)"
EDGES = """(cells) => cells.flatMap((one) => [...one.children]).map((one) => {
  const { top, right } = one.getBoundingClientRect();
  return [Math.round(top), Math.round(right)];
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as found:
        yield found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    chromium()
    with fixture_server(400) as found:
        yield found


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened_page(browser, address) as found:
        found.goto("/")
        sign_in(found, "maria")
        yield found


def test_a_wrong_password_is_said_and_the_name_has_the_focus(
    browser: Browser, address: str
) -> None:
    with opened_page(browser, address) as page:
        page.goto("/alarms")
        page.get_by_label("Name").fill("maria")
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("Name or password is wrong").wait_for()
        assert page.evaluate("document.activeElement.name") == "username"


def test_who_signs_in_goes_on_where_they_were(browser: Browser, address: str) -> None:
    with opened_page(browser, address) as page:
        page.goto("/alarms")
        sign_in(page, "maria")
        page.get_by_role("heading", name="Alarms").wait_for()


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_wider_than_a_phone(browser: Browser, address: str, path: str) -> None:
    with opened_page(browser, address, width=360, height=740) as page:
        page.goto(path)
        sign_in(page, "maria")
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_load_state("load")
        page.locator("main .loading").first.wait_for(state="detached")
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_map_that_a_role_does_not_show_is_not_waited_for(browser: Browser, address: str) -> None:
    with opened_page(browser, address) as page:
        page.goto("/")
        sign_in(page, "root")
        page.goto("/map")
        page.get_by_text("Your role does not show devices").wait_for()
        assert page.locator("main .loading").count() == 0


def test_on_a_phone_nothing_of_a_page_is_scrolled_sideways(browser: Browser, address: str) -> None:
    with opened_page(browser, address, width=390, height=844) as page:
        page.goto("/")
        sign_in(page, "maria")
        for path in (*PAGES, "/users"):
            page.goto(path)
            page.get_by_role("heading", level=1).wait_for()
            page.locator("main .loading").first.wait_for(state="detached")
            assert page.evaluate(SCROLLED_SIDEWAYS) == [], path


def test_on_a_phone_an_entry_of_the_audit_is_a_card(browser: Browser, address: str) -> None:
    with opened_page(browser, address, width=390, height=844) as page:
        page.goto("/audit")
        sign_in(page, "maria")
        page.locator("tbody tr").first.wait_for()
        assert page.locator("tbody tr").first.locator("td").evaluate_all(LABELS) == [
            "none", '"Who"', '"What"', '"Device"', '"Outcome"', '"Detail"',
        ]  # fmt: skip
        # Each value is below the one before, and ends where all do.
        edges = page.locator("tbody tr").first.locator("td:not(.lead)").evaluate_all(EDGES)
        assert [top for top, _ in edges] == sorted({top for top, _ in edges})
        assert len({right for _, right in edges}) == 1


def test_each_role_sees_only_what_it_may_do(browser: Browser, address: str) -> None:
    with opened_page(browser, address) as page:
        page.goto("/")
        sign_in(page, "anna")
        menu = page.get_by_role("navigation", name="Pages").get_by_role("link")
        assert menu.all_inner_texts() == ["Overview", "Map", "Alarms", "Bridges"]
        page.goto("/devices/lamp-00001")
        page.get_by_text("Dimming level", exact=True).first.wait_for()
        for name in ("Set to", "Send", "Remove", "Revoke", "Acknowledge"):
            assert page.get_by_role("button", name=name).count() == 0


def test_an_administrator_without_devices_gets_no_map_and_no_live_stream(
    browser: Browser, address: str
) -> None:
    with opened_page(browser, address) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto("/")
        sign_in(page, "root")
        page.get_by_role("link", name="Users", exact=True).click()
        page.get_by_role("cell", name="anna").wait_for()
        assert not [url for url in asked if "/live" in url or "/api/map" in url]


def test_a_lamp_is_dimmed_and_its_outcome_and_value_arrive(page: Page) -> None:
    page.goto("/devices/lamp-00001")
    slider = page.get_by_label("Dimming level in per cent")
    slider.focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    with page.expect_request("**/commands") as sent:
        page.get_by_role("button", name="Set to 3 %").click()
    body = json.loads(sent.value.post_data or "")
    assert body["values"] == [{"path": "/3416/0/1", "type": "integer", "value": 3}]
    assert len(sent.value.headers["idempotency-key"]) == 32
    page.get_by_role("cell", name="Succeeded").first.wait_for()
    page.locator("[data-path='3416/0/3']", has_text="3\u00a0%").wait_for()


def test_text_of_devices_is_never_markup(page: Page) -> None:
    page.goto("/devices/lamp-00002")
    page.get_by_text("<b>Merrow & Sons</b>", exact=True).wait_for()
    assert page.locator("main b", has_text="Merrow").count() == 0


def test_a_wrong_value_is_said_at_its_field_and_nothing_is_sent(page: Page) -> None:
    page.goto("/devices/lamp-00001")
    page.get_by_label("Value", exact=True).fill("101")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_text("Enter 0 to 100.").wait_for()
    assert page.get_by_label("Value", exact=True).get_attribute("aria-invalid") == "true"


def test_a_dialog_keeps_the_focus_and_gives_it_back(page: Page) -> None:
    page.goto("/devices/lamp-00001")
    opener = page.get_by_role("button", name="Remove…")
    opener.focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Remove lamp-00001?").wait_for()
    for _ in range(8):
        page.keyboard.press("Tab")
        is_in_page = (
            "document.activeElement.closest('main') && !document.activeElement.closest('dialog')"
        )
        assert not page.evaluate(is_in_page)
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.locator("button:focus", has_text="Remove…").wait_for()


def test_the_keyboard_skips_to_the_page_and_a_new_page_has_the_focus(page: Page) -> None:
    page.get_by_role("heading", name="Overview").wait_for()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("link", name="Audit", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Audit").wait_for()
    page.locator("#page-heading:focus").wait_for()
    assert page.title() == "Audit · Lamplighter"


def test_the_theme_is_kept_and_goes_before_the_systems(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Dark").check(force=True)
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.get_by_role("heading", name="Overview").wait_for()
    assert page.evaluate(ground) == dark


def test_a_manifest_is_checked_then_imported_and_its_errors_are_there(page: Page) -> None:
    page.goto("/imports")
    manifest = {"name": "harbour.csv", "mimeType": "text/csv", "buffer": b"endpoint,serial\n" * 50}
    page.get_by_label("Manifest file").set_input_files(manifest)
    page.get_by_role("button", name="Check only").click()
    page.get_by_text("1188 rows of 1200 can be imported").wait_for()
    page.get_by_role("button", name="Import 1188 devices").click()
    page.get_by_text("Finished: 1188 devices provisioned, 12 rows refused.").wait_for()
    link = page.get_by_role("link", name="Download all as CSV")
    assert link.get_attribute("href") == "/api/imports/job1/errors.csv"


def test_earlier_imports_are_listed_and_older_ones_are_asked_for(page: Page) -> None:
    page.goto("/imports")
    rows = page.get_by_role("row").filter(has_text="delivery_")
    page.get_by_role("link", name="delivery_80.csv").wait_for()
    assert rows.count() == 49
    page.get_by_role("button", name="Show older").click()
    page.get_by_role("link", name="delivery_2.csv").wait_for()
    assert page.get_by_role("button", name="Show older").count() == 0


def test_a_device_is_found_by_text_and_shown_on_the_map(page: Page) -> None:
    page.goto("/map")
    page.locator("[data-drawn='true']").wait_for()
    page.get_by_label("Search devices").fill("ropewalk")
    found = page.get_by_role("list").get_by_role("button").filter(has_text="Ropewalk")
    name = found.first.locator("b").inner_text()
    found.first.click()
    card = page.get_by_role("article", name=f"Device {name}")
    card.get_by_role("link", name="Open device").click()
    page.get_by_role("heading", name=name, level=1).wait_for()


def test_a_group_command_says_whom_it_is_for_and_asks_twice(page: Page) -> None:
    page.goto("/map")
    page.get_by_label("Search devices").fill("lamp")
    page.get_by_text("devices").first.wait_for()
    page.locator(".results", has_text="First 50").wait_for()
    page.get_by_role("button", name="Send a command to these").click()
    dialog = page.get_by_role("dialog", name="Command to many devices")
    dialog.get_by_text("text: Lamp").wait_for()
    dialog.get_by_role("button", name="Send", exact=True).click()
    with page.expect_request("**/api/control/v1/commands") as sent:
        dialog.get_by_role("button", name="Yes, send to all").click()
    body = json.loads(sent.value.post_data or "")
    assert body["target"] == {"search": {"text": "lamp"}}
    page.get_by_role("heading", name="Write /3416/0/1").wait_for()


def test_an_acknowledged_alarm_says_who_has_seen_it(page: Page) -> None:
    page.goto("/alarms")
    page.get_by_role("button", name="Acknowledge", exact=True).first.click()
    page.get_by_text("Seen by maria").first.wait_for()
