"""Signing in at another issuer: what comes back must be what was asked for, in the same browser."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from city_platform import provisioning
from city_platform.dashboard import DashboardConfig, OidcSignIn
from city_platform.dashboard.component import run
from city_platform.identity import AccessConfig
from runtime.clock import SystemClock
from tests.city_platform.dashboard.installation import PAGE, TOKEN, Browser, Installation
from tests.city_platform.dashboard.small_issuer import CLIENT, PASSWORD, SmallIssuer
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
Tell = Callable[[Installation, SmallIssuer], Awaitable[None]]


def story(folder: Path, tell: Tell, *groups: str, host: str = "127.0.0.1") -> None:
    """A dashboard without the identity component, whose people are the issuer's."""

    async def whole() -> None:
        clock = SystemClock()
        issuer = SmallIssuer(clock, list(groups))
        installation = Installation(folder, clock)
        (folder / "token").write_text(TOKEN)
        (folder / "web").mkdir()
        (folder / "web" / "index.html").write_text(PAGE)
        async with issuer.serving(host):
            try:
                access = AccessConfig(issuer=issuer.url, audience=CLIENT)
                await installation.start(
                    "provisioning",
                    provisioning.run,
                    provisioning.ProvisioningConfig(
                        state_dir=str(folder / "provisioning"),
                        token_file=installation.token_file,
                        access=access,
                        broker_uri="mqtts://127.0.0.1:8883",
                        services=("svc:control",),
                    ),
                )
                await installation.restart_dashboard(
                    oidc=OidcSignIn(issuer=issuer.url, client_id=CLIENT, label="Merrow"),
                    provisioning=installation.addresses["provisioning"]["http"],
                )
                await tell(installation, issuer)
            finally:
                await installation.close()

    asyncio.run(whole())


async def begun(browser: Browser, to: str = "/map") -> str:
    """Where the dashboard sends a browser that wants to sign in."""
    answer = await browser.get(f"/api/sign-in/start?to={to}")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def approved(place: str, password: str = PASSWORD) -> str:
    """Where the issuer sends the browser back to."""
    parts = urlsplit(place)
    query = base64.b64encode(parts.query.encode()).decode()
    async with httpx.AsyncClient(verify=False, timeout=WITHIN_S) as http:
        answer = await http.get(
            f"{parts.scheme}://{parts.netloc}/approve",
            params={"query": query, "password": password},
        )
    assert answer.status_code == 303
    return answer.headers["location"]


async def signed_in(installation: Installation) -> Browser:
    browser = installation.browser()
    answer = await browser.get(await approved(await begun(browser)))
    assert (answer.status_code, answer.headers["location"]) == (303, "/map")
    browser.csrf = (await browser.get("/api/session")).json()["csrf"]
    return browser


def test_who_signs_in_at_the_issuer_is_who_it_says_and_may_what_its_groups_say(
    tmp_path: Path,
) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        ways = (await installation.browser().get("/api/sign-in")).json()
        assert ways == {
            "password": False, "issuer": {"label": "Merrow", "start": "/api/sign-in/start"},
        }  # fmt: skip
        ann = await signed_in(installation)
        told = (await ann.get("/api/session")).json()
        assert told["name"] == "ann"
        assert told["grants"] == [{"tenant": "harbour", "role": "analyst"}]
        assert (await ann.get("/api/map")).json()["count"] == 0
        # The session's token is one that a component takes, and one that the role does not allow.
        answer = await ann.send("POST", "/api/provisioning/v1/imports", b"x")
        assert answer.status_code == 403

    story(tmp_path, tell, "harbour:analyst", "another program's group")


def test_no_token_reaches_the_browser_and_the_code_is_good_once(tmp_path: Path) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        browser = installation.browser()
        back = await approved(await begun(browser))
        first = await browser.get(back)
        assert "eyJ" not in str(first.headers)
        assert first.headers["set-cookie"].count("HttpOnly") == 2
        again = await browser.get(back)
        assert again.headers["location"] == "/?sign-in=expired"

    story(tmp_path, tell)


def test_an_answer_in_another_browser_or_with_another_state_signs_nobody_in(
    tmp_path: Path,
) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        mine, other = installation.browser(), installation.browser()
        back = await approved(await begun(mine))
        assert (await other.get(back)).headers["location"] == "/?sign-in=expired"
        await begun(other)
        # Its own attempt, and the answer to another one: a code that was put upon it.
        assert (await other.get(back)).headers["location"] == "/?sign-in=forged"
        assert (await other.get("/api/session")).status_code == 401
        # The first one is not disturbed by that.
        assert (await mine.get(back)).headers["location"] == "/map"

    story(tmp_path, tell)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"nonce": "of another attempt"},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another-client"]},
        {"iss": "https://elsewhere.example"},
        {"exp": 1},
        {"sub": "u-other"},
    ],
    ids=["nonce", "audience", "audiences", "issuer", "expired", "subject"],
)
def test_an_id_token_of_something_else_is_refused(tmp_path: Path, spoiled: dict[str, Any]) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        issuer.spoil = spoiled
        browser = installation.browser()
        answer = await browser.get(await approved(await begun(browser)))
        assert answer.headers["location"] == "/?sign-in=forged"
        assert (await browser.get("/api/session")).status_code == 401

    story(tmp_path, tell)


def test_a_wrong_password_at_the_issuer_comes_back_as_denied(tmp_path: Path) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        browser = installation.browser()
        answer = await browser.get(await approved(await begun(browser), "guessed"))
        assert answer.headers["location"] == "/?sign-in=denied"

    story(tmp_path, tell)


def test_each_attempt_has_its_own_state_nonce_and_challenge_and_goes_to_own_pages_alone(
    tmp_path: Path,
) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        browser = installation.browser()
        seen = [parse_qs(urlsplit(await begun(browser)).query) for _ in range(3)]
        for name in ("state", "nonce", "code_challenge"):
            assert len({one[name][0] for one in seen}) == 3
        for to in ("//evil.example", "https://evil.example", "/\\evil.example", "/%0d%0a"):
            mine = installation.browser()
            back = await approved(await begun(mine, to))
            assert (await mine.get(back)).headers["location"] in ("/", "/%0d%0a")

    story(tmp_path, tell)


def test_a_session_is_refreshed_survives_a_restart_and_is_revoked_with_its_end(
    tmp_path: Path,
) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        ann = await signed_in(installation)
        await installation.restart_dashboard(
            http_port=int(installation.addresses["dashboard"]["http"].rpartition(":")[2]),
            oidc=OidcSignIn(issuer=issuer.url, client_id=CLIENT),
        )
        # Its access token is not kept: this one is fresh.
        assert (await ann.get("/api/session")).json()["name"] == "ann"
        assert (await ann.send("DELETE", "/api/session")).status_code == 204
        assert len(issuer.revoked) == 1
        assert issuer.refreshable == set()

    story(tmp_path, tell, "harbour:analyst")


def test_an_issuer_that_is_away_is_told_on_the_page_for_signing_in(tmp_path: Path) -> None:
    async def tell(installation: Installation, issuer: SmallIssuer) -> None:
        await installation.restart_dashboard(
            oidc=OidcSignIn(issuer="http://127.0.0.1:9", client_id=CLIENT)
        )
        answer = await installation.browser().get("/api/sign-in/start")
        assert answer.headers["location"] == "/?sign-in=unavailable"

    story(tmp_path, tell)


def test_a_dashboard_at_which_nobody_could_sign_in_says_so_and_does_not_start(
    tmp_path: Path,
) -> None:
    config = DashboardConfig(state_dir=str(tmp_path), token_file=str(tmp_path / "token"))
    with pytest.raises(ValueError, match="name identity, or oidc"):
        asyncio.run(run(config, SystemClock(), print))
