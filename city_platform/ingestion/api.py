"""The HTTP interface of ingestion: `contracts.api` says its routes and bodies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from city_platform.ingestion.feed import Feed
from city_platform.stores.telemetry_store import TelemetryStore
from contracts.api import Alarms
from runtime.http import json_response, problem
from runtime.metrics import metrics_response

_TIME_MAX_US = 2**63 - 1
_LIMIT = 1_000


class IngestionApi:
    """The routes and what they need; `more` are those of the other modules.

    `backlog` tells of the component, `away` why the broker is not there, `trouble` why nothing is
    taken or stored; both are empty while all is well.
    """

    def __init__(
        self,
        store: TelemetryStore,
        feed: Feed,
        backlog: Callable[[], int],
        away: Callable[[], str],
        feed_readers_max: int,
        trouble: Callable[[], str] = str,
        more: Sequence[BaseRoute] = (),
    ) -> None:
        self._store = store
        self._feed = feed
        self._backlog = backlog
        self._away = away
        self._feed_readers_max = feed_readers_max
        self._trouble = trouble
        self._more = more

    def routes(self) -> Sequence[BaseRoute]:
        """All routes of the component."""
        return [
            Route("/v1/feed", self._get_feed),
            Route("/v1/devices/{endpoint}/alarms", self._get_alarms),
            Route("/v1/counts", self._get_counts),
            Route("/metrics", self._get_metrics),
            Route("/healthz", self._get_health),
            Route("/readyz", self._get_readiness),
            *self._more,
        ]

    async def _get_feed(self, request: Request) -> Response:
        after = _whole_number(request, "after", 0)
        if after is None or not 0 <= after <= self._feed.newest:
            return problem(400, "wrong cursor", f"after is 0 to {self._feed.newest}")
        if self._feed.readers >= self._feed_readers_max:
            return problem(429, "too many feeds are open", "close one")
        return StreamingResponse(self._feed.follow(after), media_type="application/x-ndjson")

    async def _get_alarms(self, request: Request) -> Response:
        limit = _whole_number(request, "limit", _LIMIT)
        if limit is None:
            return problem(400, "wrong query", "limit is a whole number")
        return json_response(
            Alarms(await self._store.alarms(request.path_params["endpoint"], limit))
        )

    async def _get_counts(self, request: Request) -> Response:
        counts = await self._store.counts()
        return json_response(msgspec.structs.replace(counts, backlog=self._backlog()))

    async def _get_metrics(self, request: Request) -> Response:
        counts = msgspec.structs.replace(await self._store.counts(), backlog=self._backlog())
        return metrics_response("ingestion", msgspec.structs.asdict(counts))

    async def _get_health(self, request: Request) -> Response:
        return json_response({"status": "ok"})

    async def _get_readiness(self, request: Request) -> Response:
        why = "; ".join(one for one in (self._away(), self._trouble()) if one)
        return problem(503, "not ready", why) if why else json_response({"status": "ready"})


def _whole_number(request: Request, name: str, default: int) -> int | None:
    """The number in the query, `default` when it is absent, None when it is none or too large."""
    text = request.query_params.get(name, "")
    try:
        number = int(text) if text else default
    except ValueError:
        return None
    return number if abs(number) <= _TIME_MAX_US else None
