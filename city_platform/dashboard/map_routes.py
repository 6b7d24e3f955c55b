"""`GET /api/map`, `GET /api/devices` and `GET /api/city`: all devices, a search, the ground."""

from __future__ import annotations

import asyncio
import gzip
import re
from hashlib import sha256
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.dashboard.columns import map_body, state_columns, with_state
from city_platform.dashboard.fleet import Fleet, Refused, TooManyDevices
from city_platform.dashboard.gate import guarded, session_of
from city_platform.dashboard.live import sight_of
from city_platform.dashboard.live_state import LiveState
from city_platform.dashboard.pages import is_known, takes_gzip
from city_platform.dashboard.upstream import Whole
from runtime.http import json_response, problem

PATHS_MAX: Final = 8
# The map of 100,000 devices, 7.2 MB: level 1 packs it to 2.1 MB in 72 ms of a core, level 4 to
# 1.9 MB in 137 and level 6 to 1.8 MB in 368. A line faster than 20 Mbit/s gains nothing by more,
# and the core is everybody's.
_PACKING: Final = 1
_PATH: Final = re.compile(r"[0-9]{1,5}(/[0-9]{1,5}){1,3}", re.ASCII)
_JSON: Final = "application/json"


class MapRoutes:
    """The routes and what they need. `city` is GeoJSON to draw, None when there is none."""

    def __init__(self, fleet: Fleet | None, state: LiveState, city: bytes | None) -> None:
        self._fleet = fleet
        self._state = state
        self._city = city

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/api/map", guarded(self._map)),
            Route("/api/devices", guarded(self._search)),
            Route("/api/city", self._get_city),
        ]

    async def _map(self, request: Request) -> Response:
        if self._fleet is None:
            return no_component("provisioning")
        paths = [one.removeprefix("/") for one in request.query_params.getlist("path")]
        if len(paths) > PATHS_MAX or not all(_PATH.fullmatch(one) for one in paths):
            return problem(400, "wrong query", f"path: at most {PATHS_MAX} such as 3416/0/1")
        session = session_of(request)
        try:
            devices = await self._fleet.devices(
                session,
                request.query_params.get("tenant") or None,
                # RFC 9111 §5.2.1.4: what a page asks after it has changed the devices.
                is_fresh="no-cache" in request.headers.get("cache-control", "").lower(),
            )
        except TooManyDevices as error:
            return problem(413, "too many devices", str(error))
        except Refused as error:
            return passed_on(error.answer)
        # The states of one revision are read at once. All else of 100,000 devices takes three times
        # as long, and the live feeds go on meanwhile.
        states = state_columns(devices.found, self._state, sight_of(session.caller), paths)
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(None, map_body, devices.found, states, devices.revision)
        return await _packed(request, body)

    async def _search(self, request: Request) -> Response:
        if self._fleet is None:
            return no_component("provisioning")
        session = session_of(request)
        try:
            page = await self._fleet.search(session, request.query_params.multi_items())
        except Refused as error:
            return passed_on(error.answer)
        sight = sight_of(session.caller)
        return json_response(
            {
                "devices": [with_state(one, self._state, sight) for one in page.devices],
                "next_cursor": page.next_cursor,
            }
        )

    async def _get_city(self, request: Request) -> Response:
        if self._city is None:
            return problem(404, "no city", "nothing to draw is configured: set city_file")
        answer = await _packed(request, self._city)
        answer.headers["Content-Type"] = "application/geo+json"
        return answer


def no_component(name: str) -> Response:
    """What asks for a component that this installation has not."""
    return problem(404, "no such component", f"the dashboard's configuration names no {name}")


def passed_on(found: Whole) -> Response:
    """A component's refusal."""
    return Response(found.body, found.status, media_type=found.headers.get("content-type"))


async def _packed(request: Request, body: bytes) -> Response:
    """A large answer with what a browser needs to keep it; packed off the loop."""
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept-Encoding, Cookie"}
    loop = asyncio.get_running_loop()
    etag = await loop.run_in_executor(None, _etag, body)
    headers["ETag"] = etag
    if is_known(request.headers, etag):
        return Response(status_code=304, headers=headers)
    if takes_gzip(request.headers):
        body = await loop.run_in_executor(None, _pack, body)
        headers["Content-Encoding"] = "gzip"
    return Response(body, 200, headers, _JSON)


def _etag(body: bytes) -> str:
    return f'"{sha256(body).hexdigest()[:32]}"'


def _pack(body: bytes) -> bytes:
    return gzip.compress(body, _PACKING, mtime=0)
