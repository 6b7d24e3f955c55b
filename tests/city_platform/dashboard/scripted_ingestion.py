"""Stands for ingestion where a test decides what changes and when: `GET /v1/changes`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http import bind, json_response, make_app, problem, serving
from tests.city_platform.dashboard.installation import TOKEN


class ScriptedIngestion:
    """Tells what it was given, and waits as the real one does."""

    def __init__(self) -> None:
        self.changes: list[dict[str, Any]] = []
        self.is_broken = False
        self.asked: list[str | None] = []
        self._more = asyncio.Event()

    def tell(self, *changes: dict[str, Any]) -> None:
        self.changes += changes
        self._more.set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its `host:port` while the block runs."""
        routes = [Route("/v1/changes", self._get)]
        async with serving(make_app(routes, TOKEN), bind("127.0.0.1", 0)) as address:
            try:
                yield address
            finally:
                self._more.set()

    async def _get(self, request: Request) -> Response:
        after = request.query_params.get("after")
        self.asked.append(after)
        if self.is_broken:
            return problem(503, "not now")
        seen = int(after or 0)
        if seen == len(self.changes) and float(request.query_params["wait_s"]):
            self._more.clear()
            await self._more.wait()
        answer = {"cursor": str(len(self.changes)), "changes": self.changes[seen:], "new": 1}
        return json_response(answer)
