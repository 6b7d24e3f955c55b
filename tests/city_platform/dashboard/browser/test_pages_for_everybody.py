"""Every page by axe-core's rules (WCAG 2.2 A and AA), in both themes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.city_platform.dashboard.browser.driving import (
    WEB,
    chromium,
    fixture_server,
    opened_browser,
    opened_page,
    sign_in,
)
from tests.city_platform.dashboard.browser.test_pages_in_a_browser import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
WCAG = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
# The other theme has the same elements in other colours.
RULES = {"light": WCAG, "dark": {"type": "rule", "values": ["color-contrast"]}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not AXE.exists():
        pytest.skip("needs axe-core, which `make dashboard` installs")
    with opened_browser() as found:
        yield found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    chromium()
    with fixture_server(400) as found:
        yield found


def faults(page: Page, theme: str) -> list[str]:
    """What is wrong with a page, in one line each."""
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate(
        "(rules) => axe.run(document, { runOnly: rules, resultTypes: ['violations'] })",
        RULES[theme],
    )
    assert found["passes"], "nothing was looked at"
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_breaks_a_rule_of_accessibility(browser: Browser, address: str, theme: str) -> None:
    with opened_page(browser, address, theme=theme) as page:
        page.goto("/")
        page.get_by_role("button", name="Sign in").wait_for()
        wrong = {"signing in": faults(page, theme)}
        sign_in(page, "maria")
        for path in PAGES:
            page.goto(path)
            page.get_by_role("heading", level=1).wait_for()
            page.locator("main .loading").first.wait_for(state="detached")
            wrong[path] = faults(page, theme)
    assert {path: found for path, found in wrong.items() if found} == {}
