"""Sessions: who gets in, what a browser holds of it, and what ends it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from city_platform.dashboard import DashboardLimits, Tls
from tests.city_platform.audit.logs import HandClock
from tests.city_platform.dashboard.installation import (
    MANIFEST,
    PASSWORD,
    TOKEN,
    Installation,
    installed,
)
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow


def story(
    folder: Path, tell: Callable[[Installation], Awaitable[None]], clock: Any = None, **changes: Any
) -> None:
    async def whole() -> None:
        async with installed(folder, clock, **changes) as installation:
            await tell(installation)

    asyncio.run(whole())


def test_the_first_person_is_set_up_and_signs_in(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        told = (await root.get("/api/session")).json()
        assert told["name"] == "root"
        assert {"tenant": "*", "role": "administrator"} in told["grants"]
        assert "create_user" in told["operations"]
        assert "issue_command" not in told["operations"]
        assert told["has"]["provisioning"] is True
        assert told["has"]["control"] is False

    story(tmp_path, tell)


def test_a_browser_holds_a_cookie_that_scripts_cannot_read_and_no_token(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.set_up()
        browser = installation.browser()
        answer = await browser.sign_in("root")
        cookie = answer.headers["set-cookie"]
        for flag in ("HttpOnly", "SameSite=Strict", "Path=/"):
            assert flag in cookie
        assert "Secure" not in cookie
        # A JWT begins so; refresh tokens are told in the answer of identity alone.
        assert "eyJ" not in answer.text + cookie
        assert "token" not in answer.json()

    story(tmp_path, tell)


def test_behind_tls_the_cookie_is_for_secure_connections_to_this_host_alone(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.restart_dashboard(public_url="https://city.test")
        link = str(installation.said[0]["set_up"])
        browser = installation.browser()
        await browser.send(
            "POST", "/api/set-up",
            {"token": link.partition("#token=")[2], "username": "root", "password": PASSWORD},
        )  # fmt: skip
        answer = await browser.sign_in("root")
        assert answer.headers["set-cookie"].startswith("__Host-lamplighter=")
        assert "; Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"] == "max-age=31536000"

    story(tmp_path, tell)


def test_a_wrong_password_is_refused_with_identitys_own_words(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.set_up()
        browser = installation.browser()
        answer = await browser.sign_in("root", "wrong")
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert "set-cookie" not in answer.headers
        for _ in range(6):
            answer = await browser.sign_in("root", "wrong")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1

    story(tmp_path, tell)


def test_a_browser_that_has_signed_in_before_is_not_locked_out_by_others(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        assert (await root.send("DELETE", "/api/session")).status_code == 204
        known = root.http.cookies["lamplighter-known"]
        stranger = installation.browser()
        answers = [(await stranger.sign_in("root", "wrong")).status_code for _ in range(8)]
        assert answers[-1] == 429
        assert (await stranger.sign_in("root")).status_code == 429
        again = await root.sign_in("root")
        assert again.status_code == 200
        # It is not given anew, and no script sees it.
        assert "lamplighter-known" not in again.headers["set-cookie"]
        assert known not in again.text
        # What a page sends as its own counts for nothing.
        forged = {"username": "root", "password": PASSWORD, "known_client": known}
        assert (await stranger.send("POST", "/api/session", forged)).status_code == 429

    story(tmp_path, tell)


def test_signing_out_ends_the_session_at_once(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        cookie = dict(root.http.cookies)
        assert (await root.send("DELETE", "/api/session")).status_code == 204
        assert "lamplighter" not in root.http.cookies
        # The cookie that was signed out is worth nothing to whoever kept it.
        thief = installation.browser()
        thief.http.cookies.update(cookie)
        assert (await thief.get("/api/session")).status_code == 401
        assert not list((tmp_path / "dashboard" / "sessions").iterdir())

    story(tmp_path, tell)


def test_tokens_are_renewed_behind_the_browsers_back(tmp_path: Path) -> None:
    clock = HandClock()

    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        for _ in range(5):
            clock.move(595)
            # All at once: the refresh token is good once, and must be used once.
            answers = await asyncio.gather(*(root.get("/api/identity/v1/me") for _ in range(8)))
            assert [answer.status_code for answer in answers] == [200] * 8

    story(tmp_path, tell, clock)


def test_a_session_ends_with_its_time(tmp_path: Path) -> None:
    clock = HandClock()

    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        clock.move(3_599)
        assert (await root.get("/api/session")).status_code == 200
        clock.move(2)
        assert (await root.get("/api/session")).status_code == 401

    story(tmp_path, tell, clock, session_s=3_600.0)


def test_a_session_outlives_the_dashboard(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        kept = b"".join(
            path.read_bytes() for path in (tmp_path / "dashboard" / "sessions").iterdir()
        )
        # What is on disk opens with the cookie alone.
        assert kept
        assert root.csrf.encode() not in kept
        address = installation.addresses["dashboard"]["http"]
        await installation.restart_dashboard(http_port=int(address.rpartition(":")[2]))
        assert (await root.get("/api/session")).json()["csrf"] == root.csrf

    story(tmp_path, tell)


def test_who_loses_a_role_loses_it_here_with_the_next_token(tmp_path: Path) -> None:
    clock = HandClock()

    async def tell(installation: Installation) -> None:
        root = await installation.set_up(ann=[("*", "provisioner")])
        ann = await installation.signed_in("ann")
        assert "import_manifest" in (await ann.get("/api/session")).json()["operations"]
        await root.send("PATCH", "/api/identity/v1/users/ann", {"grants": []})
        clock.move(595)
        # Identity ends the sessions of who has fewer roles.
        assert (await ann.get("/api/session")).status_code == 401

    story(tmp_path, tell, clock)


def test_a_changed_password_ends_the_session(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        body = {"password": PASSWORD, "new_password": "quite another sentence"}
        answer = await root.send("PUT", "/api/identity/v1/me/password", body)
        assert answer.status_code == 204
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert (await root.get("/api/session")).status_code == 401
        assert (await root.sign_in("root", "quite another sentence")).status_code == 200

    story(tmp_path, tell)


def test_when_identity_is_away_a_session_goes_on_until_its_token_ends(tmp_path: Path) -> None:
    clock = HandClock()

    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        await installation.stop("identity")
        clock.move(570)
        assert (await root.get("/api/session")).status_code == 200
        clock.move(60)
        answer = await root.get("/api/session")
        assert answer.status_code == 503
        assert "identity" in answer.json()["detail"]

    story(tmp_path, tell, clock)


def test_a_new_sign_in_beyond_the_bound_ends_the_oldest_session(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.set_up()
        browsers = [await installation.signed_in("root") for _ in range(4)]
        found = [(await one.get("/api/session")).status_code for one in browsers]
        assert found == [401, 200, 200, 200]

    story(tmp_path, tell, limits=DashboardLimits(sessions_max=3))


def test_no_secret_is_in_an_answer_or_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up(ann=[("*", "provisioner")])
        ann = await installation.signed_in("ann")
        await installation.bring(ann, MANIFEST)
        pages = [
            (await ann.get(path)).text
            for path in (
                "/api/session",
                "/api/map",
                "/api/devices/lamp-1",
                "/api/provisioning/v1/imports",
                "/",
            )
        ]
        text = "".join([*pages, caplog.text, str(root.http.cookies)])
        assert TOKEN not in text
        assert PASSWORD not in text
        assert "eyJ" not in text
        assert "PRIVATE KEY" not in text

    story(tmp_path, tell)


def test_pages_are_served_over_tls_with_the_configured_certificate(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        pki = tmp_path / "provisioning" / "pki"
        # Any certificate of a server does: the one that the broker has.
        tls = Tls(certificate_file=str(pki / "broker.pem"), key_file=str(pki / "broker.key"))
        await installation.restart_dashboard(tls=tls)
        assert installation.addresses["dashboard"]["url"].startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
        url = installation.addresses["dashboard"]["url"]
        async with httpx.AsyncClient(base_url=url, verify=context, timeout=WITHIN_S) as browser:
            link = str(installation.said[0]["set_up"])
            body = {"token": link.partition("#token=")[2], "username": "root", "password": PASSWORD}
            assert (await browser.post("/api/set-up", json=body)).status_code == 204
            signed_in = await browser.post(
                "/api/session", json={"username": "root", "password": PASSWORD},
                headers={"Origin": url},
            )  # fmt: skip
            assert "; Secure" in signed_in.headers["set-cookie"]
            assert (await browser.get("/api/session")).status_code == 200

    story(tmp_path, tell)
