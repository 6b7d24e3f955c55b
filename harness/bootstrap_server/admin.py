"""The bootstrap server's API over HTTP: entries, sessions, security store, counters.

| route | answer |
|---|---|
| `PUT /v1/bootstrap/{endpoint}` a `BootstrapEntry` without its name | 204; 400; 507 |
| `GET /v1/bootstrap/{endpoint}` | 200 `EntrySummary`: no keys, no values; 404 |
| `DELETE /v1/bootstrap/{endpoint}` | 204; 404 |
| `POST /v1/bootstrap` NDJSON of `BootstrapEntry` | 200 `SecurityImport` |
| `GET /v1/sessions?endpoint=` | 200: `SessionReport` of running and last sessions |
| `PUT`, `DELETE /v1/security/{endpoint}`, `POST /v1/security` | as at the LwM2M server |
| `GET /v1/counters` | 200: numbers by name |
| `GET /metrics` | 200: the same for Prometheus |
| `GET /healthz`, `GET /readyz` | 200 |
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from harness.bootstrap_server.core import BootstrapCore
from harness.bootstrap_server.entries import (
    BootstrapEntry,
    EntriesFull,
    EntryStore,
    InvalidEntry,
    decode_entry,
    summary_of,
)
from harness.lwm2m_server.bodies import read_body, take_rows
from harness.lwm2m_server.security_admin import SecurityAdmin
from runtime.http import json_response, make_app, problem
from runtime.metrics import metrics_response

# An entry carries certificates and values of all objects.
ENTRY_BYTES_MAX = 262_144
SESSIONS_TOLD_MAX = 10_000


class BootstrapAdmin:
    """The handlers; `make_bootstrap_app` routes to them."""

    def __init__(
        self, entries: EntryStore, core: BootstrapCore, numbers: Callable[[], dict[str, int]]
    ) -> None:
        self._entries = entries
        self._core = core
        self._numbers = numbers

    async def put_entry(self, request: Request) -> Response:
        """Set what one device, or any with `*`, is bootstrapped to."""
        body = await read_body(request, ENTRY_BYTES_MAX)
        endpoint = request.path_params["endpoint"]
        try:
            entry = _named(body, endpoint)
            self._entries.put(entry)
        except InvalidEntry as error:
            return problem(400, "not a bootstrap entry", str(error))
        except EntriesFull as error:
            return problem(507, "no room for another entry", str(error))
        return Response(status_code=204)

    async def get_entry(self, request: Request) -> Response:
        """What may be told of an entry."""
        entry = self._entries.own(request.path_params["endpoint"])
        if entry is None:
            return problem(404, "no such entry", "this endpoint has none of its own")
        return json_response(summary_of(entry))

    async def delete_entry(self, request: Request) -> Response:
        """Forget an entry."""
        if not self._entries.remove(request.path_params["endpoint"]):
            return problem(404, "no such entry", "this endpoint has none of its own")
        return Response(status_code=204)

    async def post_entries(self, request: Request) -> Response:
        """Set many entries; a bad one does not stop the others."""
        found = await take_rows(
            request,
            lambda line: self._entries.put(decode_entry(line)),
            lambda: None,  # each is on disk when it is taken
            refusals=(InvalidEntry, EntriesFull),
            line_bytes_max=ENTRY_BYTES_MAX,
        )
        return json_response(found)

    async def get_sessions(self, request: Request) -> Response:
        """Sessions that run, and the last one of each device."""
        found = self._core.reports(request.query_params.get("endpoint"))
        return json_response(msgspec.to_builtins(found[-SESSIONS_TOLD_MAX:]))

    async def get_counters(self, request: Request) -> Response:
        """How often what happened, and how full what is."""
        return json_response(dict(self._numbers()))

    async def get_metrics(self, request: Request) -> Response:
        """The same for Prometheus."""
        return metrics_response("bootstrap_server", self._numbers())

    async def get_health(self, request: Request) -> Response:
        """The process serves."""
        return json_response({"status": "ok"})


def make_bootstrap_app(admin: BootstrapAdmin, security: SecurityAdmin, token: str) -> ASGIApp:
    """The application; all but health asks for the bearer token."""
    return make_app(
        [
            Route("/v1/bootstrap", admin.post_entries, methods=["POST"]),
            Route("/v1/bootstrap/{endpoint}", admin.put_entry, methods=["PUT"]),
            Route("/v1/bootstrap/{endpoint}", admin.get_entry, methods=["GET"]),
            Route("/v1/bootstrap/{endpoint}", admin.delete_entry, methods=["DELETE"]),
            Route("/v1/sessions", admin.get_sessions),
            *security.routes(),
            Route("/v1/counters", admin.get_counters),
            Route("/metrics", admin.get_metrics),
            Route("/healthz", admin.get_health),
            Route("/readyz", admin.get_health),
        ],
        token,
    )


def _named(body: bytes, endpoint: str) -> BootstrapEntry:
    """The entry in a body whose name is in the path. Raises `InvalidEntry`."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEntry("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise InvalidEntry("the body is not a JSON object")
    if fields.setdefault("endpoint", endpoint) != endpoint:
        raise InvalidEntry("endpoint: another name than the path's")
    return decode_entry(msgspec.json.encode(fields))
