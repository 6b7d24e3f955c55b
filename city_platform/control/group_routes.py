"""The HTTP side of group commands."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.control.answers import answered, id_for, key_of, used_before
from city_platform.control.callers import issuer_of, tenants_of
from city_platform.control.group_service import GROUP_REQUEST_BYTES_MAX, GroupService
from city_platform.control.names import ResourceNames
from city_platform.control.paging import (
    cursor_of_member,
    cursor_of_time,
    read_members_page,
    read_page,
)
from city_platform.control.rows import GroupRow
from city_platform.control.service import CommandService
from contracts.api import CommandPage, GroupCommandPage, GroupCommandRequest
from runtime.http import json_response, read_body


class GroupRoutes:
    """Group commands. An `Idempotency-Key` is one caller's own."""

    def __init__(
        self,
        groups: GroupService,
        commands: CommandService,
        names: ResourceNames,
        draw: Callable[[int], bytes],
    ) -> None:
        self._groups = groups
        self._commands = commands
        self._names = names
        self._draw = draw

    @property
    def routes(self) -> list[Route]:
        """For the application."""
        post, listed, get = answered(self._post), answered(self._list), answered(self._get)
        members, cancel = answered(self._members), answered(self._cancel)
        return [
            Route("/v1/commands", post, methods=["POST"]),
            Route("/v1/group-commands", listed),
            Route("/v1/group-commands/{id}", get),
            Route("/v1/group-commands/{id}/commands", members),
            Route("/v1/group-commands/{id}/cancel", cancel, methods=["POST"]),
        ]

    async def _post(self, request: Request) -> Response:
        body = await read_body(request, GROUP_REQUEST_BYTES_MAX)
        wanted = self._groups.read(body, self._names)
        issued_by, key = issuer_of(request), key_of(request)
        if key is None:
            group_id = f"grp-{self._draw(16).hex()}"
        else:
            group_id = id_for("grp", issued_by, key)
            found = await self._groups.find(group_id)
            if found is not None:
                return await self._earlier(found, wanted)
        tenants = tenants_of(request, "issue_group_command")
        return await self._accepted(await self._groups.accept(group_id, wanted, issued_by, tenants))

    async def _list(self, request: Request) -> Response:
        before, limit = read_page(request.query_params.multi_items())
        tenants = tenants_of(request, "read_group_commands")
        found = await self._groups.search(before, limit + 1, tenants)
        rows = found[:limit]
        more = len(found) > limit
        return json_response(
            GroupCommandPage(
                group_commands=[await self._groups.record(row) for row in rows],
                next_cursor=cursor_of_time(rows[-1].issued_at_us, rows[-1].id) if more else None,
            )
        )

    async def _get(self, request: Request) -> Response:
        tenants = tenants_of(request, "read_group_command")
        group = await self._groups.get(request.path_params["id"], tenants)
        return json_response(await self._groups.record(group))

    async def _members(self, request: Request) -> Response:
        tenants = tenants_of(request, "read_group_outcomes")
        group = await self._groups.get(request.path_params["id"], tenants)
        state, after, limit = read_members_page(request.query_params.multi_items())
        found = await self._groups.members(group.id, state, after, limit + 1)
        rows = found[:limit]
        return json_response(
            CommandPage(
                commands=[self._commands.record(row) for row in rows],
                next_cursor=cursor_of_member(rows[-1]) if len(found) > limit else None,
            )
        )

    async def _cancel(self, request: Request) -> Response:
        tenants = tenants_of(request, "cancel_group_command")
        return await self._accepted(await self._groups.cancel(request.path_params["id"], tenants))

    async def _earlier(self, found: GroupRow, wanted: GroupCommandRequest) -> Response:
        told = (found.request, found.target, found.rate_per_s)
        asked = (wanted.command, wanted.target, wanted.rate_per_s)
        if told != asked:
            return used_before("for another group command")
        return await self._accepted(found)

    async def _accepted(self, group: GroupRow) -> Response:
        answer = json_response(await self._groups.record(group), 202)
        answer.headers["Location"] = f"/v1/group-commands/{group.id}"
        return answer
