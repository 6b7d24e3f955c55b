"""Who is told of renewed credentials, and what a handler that is down or knows nobody changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.provisioning.renewals import Renewals
from runtime.http import bind, json_response, make_app, problem, serving
from tests.city_platform.provisioning.installation import TOKEN, installed
from tests.city_platform.provisioning.rows import as_csv, row
from tests.processes import WITHIN_S


class Handler:
    """The part of the bootstrap handler's HTTP interface that is told of renewals."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.unknown: set[str] = set()
        self.failures_left = 0
        self.heard = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its `host:port` while the block runs."""
        routes = [Route("/v1/devices/{endpoint}/renewed", self._post, methods=["POST"])]
        async with serving(make_app(routes, TOKEN), bind("127.0.0.1", 0)) as address:
            yield address

    async def until_told(self, count: int) -> list[str]:
        async with asyncio.timeout(WITHIN_S):
            while len(self.told) < count:
                self.heard.clear()
                await self.heard.wait()
        return self.told

    async def _post(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        if self.failures_left:
            self.failures_left -= 1
            return problem(503, "not now", "")
        self.told.append(endpoint)
        self.heard.set()
        if endpoint in self.unknown:
            return problem(404, "unknown device", "")
        return json_response({"endpoint": endpoint, "driven": True}, 202)


@contextlib.asynccontextmanager
async def telling(renewals: Renewals) -> AsyncIterator[None]:
    task = asyncio.ensure_future(renewals.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    (tmp_path / "token").write_text(TOKEN)
    return str(tmp_path / "token")


def test_everybody_is_told_of_once_and_again_only_after_a_failure(token_file: str) -> None:
    async def story() -> None:
        handler = Handler()
        handler.failures_left, handler.unknown = 1, {"lamp-2"}
        async with handler.serving() as address:
            renewals = Renewals(lambda: (address, token_file), retry_s_min=0.001)
            renewals.add(["lamp-1", "lamp-2", "lamp-1"])
            async with telling(renewals):
                assert sorted(await handler.until_told(2)) == ["lamp-1", "lamp-2"]
                renewals.add(["lamp-3"])
                await handler.until_told(3)
        assert sorted(handler.told) == ["lamp-1", "lamp-2", "lamp-3"]
        assert renewals.counts["not_registered"] == 1

    asyncio.run(story())


def test_without_a_handler_nobody_waits(token_file: str) -> None:
    async def story() -> None:
        renewals = Renewals(lambda: (None, token_file))
        async with telling(renewals):
            renewals.add(["lamp-1"])
            async with asyncio.timeout(WITHIN_S):
                while renewals.waiting:  # noqa: ASYNC110  # a few turns of the loop
                    await asyncio.sleep(0)

    asyncio.run(story())


@pytest.mark.slow
def test_an_import_tells_of_replaced_credentials_and_of_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        handler = Handler()
        async with (
            handler.serving() as address,
            installed(tmp_path, bootstrap_api=address) as installation,
        ):
            await installation.bring(as_csv([row(1), row(2), row(3)]))
            changed = [row(1, street="Dam"), row(2, serial="replaced"), row(3)]
            await installation.bring(as_csv(changed))
            assert await handler.until_told(1) == ["lamp-2"]

    asyncio.run(story())
