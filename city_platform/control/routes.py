"""The HTTP side of control: takes commands, and tells how far they have come."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.control.answers import answered, id_for, key_of, used_before
from city_platform.control.callers import act_of, issuer_of, tenant_of_device, tenants_of
from city_platform.control.names import ResourceNames
from city_platform.control.paging import cursor_of_time, read_query
from city_platform.control.requests import REQUEST_BYTES_MAX, read_request
from city_platform.control.rows import CommandRow
from city_platform.control.service import CommandService
from city_platform.control.store import CommandQuery
from contracts.api import CommandPage, CommandRequest
from contracts.names import check_endpoint_name
from runtime.http import json_response, problem, read_body


def readiness_route(problem_now: Callable[[], str | None]) -> Route:
    """`GET /readyz`: 503 while control does not work as it should, with what is the matter."""

    async def readiness(request: Request) -> Response:
        found = problem_now()
        if found is None:
            return json_response({"status": "ok"})
        return problem(503, "not ready", found)

    return Route("/readyz", readiness)


class ControlRoutes:
    """Commands to single devices.

    A request with an `Idempotency-Key` header that was used for this device before gets the
    command of then; with another body it is refused.
    """

    def __init__(
        self, commands: CommandService, names: ResourceNames, draw: Callable[[int], bytes]
    ) -> None:
        self._commands = commands
        self._names = names
        self._draw = draw

    @property
    def lanes(self) -> list[Route]:
        """Those of `routes` that are asked for by the thousand."""
        return [
            Route("/v1/devices/{endpoint}/commands", answered(self._post), methods=["POST"]),
        ]

    @property
    def routes(self) -> list[Route]:
        """For the application."""
        of_device = answered(self._of_device)
        listed, get, cancel = answered(self._list), answered(self._get), answered(self._cancel)
        return [
            *self.lanes,
            Route("/v1/devices/{endpoint}/commands", of_device),
            Route("/v1/commands", listed, methods=["GET"]),
            Route("/v1/commands/{id}", get),
            Route("/v1/commands/{id}/cancel", cancel, methods=["POST"]),
        ]

    async def _post(self, request: Request) -> Response:
        endpoint = check_endpoint_name(request.path_params["endpoint"])
        wanted = read_request(await read_body(request, REQUEST_BYTES_MAX), self._names)
        key = key_of(request)
        if key is None:
            command_id = f"cmd-{self._draw(16).hex()}"
        else:
            command_id = id_for("cmd", endpoint, key)
            found = await self._commands.find(command_id)
            if found is not None:
                return self._earlier(found, wanted)
        who, tenant = issuer_of(request), tenant_of_device(request)
        return self._accepted(
            await self._commands.issue(command_id, endpoint, wanted, who, tenant, act_of(request))
        )

    async def _of_device(self, request: Request) -> Response:
        endpoint = check_endpoint_name(request.path_params["endpoint"])
        query = read_query(request.query_params.multi_items(), endpoint)
        return await self._page(query, tenants_of(request, "read_device_commands"))

    async def _list(self, request: Request) -> Response:
        query = read_query(request.query_params.multi_items())
        return await self._page(query, tenants_of(request, "read_commands"))

    async def _get(self, request: Request) -> Response:
        tenants = tenants_of(request, "read_command")
        row = await self._commands.get(request.path_params["id"], tenants)
        return json_response(self._commands.record(row))

    async def _cancel(self, request: Request) -> Response:
        tenants = tenants_of(request, "cancel_command")
        return self._accepted(await self._commands.cancel(request.path_params["id"], tenants))

    async def _page(self, query: CommandQuery, tenants: tuple[str, ...] | None) -> Response:
        one_more = query._replace(limit=query.limit + 1, tenants=tenants)
        found = await self._commands.search(one_more)
        rows = found[: query.limit]
        more = len(found) > query.limit
        return json_response(
            CommandPage(
                commands=[self._commands.record(row) for row in rows],
                next_cursor=cursor_of_time(rows[-1].issued_at_us, rows[-1].id) if more else None,
            )
        )

    def _earlier(self, found: CommandRow, wanted: CommandRequest) -> Response:
        if found.request != wanted:
            return used_before("for another command to this device")
        return self._accepted(found)

    def _accepted(self, row: CommandRow) -> Response:
        # The Location also tells the audit which command it was.
        return Response(
            msgspec.json.encode(self._commands.record(row)),
            202,
            {"Location": f"/v1/commands/{row.id}"},
            "application/json",
        )
