"""The real components in the test's own loop, a dashboard before them, and browsers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from city_platform import audit, dashboard, provisioning
from city_platform.identity import AccessConfig, IdentityConfig
from city_platform.identity.config import PasswordCost
from city_platform.identity.service import serve as serve_identity
from runtime.clock import Clock, SystemClock
from tests.processes import WITHIN_S

TOKEN = "token-of-this-test"
PASSWORD = "a sentence that nobody guesses"
ISSUER = "https://identity.test"
CHEAP = PasswordCost(time_cost=1, memory_kib=8)
PAGE = "<!doctype html><title>Lamplighter</title><script src=/app-ABCDEF12.js></script>"

MANIFEST = b"""\
endpoint,serial,model,tenant,site,street,latitude,longitude,installed_on,psk_identity,attributes
lamp-1,S1,street_lamp,harbour,pier,Quay,53.5446884,8.5706601,2022-05-05,S1,note=<b>bold</b>
lamp-2,S2,street_lamp,harbour,pier,Quay,53.5448683,8.5709961,2022-05-05,S2,
meter-1,S3,water_meter,hills,top,Hill Road,53.6,8.6,2022-05-05,S3,
"""


class Browser:
    """A browser of one person: cookies, and the headers that pages send."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.csrf = ""
        self.http = httpx.AsyncClient(base_url=f"http://{address}", verify=False, timeout=WITHIN_S)

    async def sign_in(self, username: str, password: str = PASSWORD) -> httpx.Response:
        answer = await self.http.post(
            "/api/session", json={"username": username, "password": password}
        )
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf"]
        return answer

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers=headers)

    async def send(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """What a page sends: with the CSRF token, and JSON unless it is bytes."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        given = {"X-CSRF-Token": self.csrf, "Content-Type": "application/json", **headers}
        return await self.http.request(
            method, path, content=None if body is None else content, headers=given
        )


class Installation:
    """What runs, and where."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.clock = clock
        self.addresses: dict[str, Mapping[str, str]] = {}
        self.said: list[Mapping[str, object]] = []
        self.running: dict[str, asyncio.Task[None]] = {}
        self.opened: list[Browser] = []

    @property
    def access(self) -> AccessConfig:
        return AccessConfig(
            issuer=ISSUER,
            keys_url=f"http://{self.addresses['identity']['http']}/.well-known/jwks.json",
            directory_file=str(self.folder / "provisioning" / "devices.sqlite"),
        )

    @property
    def token_file(self) -> str:
        return str(self.folder / "token")

    async def start(self, name: str, run: Callable[..., Any], config: Any, *more: Any) -> None:
        """Start a component and wait until it is ready."""
        ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(run(config, self.clock, ready.set_result, *more))
        async with asyncio.timeout(WITHIN_S):
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        self.running[name] = task
        self.addresses[name] = ready.result()

    async def stop(self, name: str) -> None:
        task = self.running.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def browser(self) -> Browser:
        """One more browser; it is closed with the installation."""
        found = Browser(self.addresses["dashboard"]["http"])
        self.opened.append(found)
        return found

    async def signed_in(self, username: str) -> Browser:
        """A browser in which this user has signed in."""
        found = self.browser()
        answer = await found.sign_in(username)
        assert answer.status_code == 200, answer.text
        return found

    async def set_up(self, **people: list[tuple[str, str]]) -> Browser:
        """Use the first start's link, and create users by their grants (tenant, role)."""
        root = self.browser()
        link = str(self.said[0]["set_up"])
        answer = await root.send(
            "POST", "/api/set-up",
            {"token": link.partition("#token=")[2], "username": "root", "password": PASSWORD},
        )  # fmt: skip
        assert answer.status_code == 204, answer.text
        await root.sign_in("root")
        for name, grants in people.items():
            wanted = {
                "username": name,
                "grants": [{"tenant": tenant, "role": role} for tenant, role in grants],
            }
            made = await root.send("POST", "/api/identity/v1/users", wanted)
            assert made.status_code == 201, made.text
            token = made.json()["link"].partition("#invitation=")[2]
            accepted = await self.browser().send(
                "POST", "/api/invitations", {"token": token, "password": PASSWORD}
            )
            assert accepted.status_code == 204, accepted.text
        return root

    async def bring(self, browser: Browser, manifest: bytes) -> dict[str, Any]:
        """Upload a manifest and wait until its job has ended."""
        answer = await browser.send(
            "POST", "/api/provisioning/v1/imports", manifest,
            **{"Content-Type": "text/csv", "X-File-Name": "city%20one.csv"},
        )  # fmt: skip
        assert answer.status_code == 202, answer.text
        place = answer.headers["location"]
        async with asyncio.timeout(WITHIN_S):
            while (job := (await browser.get(place)).json())["state"] == "running":  # noqa: ASYNC110  # what a page does, too
                await asyncio.sleep(0.005)
        return dict(job)

    async def restart_dashboard(self, **changes: Any) -> None:
        """End the dashboard where it runs, and start it with what is there now."""
        if "dashboard" in self.running:
            await self.stop("dashboard")
        wanted: dict[str, Any] = {
            name: self.addresses[name]["http"]
            for name in ("identity", "provisioning", "control", "ingestion", "audit")
            if name in self.addresses
        }
        if "provisioning" in self.addresses:
            wanted["directory_file"] = str(self.folder / "provisioning" / "devices.sqlite")
        config = dashboard.DashboardConfig(
            **{
                **wanted,
                "state_dir": str(self.folder / "dashboard"),
                "token_file": self.token_file,
                "web_dir": str(self.folder / "web"),
                **changes,
            }
        )
        await self.start("dashboard", dashboard.run, config)

    async def start_audit(self) -> None:
        """Start audit, without a broker."""
        config = audit.AuditConfig(
            state_dir=str(self.folder / "audit"), token_file=self.token_file, access=self.access
        )
        await self.start("audit", audit.run, config)

    async def close(self) -> None:
        for browser in self.opened:
            await browser.http.aclose()
        for name in reversed(list(self.running)):
            await self.stop(name)


@contextlib.asynccontextmanager
async def installed(
    folder: Path, clock: Clock | None = None, *, starts_dashboard: bool = True, **changes: Any
) -> AsyncIterator[Installation]:
    """Identity, provisioning and, with `changes` of its configuration, a dashboard."""
    found = Installation(folder, clock or SystemClock())
    (folder / "token").write_text(TOKEN)
    (folder / "web").mkdir()
    (folder / "web" / "index.html").write_text(PAGE)
    (folder / "web" / "app-ABCDEF12.js").write_text("export const lamps = 'many';\n" * 100)
    try:
        identity = IdentityConfig(
            state_dir=str(folder / "identity"), token_file=found.token_file,
            password_cost=CHEAP, public_url=ISSUER,
        )  # fmt: skip
        await found.start("identity", serve_identity, identity, os.urandom, found.said.append)
        config = provisioning.ProvisioningConfig(
            state_dir=str(folder / "provisioning"),
            token_file=found.token_file,
            access=found.access,
            broker_uri="mqtts://127.0.0.1:8883",
            services=("svc:bridge:north", "svc:control", "svc:ingestion", "svc:audit"),
        )
        await found.start("provisioning", provisioning.run, config)
        if starts_dashboard:
            await found.restart_dashboard(**changes)
        yield found
    finally:
        await found.close()
