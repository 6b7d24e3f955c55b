"""A dashboard without pages, in a browser: it says what to do, and nothing else is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop

from tests.city_platform.dashboard.browser.driving import chromium
from tests.city_platform.dashboard.browser.test_whole_flow_in_a_browser import (
    opened_browser,
    picture,
)
from tests.city_platform.dashboard.installation import installed

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("path", ["/", "/devices/lamp-1"])
def test_a_browser_is_told_to_build_the_pages(tmp_path: Path, path: str) -> None:
    chromium()

    async def whole() -> None:
        async with (
            installed(tmp_path, web_dir=str(tmp_path / "nothing")) as installation,
            opened_browser() as browser,
        ):
            address = f"http://{installation.addresses['dashboard']['http']}"
            context = await browser.new_context(base_url=address)
            page = await context.new_page()
            asked: list[str] = []
            complaints: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda said: "Policy" in said.text and complaints.append(said.text))
            answer = await page.goto(path)
            assert answer is not None
            assert answer.status == 503
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            await page.get_by_role("heading", name="its pages are not built").wait_for()
            assert await page.get_by_text("make dashboard", exact=True).first.is_visible()
            await picture(page, "not_built")
            await picture(page, "not_built_phone", theme="dark", is_phone=True)
            # A browser asks for an icon by itself.
            assert {url.removeprefix(address) for url in asked} <= {path, "/favicon.ico"}
            assert complaints == []
            await page.get_by_role("link", name="/healthz").click()
            await page.get_by_text('"ok"').wait_for()
            await context.close()

    uvloop.run(whole())
