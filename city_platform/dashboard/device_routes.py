"""`GET /api/devices/{endpoint}`: all that a device's page shows, asked of everybody at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.dashboard.columns import state_document
from city_platform.dashboard.gate import guarded, session_of
from city_platform.dashboard.live_state import LiveState, Scalar
from city_platform.dashboard.map_routes import no_component, passed_on
from city_platform.dashboard.resources import (
    Latest,
    Models,
    models_document,
    resource_rows,
    writable_rows,
)
from city_platform.dashboard.sessions import Session
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable
from city_platform.identity.operations import (
    OPERATIONS,
    Operation,
    OperationTable,
    Scope,
    operation_named,
)
from contracts.api import DeviceRecord
from contracts.names import is_endpoint_name
from lwm2m.objects import builtin_models
from runtime.http import json_response, problem

COMMANDS_SHOWN: Final = 50
ALARMS_SHOWN: Final = 100
# A day: definitions change with the platform's version alone.
_MODELS_KEPT: Final = "private, max-age=86400"


class _StoredValue(msgspec.Struct, frozen=True):
    value: Scalar
    time_us: int


class _StoredValues(msgspec.Struct, frozen=True):
    """What ingestion tells of a device's latest values."""

    values: dict[str, _StoredValue]


class DeviceRoutes:
    """The routes and what they need: components by name, None where there is none."""

    def __init__(self, upstreams: Mapping[str, Upstream], state: LiveState) -> None:
        self._upstreams = upstreams
        self._state = state
        self._models: Models | None = None
        self._models_body = b""

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/api/devices/{endpoint}", guarded(self._device)),
            Route("/api/models", self._get_models),
        ]

    async def _get_models(self, request: Request) -> Response:
        await self._read_models()
        headers = {"Cache-Control": _MODELS_KEPT}
        return Response(self._models_body, 200, headers, "application/json")

    async def _device(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        provisioning = self._upstreams.get("provisioning")
        if provisioning is None:
            return no_component("provisioning")
        if not is_endpoint_name(endpoint):
            return problem(404, "no such device", "no device has such a name")
        session = session_of(request)
        answer = await provisioning.ask(
            "GET", f"/v1/devices/{quote(endpoint)}", token=session.access_token
        )
        if answer.status != 200:
            return passed_on(answer)
        record = msgspec.json.decode(answer.body, type=DeviceRecord)
        return json_response(await self._document(session, record, answer.body))

    async def _document(
        self, session: Session, record: DeviceRecord, device: bytes
    ) -> dict[str, Any]:
        models = await self._read_models()
        problems: list[dict[str, str]] = []
        parts = _Parts(self._upstreams, session, record, problems)
        name = quote(record.endpoint)
        place = f"/v1/devices/{name}"
        latest_values, alarms, commands, certificates = await asyncio.gather(
            parts.get("readings", "ingestion", f"{place}/latest"),
            parts.get("alarms", "ingestion", f"{place}/alarms?limit={ALARMS_SHOWN}"),
            parts.get("commands", "control", f"{place}/commands?limit={COMMANDS_SHOWN}"),
            parts.get("certificates", "provisioning", f"/v1/certificates?endpoint={name}"),
        )
        may_see = parts.may("read_readings")
        known = self._state.get(record.endpoint)
        latest = self._latest(record.endpoint, latest_values) if may_see else None
        paths = [*(latest or ()), *(known.values if known is not None else ())]
        return {
            "device": msgspec.Raw(device),
            "may": parts.all_that_may_be,
            "state": state_document(known, may_see),
            "resources": None if latest is None else resource_rows(latest, models),
            "writable": writable_rows(paths, models) if parts.may("issue_command") else [],
            "alarms": _within(alarms, "alarms"),
            "commands": _within(commands, "commands"),
            "certificates": _within(certificates, "certificates"),
            "problems": problems,
        }

    def _latest(self, endpoint: str, stored: bytes | None) -> dict[str, Latest]:
        """The newest value of each path: as stored, or as the live feed told it since."""
        latest: dict[str, Latest] = {}
        if stored is not None:
            for path, one in msgspec.json.decode(stored, type=_StoredValues).values.items():
                latest[path.removeprefix("/")] = Latest(one.value, one.time_us)
        known = self._state.get(endpoint)
        for path, told in known.values.items() if known is not None else ():
            # What is stored has device time, and is as new: only where it could not be had.
            latest.setdefault(path, Latest(told.value, told.at_us))
        return latest

    async def _read_models(self) -> Models:
        if self._models is None:
            # Some hundred small files, read once.
            loop = asyncio.get_running_loop()
            found, self._models_body = await loop.run_in_executor(None, _read_models)
            self._models = found
        return self._models


class _Parts:
    """Asks for parts of a device's page, and notes those that cannot be had."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        session: Session,
        record: DeviceRecord,
        problems: list[dict[str, str]],
    ) -> None:
        self._upstreams = upstreams
        self._session = session
        self._record = record
        self._problems = problems

    def may(self, name: str) -> bool:
        """Whether the caller may do this with the device."""
        try:
            return self._may(operation_named(name))
        except KeyError:
            return False

    @property
    def all_that_may_be(self) -> list[str]:
        """All operations on one device, or on all, that the caller may do with this one."""
        return [
            one.name
            for one in OPERATIONS
            if one.component in self._upstreams and one.scope is not Scope.PUBLIC and self._may(one)
        ]

    async def get(self, part: str, component: str, target: str) -> bytes | None:
        """A part as its component gave it; None when the caller may not, or it cannot be had."""
        upstream = self._upstreams.get(component)
        match = OperationTable(component).find("GET", target.partition("?")[0])
        if upstream is None or match is None or not self._may(match.operation):
            return None
        try:
            answer = await upstream.ask("GET", target, token=self._session.access_token)
        except UpstreamUnavailable as error:
            self._note(part, str(error))
            return None
        if answer.status != 200:
            self._note(part, f"{upstream.name} answered {answer.status}")
            return None
        return answer.body

    def _may(self, operation: Operation) -> bool:
        caller = self._session.caller
        if operation.scope is Scope.INSTALLATION:
            return caller.may_somewhere(operation)
        return caller.may(operation, self._record.tenant)

    def _note(self, part: str, detail: str) -> None:
        self._problems.append(
            {"part": part, "title": f"{part} cannot be shown just now", "detail": detail}
        )


def _read_models() -> tuple[Models, bytes]:
    models = dict(builtin_models())
    return models, msgspec.json.encode(models_document(models))


def _within(body: bytes | None, name: str) -> Any:
    """What an answer has under a name, as it is."""
    return None if body is None else msgspec.json.decode(body).get(name)
