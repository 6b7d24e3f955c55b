"""The HTTP side of audit: takes entries, and searches them."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.audit.bodies import WrongQuery, page_of, read_query
from city_platform.audit.entries import MalformedEntries, read_entries
from city_platform.audit.keeper import AuditKeeper, TooManyWait
from city_platform.identity.gate import caller_of
from city_platform.identity.operations import operation_named
from city_platform.stores.audit_log import SEARCH_LIMIT_MAX, AuditLog
from runtime.http import BodyTooLarge, json_response, problem, read_body

BODY_BYTES_MAX = 4_194_304


class AuditRoutes:
    """The routes and what they need. Without a gate before them only the token's bearer comes."""

    def __init__(self, keeper: AuditKeeper, log: AuditLog) -> None:
        self._keeper = keeper
        self._log = log

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/v1/audit", self._search),
            Route("/v1/audit/head", self._head),
            Route("/v1/audit/entries", self._record, methods=["POST"]),
        ]

    async def _search(self, request: Request) -> Response:
        caller = caller_of(request)
        tenants = None if caller is None else caller.tenants_for(operation_named("search_audit"))
        try:
            query = read_query(dict(request.query_params), tenants)
        except WrongQuery as error:
            return problem(400, "wrong query", str(error))
        limit = max(1, min(query.limit, SEARCH_LIMIT_MAX - 1))
        found = await self._log.search(msgspec.structs.replace(query, limit=limit + 1))
        return json_response(page_of(found, limit))

    async def _head(self, request: Request) -> Response:
        return Response(await self._keeper.signed_head(), media_type="application/json")

    async def _record(self, request: Request) -> Response:
        try:
            # Components send it, hundreds of entries at once.
            body = await read_body(request, BODY_BYTES_MAX, may_repeat_keys=True)
            entries = read_entries(body)
            kept = [self._keeper.keep(entry) for entry in entries]
        except MalformedEntries as error:
            return problem(422, "wrong entries", str(error))
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        except TooManyWait as error:
            return problem(503, "too many entries wait", f"{error}: send them again later")
        try:
            for future in dict.fromkeys(kept):
                await future
        except Exception as error:  # the disk's: the sender keeps its entries and sends them again
            return problem(503, "not kept", f"{type(error).__name__}: send them again later")
        return json_response({"head": self._keeper.head.sequence})
