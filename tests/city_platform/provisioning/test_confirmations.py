"""What was replaced is revoked when its device is known to have the newer one, and not before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.api import (
    AuthorityStatus,
    CertificatePage,
    ConfirmedVersions,
    DevicesAsked,
    IssuedCertificate,
)
from contracts.credentials import decode_document
from runtime.http import bind, json_response, make_app, problem, serving
from runtime.http_client import HttpError
from tests.city_platform.provisioning.installation import TOKEN, Installation, installed
from tests.city_platform.provisioning.rows import as_csv, row
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
MANIFEST = as_csv([row(1), row(2)])
SOON = {"confirmed_valid_s": 0.0, "confirmations_asked_every_s": 0.01}


class Handler:
    """The bootstrap handler, as far as it is asked which devices have their credentials."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.failures_left = 0
        self.asked = asyncio.Event()
        self.told: list[str] = []
        self.takes_renewals = True

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        routes = [
            Route("/v1/confirmed", self._confirmed, methods=["POST"]),
            Route("/v1/devices/{endpoint}/renewed", self._renewed, methods=["POST"]),
        ]
        async with serving(make_app(routes, TOKEN), bind("127.0.0.1", 0)) as address:
            yield address

    async def _confirmed(self, request: Request) -> Response:
        self.asked.set()
        if self.failures_left:
            self.failures_left -= 1
            return problem(503, "not now")
        asked = msgspec.json.decode(await request.body(), type=DevicesAsked)
        found = {name: self.versions[name] for name in asked.endpoints if name in self.versions}
        return json_response(ConfirmedVersions(versions=found))

    async def _renewed(self, request: Request) -> Response:
        if not self.takes_renewals:
            return problem(503, "not now")
        self.told.append(request.path_params["endpoint"])
        return json_response({"driven": True})


def version(installation: Installation, endpoint: str) -> str:
    path = installation.state / "objects" / "credentials" / f"{endpoint}.json"
    return decode_document(path.read_bytes()).version


async def replace(installation: Installation, endpoint: str) -> None:
    path = f"/v1/devices/{endpoint}/certificate"
    await installation.client.send("POST", path, b"", IssuedCertificate)


async def states(installation: Installation, endpoint: str) -> list[str]:
    page = await installation.client.get(f"/v1/certificates?endpoint={endpoint}", CertificatePage)
    return sorted(found.state for found in page.certificates)


async def until_states(installation: Installation, endpoint: str, expected: list[str]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await states(installation, endpoint) == expected:
                return
            await asyncio.sleep(0.005)


def test_a_certificate_is_revoked_once_its_device_has_the_next_one(tmp_path: Path) -> None:
    async def story() -> None:
        handler = Handler()
        async with (
            handler.serving() as address,
            installed(tmp_path, bootstrap_api=address, **SOON) as installation,
        ):
            await installation.bring(MANIFEST)
            handler.versions = {f"lamp-{n}": version(installation, f"lamp-{n}") for n in (1, 2)}
            for endpoint in ("lamp-1", "lamp-2"):
                await replace(installation, endpoint)
            handler.asked.clear()
            await handler.asked.wait()
            assert await states(installation, "lamp-1") == ["active", "superseded"]
            handler.versions["lamp-1"] = version(installation, "lamp-1")
            await until_states(installation, "lamp-1", ["active", "revoked"])
            assert await states(installation, "lamp-2") == ["active", "superseded"]

    asyncio.run(story())


def test_whom_nobody_told_of_is_told_of_at_the_next_start(tmp_path: Path) -> None:
    """Their certificates were replaced, and what told the handler died before it did."""

    async def story() -> None:
        handler = Handler()
        async with handler.serving() as address:
            handler.takes_renewals = False
            async with installed(tmp_path, bootstrap_api=address, **SOON) as installation:
                await installation.bring(MANIFEST)
                await replace(installation, "lamp-1")
            assert handler.told == []
            handler.takes_renewals = True
            async with installed(tmp_path, bootstrap_api=address, **SOON) as installation:
                async with asyncio.timeout(WITHIN_S):
                    while not handler.told:  # noqa: ASYNC110 -- a list wakes nobody
                        await asyncio.sleep(0.005)
                assert handler.told == ["lamp-1"]
                handler.versions["lamp-1"] = version(installation, "lamp-1")
                await until_states(installation, "lamp-1", ["active", "revoked"])

    asyncio.run(story())


def test_before_its_time_it_stays_valid_though_the_device_has_the_next_one(tmp_path: Path) -> None:
    async def story() -> None:
        handler = Handler()
        async with (
            handler.serving() as address,
            installed(
                tmp_path, bootstrap_api=address, **{**SOON, "confirmed_valid_s": 60.0}
            ) as installation,
        ):
            await installation.bring(MANIFEST)
            await replace(installation, "lamp-1")
            handler.versions["lamp-1"] = version(installation, "lamp-1")
            await installation.client.get("/healthz", dict)
            assert await states(installation, "lamp-1") == ["active", "superseded"]

    asyncio.run(story())


def test_a_handler_that_fails_is_asked_again(tmp_path: Path) -> None:
    async def story() -> None:
        handler = Handler()
        handler.failures_left = 2
        async with (
            handler.serving() as address,
            installed(tmp_path, bootstrap_api=address, **SOON) as installation,
        ):
            await installation.bring(MANIFEST)
            await replace(installation, "lamp-1")
            handler.versions["lamp-1"] = version(installation, "lamp-1")
            await until_states(installation, "lamp-1", ["active", "revoked"])

    asyncio.run(story())


def test_an_authority_is_needed_as_long_as_a_device_may_trust_it_alone(tmp_path: Path) -> None:
    async def story() -> None:
        handler = Handler()
        async with (
            handler.serving() as address,
            installed(tmp_path, bootstrap_api=address, **SOON) as installation,
        ):
            await installation.bring(MANIFEST)
            for step in ("begin", "switch"):
                body = msgspec.json.encode({"step": step})
                await installation.client.send("POST", "/v1/authority", body, AuthorityStatus)
            await until_states(installation, "lamp-1", ["active", "superseded"])
            await until_states(installation, "lamp-2", ["active", "superseded"])
            handler.versions["lamp-1"] = version(installation, "lamp-1")
            await until_states(installation, "lamp-1", ["active", "revoked"])
            finish = msgspec.json.encode({"step": "finish"})
            with pytest.raises(HttpError, match="1 devices"):
                await installation.client.send("POST", "/v1/authority", finish, AuthorityStatus)
            handler.versions["lamp-2"] = version(installation, "lamp-2")
            await until_states(installation, "lamp-2", ["active", "revoked"])
            await installation.client.send("POST", "/v1/authority", finish, AuthorityStatus)

    asyncio.run(story())
