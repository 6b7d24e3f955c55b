"""The administration of the server over HTTP: security store, registrations, counters.

| route | answer |
|---|---|
| `PUT /v1/security/{endpoint}` `{identity, key}` | 204; 400 |
| `POST /v1/security` NDJSON of `{endpoint, identity, key}` | 200 `SecurityImport` |
| `DELETE /v1/security/{endpoint}` | 204; 404 |
| `GET /v1/registrations?after=0&limit=1000` | 200 `RegistrationPage` |
| `GET /v1/counters` | 200: numbers by name |
| `GET /healthz`, `GET /readyz` | 200 |

Keys are base64 and never come back out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from contracts.data_interface import Registration
from harness.lwm2m_server.security_store import (
    InvalidRow,
    SecurityRow,
    SecurityStore,
    StoreFull,
    decode_row,
)
from runtime.http import json_response, make_app, problem

LINE_BYTES_MAX = 4_096
ROWS_AT_ONCE = 1_000
REJECTED_TOLD_MAX = 1_000
PAGE_MAX = 10_000


class RejectedRow(msgspec.Struct, frozen=True):
    """A line that was not taken; counted from 1."""

    row: int
    reason: str


class SecurityImport(msgspec.Struct, frozen=True):
    """What became of the lines. At most 1,000 rejected ones are named."""

    rows: int
    changed: int
    rejected: int
    errors: list[RejectedRow]


class RegistrationPage(msgspec.Struct, frozen=True):
    """Registrations in the order in which the server holds them; None at the end."""

    registrations: list[Registration]
    next_after: int | None = None


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identity: str
    key: bytes


class Admin:
    """The handlers; `make_admin_app` routes to them."""

    def __init__(
        self,
        store: SecurityStore,
        registrations: Callable[[], list[Registration]],
        counters: Callable[[], Mapping[str, int]],
    ) -> None:
        self._store = store
        self._registrations = registrations
        self._counters = counters

    async def put_security(self, request: Request) -> Response:
        """Set one device's key."""
        try:
            found = msgspec.json.decode(await request.body(), type=_Key)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return problem(400, "not a key", "expected {identity, key}, the key as base64")
        row = SecurityRow(
            endpoint=request.path_params["endpoint"], identity=found.identity, key=found.key
        )
        try:
            self._store.put(row)
        except InvalidRow as error:
            return problem(400, "not a row of the security store", str(error))
        except StoreFull as error:
            return problem(507, "the security store is full", str(error))
        self._store.flush()
        return Response(status_code=204)

    async def delete_security(self, request: Request) -> Response:
        """Forget one device's key."""
        if not self._store.remove(request.path_params["endpoint"]):
            return problem(404, "no such row", "this endpoint has no key")
        self._store.flush()
        return Response(status_code=204)

    async def post_security(self, request: Request) -> Response:
        """Set many keys; a bad row does not stop the others."""
        rows = changed = 0
        errors: list[RejectedRow] = []
        rejected = 0
        async for line in _lines(request):
            rows += 1
            try:
                changed += self._store.put(decode_row(line))
            except (InvalidRow, StoreFull) as error:
                rejected += 1
                if rejected <= REJECTED_TOLD_MAX:
                    errors.append(RejectedRow(rows, str(error)))
            if rows % ROWS_AT_ONCE == 0:
                self._store.flush()
                await asyncio.sleep(0)  # datagrams wait meanwhile
        self._store.flush()
        return json_response(SecurityImport(rows, changed, rejected, errors))

    async def get_registrations(self, request: Request) -> Response:
        """A page of all registrations."""
        try:
            after = max(0, int(request.query_params.get("after", "0")))
            limit = min(PAGE_MAX, max(1, int(request.query_params.get("limit", "1000"))))
        except ValueError:
            return problem(400, "after and limit are numbers")
        found = self._registrations()
        end = after + limit
        return json_response(RegistrationPage(found[after:end], end if end < len(found) else None))

    async def get_counters(self, request: Request) -> Response:
        """How often what happened, and how full what is."""
        return json_response(dict(self._counters()))

    async def get_health(self, request: Request) -> Response:
        """The process serves."""
        return json_response({"status": "ok"})


def make_admin_app(admin: Admin, token: str) -> ASGIApp:
    """The application; all but health asks for the bearer token."""
    return make_app(
        [
            Route("/v1/security", admin.post_security, methods=["POST"]),
            Route("/v1/security/{endpoint}", admin.put_security, methods=["PUT"]),
            Route("/v1/security/{endpoint}", admin.delete_security, methods=["DELETE"]),
            Route("/v1/registrations", admin.get_registrations),
            Route("/v1/counters", admin.get_counters),
            Route("/healthz", admin.get_health),
            Route("/readyz", admin.get_health),
        ],
        token,
    )


async def _lines(request: Request) -> AsyncIterator[bytes]:
    """The lines of a body; one that is too long comes cut, and is then no row."""
    rest = b""
    async for chunk in request.stream():
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[: LINE_BYTES_MAX + 1]
        for line in lines:
            if line.strip():
                yield line[:LINE_BYTES_MAX]
    if rest.strip():
        yield rest[:LINE_BYTES_MAX]
