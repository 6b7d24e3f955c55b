"""The state of devices over HTTP: one, all of them in short, and what changes."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.ingestion.answers import answering
from city_platform.ingestion.bodies import ChangesAnswer, DeviceState, StatePage, shown_alarm
from city_platform.ingestion.config import IngestionLimits
from city_platform.ingestion.live import Cursor, Live, UnknownCursor
from city_platform.ingestion.queries import Query, tenants_of
from city_platform.ingestion.telemetry_routes import shown_values
from city_platform.ingestion.units import Units
from city_platform.stores.telemetry_desk import TelemetryDesk
from runtime.http import json_response, problem

STATES_MAX: Final = 10_000
CHANGES_MAX: Final = 5_000
WAIT_S_MAX: Final = 30.0
_CURSOR: Final = re.compile(
    r"(?P<epoch>[0-9a-f]{1,20})\.(?P<number>[0-9]{1,18})(?P<endpoint>\.[A-Za-z0-9:_-]{0,128})?",
    re.ASCII,
)


class StateRoutes:
    """The routes and what they need. A caller sees the devices of their tenants, and no others."""

    def __init__(self, desk: TelemetryDesk, live: Live, limits: IngestionLimits) -> None:
        self._desk = desk
        self._live = live
        self._limits = limits
        self._units = Units()

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/v1/devices/{endpoint}/state", self._state),
            Route("/v1/states", self._states),
            Route("/v1/changes", self._changes),
        ]

    @answering
    async def _state(self, request: Request) -> Response:
        Query(request, ())
        endpoint = request.path_params["endpoint"]
        row = self._live.state(endpoint)
        if row is None:
            return problem(404, "nothing is known of this device", "it has not been heard yet")
        episodes = await self._desk.open_episodes(endpoint)
        shown = DeviceState(
            **row._asdict(),
            values=shown_values(await self._desk.latest(endpoint), self._units),
            alarms=[shown_alarm(one) for one in episodes],
        )
        return json_response(shown)

    @answering
    async def _states(self, request: Request) -> Response:
        query = Query(request, ("tenant", "limit", "cursor"))
        rows, following = self._live.states(
            query.text("cursor") or "",
            query.number("limit", STATES_MAX, 1, STATES_MAX),
            tenants_of(request, "read_states", query.text("tenant")),
        )
        return json_response(StatePage(states=rows, next_cursor=following))

    @answering
    async def _changes(self, request: Request) -> Response:
        query = Query(request, ("after", "wait_s", "limit", "tenant"))
        if self._live.readers >= self._limits.changes_readers_max:
            return problem(429, "too many wait for changes", "ask again in some seconds")
        wait_s = query.seconds("wait_s", 0.0, WAIT_S_MAX)
        limit = query.number("limit", 1_000, 1, CHANGES_MAX)
        tenants = tenants_of(request, "read_changes", query.text("tenant"))
        cursor = self._cursor(query.text("after"))
        gather_s = min(self._limits.changes_gather_s, wait_s)
        try:
            page = await self._live.follow(cursor, tenants, limit, wait_s, gather_s)
        except UnknownCursor:
            # Too much went by while it waited.
            page = await self._live.follow(self._live.begin(), tenants, limit, 0, 0)
        answer = ChangesAnswer(
            cursor=self._text(page.cursor), changes=page.changes, resync=page.is_resync
        )
        return json_response(answer)

    def _cursor(self, text: str | None) -> Cursor:
        """Where a reader is; at the beginning when that is not known, or no longer kept."""
        found = None if text is None else _CURSOR.fullmatch(text)
        if found is None or found["epoch"] != self._live.epoch:
            return self._live.begin()
        endpoint = found["endpoint"]
        cursor = Cursor(int(found["number"]), None if endpoint is None else endpoint[1:])
        try:
            self._live.check(cursor)
        except UnknownCursor:
            return self._live.begin()
        return cursor

    def _text(self, cursor: Cursor) -> str:
        behind = "" if cursor.endpoint is None else f".{cursor.endpoint}"
        return f"{self._live.epoch}.{cursor.number}{behind}"
