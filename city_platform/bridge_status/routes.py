"""`GET /v1/bridges`, and what feeds it from MQTT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.bridge_status.roster import BridgeRoster
from city_platform.endpoint_topics import EndpointTopic
from contracts.bridge_status import BridgeList, decode_status
from contracts.errors import ContractError
from contracts.topics import Topics
from runtime.clock import Clock
from runtime.http import json_response


class BridgeRoutes:
    """The roster of an installation; `held` tells how many devices each server holds."""

    def __init__(self, topics: Topics, held: Callable[[], Mapping[str, int]], clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self._roster = BridgeRoster()
        # Which server it is, its topic says: only that is guarded by the broker's policy.
        self._topic = EndpointTopic(topics.bridge_status.replace("{server}", "{endpoint}"))
        self._held = held
        self._clock = clock

    @property
    def routes(self) -> list[Route]:
        """For the application."""
        return [Route("/v1/bridges", self._list, methods=["GET"])]

    def receive(self, topic: str, payload: bytes) -> None:
        """One message of a status topic. What is malformed is counted and left."""
        try:
            status = decode_status(payload)
        except ContractError:
            self.counts["bridge_statuses_malformed"] += 1
            return
        if status.server != self._topic.read(topic):
            self.counts["bridge_statuses_of_another"] += 1
            return
        is_news = self._roster.hear(status, self._clock.wall_us())
        self.counts["bridge_statuses" if is_news else "bridge_statuses_old"] += 1

    async def _list(self, request: Request) -> Response:
        standings = self._roster.standings(self._held(), self._clock.wall_us())
        return json_response(BridgeList(standings))
