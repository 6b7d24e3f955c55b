"""The administration of the server over HTTP: registrations, observations, single operations.

Beside those of the security store (`SecurityAdmin`) and of OSCORE (`OscoreAdmin`):

| route | answer |
|---|---|
| `GET /v1/registrations?after=0&limit=1000` | 200 `RegistrationPage` |
| `GET /v1/observations?after=0&limit=1000` | 200 `ObservationPage` |
| `POST /v1/operations` `OperationRequest` | 200 `Outcome`; 202 when it has none yet; 400; 429 |
| `GET /v1/operations/{id}` | 200 `Outcome`; 202 when it has none yet; 404 |
| `GET /v1/counters` | 200: numbers by name |
| `GET /metrics` | 200: the same for Prometheus |
| `GET /healthz`, `GET /readyz` | 200 |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol, TypeVar, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from contracts.data_interface import Operation, Outcome, Registration, Value, ValueType
from harness.lwm2m_server.bodies import read_body
from harness.lwm2m_server.dispatcher import CommandRefused
from harness.lwm2m_server.observations import Observation, ObservationState
from runtime.http import json_response, make_app, problem
from runtime.metrics import metrics_response

PAGE_MAX = 10_000
# The longest that a request may wait, in seconds: longer than CoAP's MAX_TRANSMIT_WAIT.
WAIT_S_MAX = 120.0

_STATES: Final[dict[ObservationState, Literal["held", "asked", "lost"]]] = {
    ObservationState.HELD: "held",
    ObservationState.ASKED: "asked",
    ObservationState.LOST: "lost",
}


class RegistrationPage(msgspec.Struct, frozen=True):
    """Registrations in the order in which the server holds them; None at the end."""

    registrations: list[Registration]
    next_after: int | None = None


class ObservationRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One observation, by the id of the command that began it. `held` ones are confirmed by the
    device; others were, and are asked for again when it can be asked."""

    id: str
    endpoint: str
    state: Literal["held", "asked", "lost"]
    path: str | None = None
    paths: list[str] | None = None
    attributes: dict[str, str] | None = None
    format: int | None = None


class ObservationPage(msgspec.Struct, frozen=True):
    """Observations by device; None at the end."""

    observations: list[ObservationRow]
    next_after: int | None = None


class OperationRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One operation on a device, as in `Command`. The answer waits `wait_s` (0 to 120) for its
    outcome; a device that sleeps is asked within `expires_in_s`."""

    endpoint: str
    operation: Operation
    path: str | None = None
    paths: list[str] | None = None
    values: list[Value] | None = None
    mode: Literal["replace", "update"] = "replace"
    arguments: str | None = None
    attributes: dict[str, str] | None = None
    format: int | None = None
    depth: int | None = None
    passive: bool = False
    any_format: bool = False
    wait_s: float = 30.0
    expires_in_s: float = 60.0


class OperationOpen(msgspec.Struct, frozen=True):
    """The operation has no outcome yet: ask again by its id."""

    id: str


class AdministeredServer(Protocol):
    """What is administered."""

    def registrations(self) -> list[Registration]:
        """All registrations."""

    def observations(self) -> list[Observation]:
        """All observations."""

    def counters(self) -> Mapping[str, int]:
        """Numbers by name."""

    def find_outcome(self, command_id: str) -> tuple[bool, Outcome | None]:
        """Whether a command is remembered, and its outcome once it has one."""

    async def operate(self, asked: OperationRequest) -> tuple[str, Outcome | None]:
        """Do it, and wait `wait_s`: its id, and its outcome if there is one. Raises
        `CommandRefused`."""


class Admin:
    """The handlers; `make_admin_app` routes to them."""

    def __init__(self, server: AdministeredServer) -> None:
        self._server = server

    async def get_registrations(self, request: Request) -> Response:
        """A page of all registrations."""
        found = _page(request, self._server.registrations())
        if found is None:
            return problem(400, "after and limit are numbers")
        return json_response(RegistrationPage(*found))

    async def get_observations(self, request: Request) -> Response:
        """A page of all observations."""
        found = _page(request, self._server.observations())
        if found is None:
            return problem(400, "after and limit are numbers")
        observations, next_after = found
        return json_response(ObservationPage([*map(_row, observations)], next_after))

    async def post_operation(self, request: Request) -> Response:
        """Do one operation, and wait a while for what becomes of it."""
        body = await read_body(request)
        try:
            asked = _operations.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return problem(400, "not an operation", _told(str(error), body))
        if not 0 <= asked.wait_s <= WAIT_S_MAX or not 0 < asked.expires_in_s <= WAIT_S_MAX:
            return problem(400, f"wait_s and expires_in_s are at most {WAIT_S_MAX:g}")
        try:
            command_id, outcome = await self._server.operate(asked)
        except CommandRefused as error:
            return problem(429, "not taken", str(error))
        if outcome is None:
            return json_response(OperationOpen(command_id), status=202)
        return json_response(outcome)

    async def get_operation(self, request: Request) -> Response:
        """What became of an operation or command."""
        command_id = request.path_params["id"]
        is_known, outcome = self._server.find_outcome(command_id)
        if not is_known:
            return problem(404, "no such operation", "unknown, or forgotten since it ended")
        if outcome is None:
            return json_response(OperationOpen(command_id), status=202)
        return json_response(outcome)

    async def get_counters(self, request: Request) -> Response:
        """How often what happened, and how full what is."""
        return json_response(dict(self._server.counters()))

    async def get_metrics(self, request: Request) -> Response:
        """The same for Prometheus."""
        return metrics_response("lwm2m_server", self._server.counters())

    async def get_health(self, request: Request) -> Response:
        """The process serves."""
        return json_response({"status": "ok"})


def make_admin_app(admin: Admin, others: Sequence[BaseRoute], token: str) -> ASGIApp:
    """The application, with the routes of others; all but health asks for the bearer token."""
    return make_app(
        [
            *others,
            Route("/v1/registrations", admin.get_registrations),
            Route("/v1/observations", admin.get_observations),
            Route("/v1/operations", admin.post_operation, methods=["POST"]),
            Route("/v1/operations/{id}", admin.get_operation),
            Route("/v1/counters", admin.get_counters),
            Route("/metrics", admin.get_metrics),
            Route("/healthz", admin.get_health),
            Route("/readyz", admin.get_health),
        ],
        token,
    )


_Item = TypeVar("_Item")
_operations = msgspec.json.Decoder(OperationRequest)


# What may stand where msgspec says that something else does.
_CHOICES: Final = {
    "$.operation": get_args(Operation),
    "$.mode": ("replace", "update"),
    "$.values[...].type": get_args(ValueType),
}


def _told(error: str, body: bytes) -> str:
    """Why a body is no operation, with what would be right where that is known."""
    place = re.sub(r"\[\d+\]", "[...]", error.partition("`")[2].rstrip("`"))
    if error.startswith("Invalid enum value") and place in _CHOICES:
        return f"{error}; choose one of {', '.join(_CHOICES[place])}"
    if error.endswith("`$.attributes[...]`"):
        given = msgspec.json.decode(body)["attributes"]
        name = next((key for key, value in given.items() if not isinstance(value, str)), "")
        return f'attributes: {name[:20]!r} has to be text, such as {{"pmin": "10"}}'
    return error


def _page(request: Request, found: list[_Item]) -> tuple[list[_Item], int | None] | None:
    """The part of a list that is asked for, and the next `after`; None for what is no number."""
    try:
        after = max(0, int(request.query_params.get("after", "0")))
        limit = min(PAGE_MAX, max(1, int(request.query_params.get("limit", "1000"))))
    except ValueError:
        return None
    end = after + limit
    return found[after:end], end if end < len(found) else None


def _row(observation: Observation) -> ObservationRow:
    command = observation.command
    return ObservationRow(
        id=command.id,
        endpoint=command.endpoint,
        state=_STATES[observation.state],
        path=None if command.paths else command.path,
        paths=command.paths,
        attributes=command.attributes,
        format=command.format,
    )
