"""A component's counters over HTTP: `GET /v1/counts`, `/metrics`, `/healthz` and `/readyz`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runtime.http import bind, json_response, make_app, serving
from runtime.metrics import metrics_endpoint

Counts = Callable[[], Mapping[str, int]]


def standard_routes(counts: Counts, component: str) -> list[BaseRoute]:
    """The routes that every component with HTTP has. Metrics are named after `component`."""

    async def healthy(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def counted(request: Request) -> Response:
        return json_response(dict(sorted(counts().items())))

    return [
        Route("/healthz", healthy),
        Route("/readyz", healthy),
        Route("/v1/counts", counted),
        metrics_route(counts, component),
    ]


def metrics_route(counts: Counts, component: str) -> BaseRoute:
    """`GET /metrics` for Prometheus."""
    measured = metrics_endpoint(component, counts)
    return Route("/metrics", measured)


@contextlib.asynccontextmanager
async def serving_counts(
    address: tuple[str, int],
    counts: Counts,
    component: str,
    *,
    token: str | None = None,
    routes: Sequence[BaseRoute] = (),
) -> AsyncIterator[str]:
    """Serve counters, and `routes`, while the block runs; yields `host:port`."""
    app = make_app([*standard_routes(counts, component), *routes], token)
    async with serving(app, bind(*address)) as served_at:
        yield served_at
