"""The HTTP side of control: takes commands, and tells how far one has come."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.control.desk import CommandRow
from city_platform.control.dispatch import Dispatch
from city_platform.control.requests import REQUEST_BYTES_MAX, InvalidRequest, read_request
from contracts.api import CommandRecord, CommandRequest
from contracts.names import IllegalName, check_endpoint_name
from runtime.http import BodyTooLarge, json_response, problem, read_body

IDEMPOTENCY_KEY = "idempotency-key"
NOT_ANNOUNCED = (
    "no server has announced this device: the command is sent when one does, until it expires"
)


class ControlRoutes:
    """`POST /v1/devices/{endpoint}/commands` and `GET /v1/commands/{id}`.

    A request with an `Idempotency-Key` header that was used for this device before gets the
    command of then; with another body it is refused.
    """

    def __init__(
        self, dispatch: Dispatch, draw: Callable[[int], bytes], open_commands_max: int
    ) -> None:
        self._dispatch = dispatch
        self._draw = draw
        self._open_commands_max = open_commands_max

    @property
    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/v1/devices/{endpoint}/commands", self._post, methods=["POST"]),
            Route("/v1/commands/{id}", self._get, methods=["GET"]),
        ]

    async def _post(self, request: Request) -> Response:
        try:
            endpoint = check_endpoint_name(request.path_params["endpoint"])
            wanted = read_request(await read_body(request, REQUEST_BYTES_MAX))
        except IllegalName as error:
            return problem(422, "illegal endpoint name", str(error))
        except InvalidRequest as error:
            return problem(422, "invalid command", str(error))
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        key = request.headers.get(IDEMPOTENCY_KEY)
        if key is not None:
            found = await self._dispatch.find(_id_for(endpoint, key))
            if found is not None:
                return self._earlier(found, wanted)
        if self._dispatch.open_commands >= self._open_commands_max:
            return problem(503, "too many open commands", "try again when some have ended")
        command_id = f"cmd-{self._draw(16).hex()}" if key is None else _id_for(endpoint, key)
        row = await self._dispatch.issue(command_id, endpoint, wanted)
        answer = json_response(self._record(row), 202)
        # It also tells the audit which command it was.
        answer.headers["Location"] = f"/v1/commands/{row.id}"
        return answer

    async def _get(self, request: Request) -> Response:
        row = await self._dispatch.find(request.path_params["id"])
        if row is None:
            return problem(404, "unknown command", f"no command has the id of {request.url.path}")
        return json_response(self._record(row))

    def _earlier(self, found: CommandRow, wanted: CommandRequest) -> Response:
        if msgspec.json.encode(found.request) != msgspec.json.encode(wanted):
            return problem(409, "idempotency key used before", "for another command to this device")
        return json_response(self._record(found), 202)

    def _record(self, row: CommandRow) -> CommandRecord:
        is_waiting = row.state == "queued" and not self._dispatch.is_held(row.endpoint)
        return CommandRecord(
            id=row.id,
            endpoint=row.endpoint,
            operation=row.request.operation,
            path=row.request.path,
            state=row.state,
            issued_at_us=row.issued_at_us,
            expires_at_us=row.expires_at_us,
            ended_at_us=row.ended_at_us,
            outcome=row.outcome,
            detail=NOT_ANNOUNCED if is_waiting else None,
        )


def _id_for(endpoint: str, key: str) -> str:
    return "cmd-" + hashlib.sha256(f"{endpoint}\0{key}".encode()).hexdigest()[:32]
