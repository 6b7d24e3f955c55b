"""The HTTP side of the device graph: searches, relations, nodes, and what devices run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.graph import DeviceGraph, GraphProjector, GraphUnavailable
from city_platform.graph.statements import RELATIONS
from city_platform.provisioning.search import InvalidSearch, page, read_page, read_search
from city_platform.stores.device_directory import DeviceDirectory
from contracts.api import FirmwareReport, GraphKind, GraphNodes
from contracts.manifest import TEXT_LENGTH_MAX
from contracts.names import is_endpoint_name
from runtime.http import BodyTooLarge, json_response, problem, read_body

# How long an answer waits for the graph to have what the directory had when it was asked.
CAUGHT_UP_WITHIN_S: Final = 5.0
# How long the graph may take to say that it is there.
CHECKED_WITHIN_S: Final = 2.0
BODY_BYTES_MAX: Final = 4_096
SEARCH_OPERATION: Final = "search_devices"


class SearchRoutes:
    """The routes and what they need."""

    def __init__(
        self, directory: DeviceDirectory, graph: DeviceGraph, projector: GraphProjector
    ) -> None:
        self._directory = directory
        self._graph = graph
        self._projector = projector

    def routes(self) -> Sequence[BaseRoute]:
        """All routes; before `/v1/devices/{endpoint}`, which would take none of them."""
        return [
            Route("/v1/devices", self._search),
            Route("/v1/devices/{endpoint}/related", self._related),
            Route("/v1/devices/{endpoint}/firmware", self._put_firmware, methods=["PUT"]),
            Route("/v1/graph/{kind}", self._nodes),
            Route("/readyz", self._ready),
        ]

    async def _search(self, request: Request) -> Response:
        try:
            query = read_search(request.query_params.multi_items())
        except InvalidSearch as error:
            return problem(400, "wrong search", str(error))
        if (behind := await self._behind()) is not None:
            return behind
        try:
            one_more = msgspec.structs.replace(
                query, limit=query.limit + 1, tenants=_tenants_of(request)
            )
            found = await self._graph.search(one_more)
        except GraphUnavailable as error:
            return self._unavailable(error)
        return json_response(page(found, query.limit, query.circle))

    async def _related(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        by = request.query_params.get("by")
        kind = next((kind for kind in RELATIONS if kind == by), None)
        if kind is None:
            return problem(400, "wrong search", f"by: must be one of {', '.join(RELATIONS)}")
        try:
            after, limit = read_page(request.query_params.multi_items(), ("by",))
        except InvalidSearch as error:
            return problem(400, "wrong search", str(error))
        if (behind := await self._behind()) is not None:
            return behind
        try:
            if await self._graph.get(endpoint) is None:
                return problem(404, "no such device", f"{endpoint[:128]!r} is not provisioned")
            found = await self._graph.related(endpoint, kind, after, limit + 1)
        except GraphUnavailable as error:
            return self._unavailable(error)
        return json_response(page(found, limit))

    async def _nodes(self, request: Request) -> Response:
        wanted, of = request.path_params["kind"], request.query_params.get("of")
        kinds: tuple[GraphKind, ...] = get_args(GraphKind)
        kind = next((kind for kind in kinds if kind == wanted), None)
        if kind is None:
            return problem(404, "no such kind", f"kinds are {', '.join(kinds)}")
        if (behind := await self._behind()) is not None:
            return behind
        try:
            nodes = await self._graph.nodes(kind)
        except GraphUnavailable as error:
            return self._unavailable(error)
        return json_response(GraphNodes([node for node in nodes if of in (None, node.of)]))

    async def _put_firmware(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        try:
            report = msgspec.json.decode(
                await read_body(request, BODY_BYTES_MAX), type=FirmwareReport
            )
        except (BodyTooLarge, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return problem(400, "wrong report", str(error))
        if not 0 < len(report.version) <= TEXT_LENGTH_MAX or not report.version.isprintable():
            return problem(
                400, "wrong report", f"version: 1 to {TEXT_LENGTH_MAX} printable characters"
            )
        if not is_endpoint_name(endpoint) or not await self._directory.put_firmware(
            endpoint, report.version
        ):
            return problem(404, "no such device", f"{endpoint[:128]!r} is not provisioned")
        self._projector.wake()
        return Response(status_code=204)

    async def _behind(self) -> Response | None:
        """A problem when the graph does not have what the directory has."""
        if await self._projector.caught_up(CAUGHT_UP_WITHIN_S):
            return None
        reason = self._projector.last_problem or "the device graph is being filled"
        detail = f"{reason}; try again in a moment"
        return _again(problem(503, "the device graph is behind", detail))

    def _unavailable(self, error: GraphUnavailable) -> Response:
        self._projector.doubt(error)
        return _again(problem(503, "the device graph cannot be asked", str(error)))

    async def _ready(self, request: Request) -> Response:
        matter = await self._projector.check(CHECKED_WITHIN_S)
        if not matter:
            return json_response({"status": "ok"})
        return _again(problem(503, "not ready", f"{matter}; all but searches works"))


def _tenants_of(request: Request) -> tuple[str, ...] | None:
    """The tenants that the caller may search; None: all, as where no gate is before the routes."""
    if "caller" not in request.scope:
        return None
    # Imported now: who has no gate does not pay for it.
    from city_platform.identity.gate import caller_of
    from city_platform.identity.operations import operation_named

    caller = caller_of(request)
    if caller is None:
        return ()
    tenants = caller.tenants_for(operation_named(SEARCH_OPERATION))
    return None if tenants is None else tuple(sorted(tenants))


def _again(answer: Response) -> Response:
    answer.headers["Retry-After"] = "2"
    return answer
