"""The security store over HTTP, of the LwM2M server and of the bootstrap server.

| route | answer |
|---|---|
| `PUT /v1/security/{endpoint}` `{identity, key}` | 204; 400; 507 |
| `POST /v1/security` NDJSON of `{endpoint, identity, key}` | 200 `SecurityImport` |
| `DELETE /v1/security/{endpoint}` | 204; 404 |

Keys are base64 and never come back out.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from harness.lwm2m_server.bodies import read_body, take_rows
from harness.lwm2m_server.security_store import (
    InvalidRow,
    SecurityRow,
    SecurityStore,
    StoreFull,
    decode_row,
)
from runtime.http import json_response, problem

LINE_BYTES_MAX = 4_096


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identity: str
    key: bytes


class SecurityAdmin:
    """The handlers; `routes` leads to them."""

    def __init__(self, store: SecurityStore) -> None:
        self._store = store

    async def put_security(self, request: Request) -> Response:
        """Set one device's key."""
        try:
            found = msgspec.json.decode(await read_body(request, LINE_BYTES_MAX), type=_Key)
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
        found = await take_rows(
            request,
            lambda line: self._store.put(decode_row(line)),
            self._store.flush,
            refusals=(InvalidRow, StoreFull),
            line_bytes_max=LINE_BYTES_MAX,
        )
        return json_response(found)

    def routes(self) -> list[BaseRoute]:
        """What the application of a server has to have among its routes."""
        return [
            Route("/v1/security", self.post_security, methods=["POST"]),
            Route("/v1/security/{endpoint}", self.put_security, methods=["PUT"]),
            Route("/v1/security/{endpoint}", self.delete_security, methods=["DELETE"]),
        ]
