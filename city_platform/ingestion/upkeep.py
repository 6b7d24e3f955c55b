"""What is done now and then: flapping alarms that are calm again, and rows that are old.

Retention goes by steps of some milliseconds, with a pause after each, so that commits find the
store free; intake does not need it at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.ingestion.live import Live
from city_platform.ingestion.pipeline import PASSING
from city_platform.stores.dead_letters import DeadLetterDesk
from city_platform.stores.telemetry_desk import TelemetryDesk
from city_platform.stores.telemetry_retention import (
    EVERY_TENANT,
    KINDS,
    Bounds,
    Place,
    RetentionKind,
    RetentionRule,
    bounds,
)
from runtime.clock import Clock
from runtime.http import json_response

_log = logging.getLogger(__name__)

# Own choices.
EVERY_S: Final = 30.0
STEP_PAUSE_S: Final = 0.02


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep: when it began and ended (Unix microseconds), and how many rows it deleted."""

    began_us: int
    ended_us: int
    steps: int
    deleted: dict[str, int]


class RetentionShown(msgspec.Struct, frozen=True, kw_only=True):
    """The rules, and the last sweep; None before the first ended."""

    rules: list[RetentionRule]
    every_s: float
    last: Sweep | None


class Upkeep:
    """`run` it beside the pipeline; `sweep` may also be called alone."""

    def __init__(
        self,
        desk: TelemetryDesk,
        letters: DeadLetterDesk,
        live: Live,
        clock: Clock,
        rules: Sequence[RetentionRule],
        every_s: float,
    ) -> None:
        self._desk = desk
        self._letters = letters
        self._live = live
        self._clock = clock
        self._rules = {(rule.kind, rule.tenant): rule for rule in rules}
        self._every_s = max(EVERY_S, every_s)
        self.last: Sweep | None = None

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [Route("/v1/retention", self._show)]

    async def run(self) -> None:
        """Do it until cancelled; what fails is done the next time."""
        swept_ns = self._clock.now_ns()
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.settle()
                if self._clock.now_ns() - swept_ns >= self._every_s * 1e9:
                    swept_ns = self._clock.now_ns()
                    await self.sweep()
            except PASSING as error:
                _log.warning("upkeep is put off: %s", error)

    async def settle(self) -> None:
        """End the flapping of alarms that are calm."""
        now_us = self._clock.wall_us()
        if await self._desk.settle(now_us):
            await self._live.refresh(now_us)

    async def sweep(self) -> Sweep:
        """Delete what the rules say, step by step."""
        began_us, steps = self._clock.wall_us(), 0
        deleted = dict.fromkeys(KINDS, 0)
        for kind in KINDS:
            if not any(of == kind for of, _ in self._rules):
                continue
            if kind == "states":
                await self._live.save(is_last=True)
            place: Place | None = Place()
            while place is not None:
                count, place = await self._step(kind, place, began_us)
                deleted[kind] += count
                steps += 1
                await asyncio.sleep(STEP_PAUSE_S)
        if deleted["states"]:
            await self._live.load()
        self.last = Sweep(
            began_us=began_us, ended_us=self._clock.wall_us(), steps=steps,
            deleted={str(kind): count for kind, count in deleted.items()},
        )  # fmt: skip
        if any(deleted.values()):
            _log.info("retention deleted %s in %d steps", deleted, steps)
        return self.last

    async def _step(
        self, kind: RetentionKind, place: Place, now_us: int
    ) -> tuple[int, Place | None]:
        def bounds_of(tenant: str) -> Bounds:
            return bounds(self._rules, kind, tenant, now_us)

        if kind == "dead_letters":
            count = await self._letters.sweep(bounds_of(EVERY_TENANT))
            return count, place if count else None
        step = await self._desk.sweep(kind, bounds_of, place)
        return step.deleted, step.place

    async def _show(self, request: Request) -> Response:
        rules = list(self._rules.values())
        return json_response(RetentionShown(rules=rules, every_s=self._every_s, last=self.last))
