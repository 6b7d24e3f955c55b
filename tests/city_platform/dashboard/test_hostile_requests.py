"""What must not work: no session, another site, another tenant, other paths, bodies without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from city_platform.dashboard import DashboardLimits
from tests.city_platform.dashboard.installation import MANIFEST, Installation, installed
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow

PRIVATE = [
    ("GET", "/api/session"),
    ("DELETE", "/api/session"),
    ("GET", "/api/map"),
    ("GET", "/api/devices"),
    ("GET", "/api/devices/lamp-1"),
    ("GET", "/api/models"),
    ("GET", "/api/city"),
    ("GET", "/api/provisioning/v1/imports"),
    ("POST", "/api/imports/check"),
    ("GET", "/api/imports/1/errors.csv"),
    ("GET", "/api/bridges"),
    ("GET", "/api/components"),
    ("GET", "/live"),
    ("GET", "/api/provisioning/v1/devices/lamp-1"),
    ("POST", "/api/provisioning/v1/imports"),
    ("GET", "/api/identity/v1/users"),
]


def story(folder: Path, tell: Callable[[Installation], Awaitable[None]], **changes: Any) -> None:
    async def whole() -> None:
        async with installed(folder, **changes) as installation:
            await tell(installation)

    asyncio.run(whole())


def test_without_a_session_nothing_is_told_and_nothing_is_done(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        nobody = installation.browser()
        for cookie in (None, "lamplighter=", "lamplighter=x", "lamplighter=../../token", "\xff=1"):
            headers = {} if cookie is None else {"Cookie": cookie.encode("latin-1")}
            for method, path in PRIVATE:
                answer = await nobody.http.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path, cookie)
                assert answer.headers["content-type"] == "application/problem+json"

    story(tmp_path, tell)


def test_a_session_cannot_be_used_by_another_site(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        address = installation.addresses["dashboard"]["http"]
        body = {"username": "eve", "grants": []}

        async def status(**headers: str) -> int:
            answer = await root.send("POST", "/api/identity/v1/users", body, **headers)
            return answer.status_code

        assert await status(**{"X-CSRF-Token": ""}) == 403
        assert await status(**{"X-CSRF-Token": root.csrf[:-1] + "!"}) == 403
        assert await status(Origin="https://evil.test") == 403
        assert await status(Origin="null") == 403
        assert await status(**{"Sec-Fetch-Site": "cross-site"}) == 403
        assert await status(**{"Sec-Fetch-Site": "same-site"}) == 403
        own = {"Origin": f"http://{address}", "Sec-Fetch-Site": "same-origin"}
        assert await status(**own) == 201
        assert (await root.http.delete("/api/session")).status_code == 403

    story(tmp_path, tell)


def test_nobody_is_signed_in_by_a_form_of_another_site(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.set_up()
        browser = installation.browser()
        form = {"Content-Type": "text/plain"}
        body = b'{"username": "root", "password": "a sentence that nobody guesses"}'
        answer = await browser.http.post("/api/session", content=body, headers=form)
        assert answer.status_code == 415
        assert not browser.http.cookies

    story(tmp_path, tell)


@pytest.mark.parametrize(
    "path",
    [
        "/api/identity/v1/sign-in",
        "/api/identity/v1/refresh",
        "/api/identity/v1/sign-out",
        "/api/provisioning/healthz",
        "/api/provisioning/v1/../v1/settings",
        "/api/provisioning/v1/devices/..%2Fsettings",
        "/api/provisioning//v1/devices",
        "/api/provisioning",
        "/api/nothing/v1/devices",
        "/api/control/v1/commands/1",
        "/api/telemetry/v1/feed",
        "/api",
        "/api/",
        "/api/session/",
        "/live/",
    ],
)
def test_what_is_no_operation_is_not_passed_on(tmp_path: Path, path: str) -> None:
    async def tell(installation: Installation) -> None:
        root = await installation.set_up()
        for method in ("GET", "POST"):
            answer = await root.send(method, path, b"{}")
            if path == "/live/":
                assert "<title>" in answer.text or answer.status_code == 405
            else:
                assert answer.status_code == 404, answer.text
            assert "eyJ" not in answer.text

    story(tmp_path, tell)


def test_a_role_may_what_the_table_says_also_through_the_dashboard(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.set_up(
            pat=[("*", "provisioner")], ann=[("harbour", "analyst")], hal=[("hills", "analyst")]
        )
        pat = await installation.signed_in("pat")
        await installation.bring(pat, MANIFEST)
        ann = await installation.signed_in("ann")
        assert (await ann.get("/api/devices/lamp-1")).status_code == 200
        for path in ("/api/devices/meter-1", "/api/provisioning/v1/devices/meter-1"):
            answer = await ann.get(path)
            assert answer.status_code == 403
            assert "hills" not in answer.text
        for path in (
            "/api/provisioning/v1/imports",
            "/api/provisioning/v1/certificates",
            "/api/identity/v1/users",
        ):
            assert (await ann.get(path)).status_code == 403
        refused = await ann.send("POST", "/api/imports/check", MANIFEST)
        assert refused.status_code == 403
        assert (await ann.send("DELETE", "/api/provisioning/v1/devices/lamp-1")).status_code == 403

        async def seen(browser: Any, path: str) -> list[str]:
            found = (await browser.get(path)).json()
            rows = found.get("devices", found.get("endpoint"))
            return [row["endpoint"] if isinstance(row, dict) else row for row in rows]

        hal = await installation.signed_in("hal")
        for query in ("", "?tenant=hills"):
            assert await seen(hal, f"/api/map{query}") == ["meter-1"]
            assert await seen(hal, f"/api/devices{query}") == ["meter-1"]
        assert await seen(hal, "/api/map?tenant=harbour") == []
        assert await seen(hal, "/api/devices?tenant=harbour") == []
        # A cursor of all tenants' search gives nobody another tenant's devices.
        for cursor in ("0~", "1~bGFtcC0x", "9~", "x", "0~~", "-1~"):
            answer = await hal.http.get("/api/devices", params={"cursor": cursor})
            assert answer.status_code in (200, 400)
            assert "lamp-" not in answer.text

    story(tmp_path, tell)


def test_html_in_an_attribute_stays_text(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        await installation.set_up(pat=[("*", "provisioner")])
        pat = await installation.signed_in("pat")
        await installation.bring(pat, MANIFEST)
        answer = await pat.get("/api/devices/lamp-1")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.json()["device"]["attributes"] == {"note": "<b>bold</b>"}
        for any_answer in (
            answer,
            await pat.get("/api/devices?text=lamp-1"),
            await pat.get("/nothing"),
        ):
            policy = any_answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
            assert "unsafe" not in policy
            assert "http" not in policy

    story(tmp_path, tell)


def test_a_body_without_end_is_refused_as_it_grows(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 256 * 1024 * 1024:
            sent += 65_536
            yield b"x" * 65_536

    async def tell(installation: Installation) -> None:
        nonlocal sent
        root = await installation.set_up(pat=[("*", "provisioner")])
        pat = await installation.signed_in("pat")
        for browser, method, path in (
            (root, "POST", "/api/session"),
            (root, "POST", "/api/set-up"),
            (root, "POST", "/api/identity/v1/users"),
            (pat, "POST", "/api/imports/check"),
            (pat, "POST", "/api/provisioning/v1/imports"),
        ):
            sent = 0
            headers = {"X-CSRF-Token": browser.csrf, "Content-Type": "application/json"}
            try:
                answer = await browser.http.request(
                    method, path, content=endless(), headers=headers
                )
            except httpx.TransportError:
                # The connection was closed while it was still being written to.
                continue
            finally:
                assert sent < 32 * 1024 * 1024, path
            # A row of 200 KB is no manifest either: a dry run says so before the bound.
            assert answer.status_code in (200, 413), (path, answer.text)
        # Nothing of it is left, and the next request is served.
        async with asyncio.timeout(WITHIN_S):
            while list((tmp_path / "provisioning" / "uploads").glob("*")):  # noqa: ASYNC110  # a folder has no event, and is local
                await asyncio.sleep(0.005)
        assert (await root.get("/api/session")).status_code == 200

    limits = DashboardLimits(manifest_bytes_max=200_000, body_bytes_max=100_000)
    story(tmp_path, tell, limits=limits)


def test_no_page_is_read_from_outside_its_folder(tmp_path: Path) -> None:
    async def tell(installation: Installation) -> None:
        host, _, port = installation.addresses["dashboard"]["http"].rpartition(":")
        for path in (
            "/../token", "/..%2ftoken", "/%2e%2e/token.txt", "//etc/passwd.txt",
            "/app.js/../../x.y", "/index.html%00.js", "/....//token.txt",
        ):  # fmt: skip
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            assert b"token-of-this-test" not in answer
            assert b"root:" not in answer
            assert answer.split()[1] in (b"404", b"200")

    story(tmp_path, tell)
