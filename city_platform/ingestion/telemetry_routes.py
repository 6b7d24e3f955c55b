"""Readings over HTTP: pages of them, buckets of time, latest values."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.ingestion.answers import answering
from city_platform.ingestion.bodies import Aggregates, LatestValues, ShownBucket, ShownValue
from city_platform.ingestion.queries import TIME_MAX_US, Query, WrongQuery, read_cursor
from city_platform.ingestion.units import Units
from city_platform.stores.telemetry_desk import TelemetryDesk
from city_platform.stores.telemetry_queries import (
    READINGS_LIMIT_MAX,
    Bucket,
    LatestValue,
    QueryTooLarge,
)
from contracts.api import Readings
from runtime.http import json_response

Function = Literal["min", "max", "mean", "sum", "count", "last"]
FUNCTIONS: Final[tuple[Function, ...]] = get_args(Function)
BUCKETS_MAX: Final = 1_000
BUCKET_S_MAX: Final = 31 * 86_400
_READING_CURSOR: Final = re.compile(r"(?P<time_us>-?\d{1,19})@(?P<path>(/\d{1,5}){3,4})", re.ASCII)
_BUCKET_CURSOR: Final = re.compile(r"(?P<from_us>-?\d{1,19})", re.ASCII)


class TelemetryRoutes:
    """The routes and what they need."""

    def __init__(self, desk: TelemetryDesk) -> None:
        self._desk = desk
        self._units = Units()

    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/v1/devices/{endpoint}/readings", self._readings),
            Route("/v1/devices/{endpoint}/aggregates", self._aggregates),
            Route("/v1/devices/{endpoint}/latest", self._latest),
        ]

    @answering
    async def _readings(self, request: Request) -> Response:
        query = Query(request, ("path", "from_us", "to_us", "limit", "cursor"))
        cursor = read_cursor(query.text("cursor"), _READING_CURSOR)
        page = await self._desk.readings_page(
            request.path_params["endpoint"],
            query.path("path"),
            query.number("from_us", -TIME_MAX_US, -TIME_MAX_US, TIME_MAX_US),
            query.number("to_us", TIME_MAX_US, -TIME_MAX_US, TIME_MAX_US),
            query.number("limit", 1_000, 0, READINGS_LIMIT_MAX),
            None if cursor is None else (_time(cursor["time_us"]), cursor["path"]),
        )
        following = None if page.before is None else f"{page.before[0]}@{page.before[1]}"
        return json_response(Readings(page.readings, following))

    @answering
    async def _aggregates(self, request: Request) -> Response:
        query = Query(
            request, ("path", "from_us", "to_us", "bucket_s", "functions", "limit", "cursor")
        )
        endpoint, path = request.path_params["endpoint"], query.path("path")
        bucket_s = query.optional_number("bucket_s", 1, BUCKET_S_MAX)
        if path is None or bucket_s is None:
            raise WrongQuery("path and bucket_s (seconds, whole) must be given")
        functions = query.choices("functions", FUNCTIONS) or list(FUNCTIONS)
        cursor = read_cursor(query.text("cursor"), _BUCKET_CURSOR)
        begin_us = query.number("from_us", -TIME_MAX_US, -TIME_MAX_US, TIME_MAX_US)
        try:
            page = await self._desk.buckets(
                endpoint,
                path,
                begin_us if cursor is None else _time(cursor["from_us"]),
                query.number("to_us", TIME_MAX_US, -TIME_MAX_US, TIME_MAX_US),
                bucket_s * 1_000_000,
                query.number("limit", BUCKETS_MAX, 1, BUCKETS_MAX),
            )
        except QueryTooLarge as error:
            raise QueryTooLarge(f"{error}, or for narrower buckets") from None
        sent = page.buckets[-1].unit if page.buckets else None
        shown = Aggregates(
            endpoint=endpoint,
            path=path,
            unit=self._units.of(path, sent),
            bucket_s=bucket_s,
            buckets=[shown_bucket(one, functions) for one in page.buckets],
            next_cursor=None if page.next_us is None else str(page.next_us),
        )
        return json_response(shown)

    @answering
    async def _latest(self, request: Request) -> Response:
        Query(request, ())
        endpoint = request.path_params["endpoint"]
        values = shown_values(await self._desk.latest(endpoint), self._units)
        return json_response(LatestValues(endpoint=endpoint, values=values))


def shown_values(values: list[LatestValue], units: Units) -> dict[str, ShownValue]:
    """Latest values by path, with their units."""
    return {
        one.path: ShownValue(
            value=one.value,
            time_us=one.time_us,
            unit=units.of(one.path, one.unit),
            time_source=one.time_source,
        )
        for one in values
    }


def shown_bucket(bucket: Bucket, functions: list[Function]) -> ShownBucket:
    """A bucket with what was asked for."""
    has_numbers = bucket.numbers > 0
    found: dict[Function, float | int | bool | str | None] = {
        "min": bucket.least,
        "max": bucket.most,
        "mean": bucket.total / bucket.numbers if has_numbers else None,
        "sum": bucket.total if has_numbers else None,
        "count": bucket.rows,
        "last": bucket.last,
    }
    return ShownBucket(
        from_us=bucket.from_us,
        last_us=bucket.last_us if "last" in functions else None,
        **{name: found[name] for name in functions},  # type: ignore[arg-type] # each by its name
    )


def _time(text: str) -> int:
    found = int(text)
    if abs(found) > TIME_MAX_US:
        raise WrongQuery("cursor is what the page before gave as next_cursor")
    return found
