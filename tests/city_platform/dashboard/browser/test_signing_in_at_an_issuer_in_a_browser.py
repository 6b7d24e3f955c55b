"""Signing in at another issuer, driven: to its page and back, with a wrong password first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from city_platform.dashboard import OidcSignIn
from tests.city_platform.dashboard.browser.driving import DIST, chromium
from tests.city_platform.dashboard.browser.test_whole_flow_in_a_browser import (
    opened_browser,
    picture,
)
from tests.city_platform.dashboard.installation import Installation
from tests.city_platform.dashboard.small_issuer import CLIENT, PASSWORD, SmallIssuer
from tests.city_platform.dashboard.test_signing_in_at_an_issuer import story

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
ALL_THAT_SCRIPTS_SEE = "JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])"


async def _ask_the_issuer(page: Page, issuer: SmallIssuer, password: str) -> None:
    """From the dashboard's page to the issuer's, and a password there."""
    await page.get_by_role("link", name="Sign in with Merrow").click()
    await page.wait_for_url(f"{issuer.url}/authorize?*")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Allow").click()


def test_an_analyst_signs_in_at_the_issuer_comes_back_to_the_page_and_signs_out(
    tmp_path: Path,
) -> None:
    chromium()

    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        await installation.restart_dashboard(
            web_dir=str(DIST),
            oidc=OidcSignIn(issuer=issuer.url, client_id=CLIENT, label="Merrow"),
        )
        address = f"http://{installation.addresses['dashboard']['http']}"
        async with opened_browser() as browser:
            context = await browser.new_context(base_url=address, reduced_motion="reduce")
            context.set_default_timeout(30_000)
            page = await context.new_page()
            complaints: list[str] = []
            asked: list[str] = []
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: "Policy" in said.text and complaints.append(said.text))
            page.on("request", lambda request: asked.append(request.url))

            await page.goto("/map")
            await page.get_by_role("link", name="Sign in with Merrow").wait_for()
            assert await page.get_by_label("Password").count() == 0
            await picture(page, "sign_in_at_an_issuer")
            await picture(page, "sign_in_at_an_issuer_phone", theme="dark", is_phone=True)

            await _ask_the_issuer(page, issuer, "guessed")
            await page.get_by_role("alert").get_by_text("You were not signed in").wait_for()
            assert "sign-in=" not in page.url

            await page.goto("/map")
            await _ask_the_issuer(page, issuer, PASSWORD)
            await page.get_by_role("heading", name="Map", level=1).wait_for()
            assert page.url == f"{address}/map"
            await page.get_by_text("ann", exact=True).wait_for()
            # As the issuer's group says: an analyst.
            await page.get_by_text("analyst", exact=True).wait_for()
            assert await page.get_by_role("link", name="Imports", exact=True).count() == 0
            # Neither tokens nor the session are within a script's reach.
            assert "eyJ" not in await page.evaluate(ALL_THAT_SCRIPTS_SEE)
            assert await page.evaluate("document.cookie") == ""

            await page.reload()
            await page.get_by_role("heading", name="Map", level=1).wait_for()
            await page.get_by_role("button", name="Sign out").click()
            await page.get_by_role("link", name="Sign in with Merrow").wait_for()
            assert len(issuer.revoked) == 1
            await page.goto("/map")
            await page.get_by_role("link", name="Sign in with Merrow").wait_for()
            assert complaints == []
            outside = [url for url in asked if not url.startswith((address, issuer.url))]
            assert [url for url in outside if not url.startswith(("data:", "blob:"))] == []
            await context.close()

    # By another name, so that it is another site to the browser, as issuers are.
    story(tmp_path, tell, "harbour:analyst", host="localhost")
