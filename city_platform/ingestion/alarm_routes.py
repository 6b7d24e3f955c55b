"""Alarms over HTTP: their list, one with its history, and their acknowledgement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.ingestion.answers import answering
from city_platform.ingestion.bodies import (
    NOTE_LENGTH_MAX,
    Acknowledgement,
    AlarmHistory,
    AlarmPage,
    shown_alarm,
)
from city_platform.ingestion.live import Live
from city_platform.ingestion.queries import Query, WrongQuery, name_of_caller, tenants_of
from city_platform.stores.alarm_register import AlarmQuery
from city_platform.stores.alarm_states import AlarmState
from city_platform.stores.telemetry_desk import EpisodeStory, TelemetryDesk
from contracts.telemetry import Severity
from runtime.http import json_response, problem, read_body

STATES: Final[tuple[AlarmState, ...]] = get_args(AlarmState)
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
LIMIT_MAX: Final = 1_000
BODY_BYTES_MAX: Final = 16_384
_ID_MAX: Final = 2**63 - 1
_KNOWN: Final = (
    "tenant", "device", "alarm", "state", "severity", "from_us", "to_us", "limit", "cursor",
)  # fmt: skip


class AlarmRoutes:
    """The routes and what they need. A caller sees the alarms of their tenants, and no others."""

    def __init__(self, desk: TelemetryDesk, live: Live, wall_us: Callable[[], int]) -> None:
        self._desk = desk
        self._live = live
        self._wall_us = wall_us

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/v1/alarms", self._list),
            Route("/v1/alarms/{id}", self._show),
            Route("/v1/alarms/{id}/acknowledge", self._acknowledge, methods=["POST"]),
        ]

    @answering
    async def _list(self, request: Request) -> Response:
        query = Query(request, _KNOWN)
        limit = query.number("limit", 100, 1, LIMIT_MAX)
        found = await self._desk.episodes(
            AlarmQuery(
                tenants=tenants_of(request, "list_alarms", query.text("tenant")),
                endpoint=query.text("device"),
                alarm=query.text("alarm"),
                states=query.choices("state", STATES),
                severities=query.choices("severity", SEVERITIES),
                from_us=query.optional_number("from_us"),
                to_us=query.optional_number("to_us"),
                before=query.optional_number("cursor", 1, _ID_MAX),
                limit=limit + 1,
            )
        )
        shown = [shown_alarm(one) for one in found[:limit]]
        following = shown[-1].id if len(found) > limit else None
        return json_response(AlarmPage(alarms=shown, next_cursor=following))

    @answering
    async def _show(self, request: Request) -> Response:
        Query(request, ())
        story = await self._found(request, "show_alarm")
        if story is None:
            return _none()
        return json_response(AlarmHistory(alarm=shown_alarm(story.episode), steps=story.steps))

    @answering
    async def _acknowledge(self, request: Request) -> Response:
        Query(request, ())
        note = _note(await read_body(request, BODY_BYTES_MAX))
        story = await self._found(request, "acknowledge_alarm")
        if story is None:
            return _none()
        at_us = self._wall_us()
        found = await self._desk.acknowledge(story.episode.id, name_of_caller(request), at_us, note)
        if found is None:
            return _none()
        await self._live.refresh(at_us)
        return json_response(shown_alarm(found))

    async def _found(self, request: Request, operation: str) -> EpisodeStory | None:
        text = request.path_params["id"]
        if not text.isdecimal() or not text.isascii() or not 0 < len(text) <= 18:
            return None
        story = await self._desk.episode(int(text))
        tenants = tenants_of(request, operation, None)
        is_theirs = story is not None and (tenants is None or story.episode.tenant in tenants)
        return story if is_theirs else None


def _note(body: bytes) -> str:
    """The note in a request's body; none is fine. Raises `WrongQuery`."""
    if not body.strip():
        return ""
    try:
        note = msgspec.json.decode(body, type=Acknowledgement).note
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WrongQuery(f'the body is {{"note": "…"}}, or nothing: {error}') from None
    if len(note) > NOTE_LENGTH_MAX or not note.replace("\n", " ").isprintable():
        raise WrongQuery(f"note has at most {NOTE_LENGTH_MAX} characters, all printable")
    return note


def _none() -> Response:
    # The same for another tenant's: whether there is one is not theirs to know.
    return problem(404, "no such alarm", "GET /v1/alarms lists those that you may see")
