"""Asks an ingestion's HTTP interface without a socket, as somebody with roles or with the token."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from city_platform.identity.callers import Caller, Grant
from city_platform.identity.config import Role
from city_platform.identity.gate import CALLER
from city_platform.ingestion.alarm_routes import AlarmRoutes
from city_platform.ingestion.component import Ingestion
from city_platform.ingestion.config import IngestionLimits
from city_platform.ingestion.dead_letter_routes import DeadLetterRoutes
from city_platform.ingestion.state_routes import StateRoutes
from city_platform.ingestion.telemetry_routes import TelemetryRoutes
from contracts.topics import Topics
from runtime.http import make_app

NOW_US = 1_780_000_000_000_000


class Asking:
    """Requests to one ingestion. `who` has the role for the tenant; None is the token's bearer."""

    def __init__(
        self, found: Ingestion, who: tuple[str, Role] | None = None, **limits: Any
    ) -> None:
        given = IngestionLimits(**({"changes_gather_s": 0.0} | limits))
        app = make_app(
            [
                *TelemetryRoutes(found.desk).routes(),
                *AlarmRoutes(found.desk, found.live, lambda: NOW_US).routes(),
                *StateRoutes(found.desk, found.live, given).routes(),
                *DeadLetterRoutes(found.letters, found.replays, Topics()).routes(),
                *found.upkeep.routes(),
            ],
            None,
        )
        self._app = app if who is None else _As(app, who)

    async def __call__(self, method: str, target: str, body: Any = None) -> httpx.Response:
        """The answer; one of 400 and more is a problem."""
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            content = None if body is None else msgspec.json.encode(body)
            answer = await client.request(method, target, content=content)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert set(answer.json()) == {"type", "status", "title", "detail"}
        return answer

    async def get(self, target: str) -> Any:
        """The body of an answer of 200."""
        answer = await self("GET", target)
        assert answer.status_code == 200, answer.text
        return answer.json()


class _As:
    def __init__(self, app: ASGIApp, who: tuple[str, Role]) -> None:
        self._app = app
        tenant, role = who
        grants = frozenset({Grant(tenant, role)})
        self._caller = Caller(kind="user", name="ann", subject="ann", grants=grants)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CALLER] = self._caller
        await self._app(scope, receive, send)
