"""The OSCORE contexts of devices over HTTP.

| route | answer |
|---|---|
| `PUT /v1/oscore/{endpoint}` an `OscoreRow` without its name | 204; 400; 507 |
| `POST /v1/oscore` NDJSON of `OscoreRow` | 200 `SecurityImport` |
| `DELETE /v1/oscore/{endpoint}` | 204; 404 |

Keys are base64 and never come back out.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from harness.lwm2m_server.bodies import read_body, take_rows
from harness.lwm2m_server.oscore_devices import OscoreDevices
from harness.lwm2m_server.oscore_store import decode_row
from harness.lwm2m_server.security_store import InvalidRow, StoreFull
from runtime.http import json_response, problem

LINE_BYTES_MAX = 4_096


class OscoreAdmin:
    """The handlers; `routes` leads to them. `turn_ended` is called after a change."""

    def __init__(self, devices: OscoreDevices, turn_ended: Callable[[], None]) -> None:
        self._devices = devices
        self._turn_ended = turn_ended

    async def put_oscore(self, request: Request) -> Response:
        """Set one device's context."""
        try:
            fields = msgspec.json.decode(await read_body(request, LINE_BYTES_MAX))
            if not isinstance(fields, dict):
                raise InvalidRow("the body is not a JSON object")
            endpoint = request.path_params["endpoint"]
            if fields.setdefault("endpoint", endpoint) != endpoint:
                raise InvalidRow("endpoint: another name than the path's")
            self._devices.put(decode_row(msgspec.json.encode(fields)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return problem(400, "not an OSCORE context", "the body is not JSON")
        except InvalidRow as error:
            return problem(400, "not an OSCORE context", str(error))
        except StoreFull as error:
            return problem(507, "no room for another OSCORE context", str(error))
        self._flush()
        return Response(status_code=204)

    async def delete_oscore(self, request: Request) -> Response:
        """Forget one device's context; it may then register unprotected."""
        if not self._devices.remove(request.path_params["endpoint"]):
            return problem(404, "no such context", "this endpoint has none")
        self._flush()
        return Response(status_code=204)

    async def post_oscore(self, request: Request) -> Response:
        """Set many contexts; a bad row does not stop the others."""
        found = await take_rows(
            request,
            lambda line: self._devices.put(decode_row(line)),
            self._flush,
            refusals=(InvalidRow, StoreFull),
            line_bytes_max=LINE_BYTES_MAX,
        )
        return json_response(found)

    def routes(self) -> list[BaseRoute]:
        """What the application has to have among its routes."""
        return [
            Route("/v1/oscore", self.post_oscore, methods=["POST"]),
            Route("/v1/oscore/{endpoint}", self.put_oscore, methods=["PUT"]),
            Route("/v1/oscore/{endpoint}", self.delete_oscore, methods=["DELETE"]),
        ]

    def _flush(self) -> None:
        self._devices.flush()
        self._turn_ended()
