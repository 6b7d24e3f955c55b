"""Bridges and their load, and whether the components behind the pages are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.dashboard.gate import guarded, session_of
from city_platform.dashboard.map_routes import no_component, passed_on
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable
from contracts.bridge_status import BridgeList, BridgeStanding
from runtime.http import json_response

ASKED_WITHIN_S: Final = 3.0
ComponentState = Literal["ready", "not_ready", "unreachable"]


class BridgeRoutes:
    """The routes and what they need: components by name."""

    def __init__(self, components: Mapping[str, Upstream]) -> None:
        self._components = components

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/api/bridges", guarded(self._list_bridges)),
            Route("/api/components", self._list_components),
        ]

    async def _list_bridges(self, request: Request) -> Response:
        control = self._components.get("control")
        if control is None:
            return no_component("control")
        token = session_of(request).access_token
        answer = await control.ask("GET", "/v1/bridges", token=token)
        if answer.status != 200:
            return passed_on(answer)
        found = msgspec.json.decode(answer.body, type=BridgeList)
        return json_response({"bridges": [bridge_row(one) for one in found.bridges]})

    async def _list_components(self, request: Request) -> Response:
        found = await asyncio.gather(
            *(_readiness(name, one) for name, one in self._components.items())
        )
        return json_response({"components": found})


def bridge_row(bridge: BridgeStanding) -> dict[str, Any]:
    """A bridge as its page shows it: its load and counters in one, rates per second apart."""
    load = {} if bridge.load is None else msgspec.to_builtins(bridge.load)
    rates = {name: load.pop(f"{name}_per_s", 0.0) for name in ("events", "commands")}
    return {
        "name": bridge.server,
        "state": "up" if bridge.state == "live" else "lost",
        "standing": bridge.state,
        "since_us": bridge.since_us,
        "heard_at_us": bridge.heard_at_us,
        "devices_held": bridge.devices_held,
        "restarts": bridge.restarts,
        "counts": {**load, **bridge.counts},
        "rates": rates,
        "detail": "",
    }


async def _readiness(name: str, component: Upstream) -> dict[str, str]:
    state: ComponentState = "unreachable"
    detail = ""
    try:
        answer = await component.ask("GET", "/readyz", within_s=ASKED_WITHIN_S)
        state = "ready" if answer.status == 200 else "not_ready"
        if state == "not_ready":
            detail = str(msgspec.json.decode(answer.body).get("detail", ""))
    except (UpstreamUnavailable, msgspec.DecodeError, AttributeError) as error:
        detail = str(error)
    return {"name": name, "state": state, "detail": detail}
