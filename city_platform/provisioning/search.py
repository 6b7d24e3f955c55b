"""Reads what `GET /v1/devices` asks, and gives its cursors."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from city_platform.graph.queries import (
    ATTRIBUTES_MAX,
    PAGE_MAX,
    TEXT_LENGTH_MAX,
    WITHIN_M_MAX,
    Circle,
    GraphQuery,
    distance_m,
)
from city_platform.stores.device_directory import Box
from contracts.api import DevicePage, FoundDevice
from contracts.manifest import ATTRIBUTE_LENGTH_MAX
from contracts.names import is_endpoint_name

LIMIT_DEFAULT: Final = 100
_TEXTS: Final = (
    "tenant",
    "site",
    "group",
    "model",
    "firmware",
    "feeder",
    "serial",
    "text",
)
_ONCE: Final = (*_TEXTS, "box", "near", "within_m", "limit", "cursor")
KNOWN: Final = frozenset((*_ONCE, "attribute"))

# As a person writes them; `float` would take 1_0, nan and other scripts' digits too.
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,10}(\.[0-9]{1,20})?", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,6}", re.ASCII)


class InvalidSearch(ValueError):
    """The query of a search is wrong; `field` says where."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


def read_search(items: Sequence[tuple[str, str]]) -> GraphQuery:
    """From the names and values of a URL's query to a question. Raises `InvalidSearch`."""
    given: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for name, value in items:
        if name not in KNOWN:
            raise InvalidSearch(name[:40], f"unknown; known are {', '.join(sorted(KNOWN))}")
        if name == "attribute":
            _add_attribute(attributes, value)
        elif name in given:
            raise InvalidSearch(name, "is there twice")
        else:
            given[name] = value
    texts: dict[str, Any] = {name: _text(name, given[name]) for name in _TEXTS if name in given}
    return GraphQuery(
        **texts,
        attributes=attributes,
        box=_box(given["box"]) if "box" in given else None,
        circle=_circle(given),
        after=read_cursor(given["cursor"]) if "cursor" in given else "",
        limit=_limit(given.get("limit")),
    )


def read_page(items: Sequence[tuple[str, str]], known: Sequence[str]) -> tuple[str, int]:
    """Endpoint to go on behind, and limit, of a query that has these and `known` names only."""
    given = dict(items)
    for name in given:
        if name not in ("cursor", "limit", *known):
            raise InvalidSearch(name[:40], f"unknown; known are {', '.join(known)}, limit, cursor")
    after = read_cursor(given["cursor"]) if "cursor" in given else ""
    return after, _limit(given.get("limit"))


def page(found: Sequence[FoundDevice], limit: int, circle: Circle | None = None) -> DevicePage:
    """The answer, of devices that were looked for with a limit one larger than `limit`."""
    devices = list(found[:limit])
    cursor = make_cursor(devices[-1].endpoint) if len(found) > limit else None
    if circle is not None:
        devices = [
            msgspec.structs.replace(
                one, distance_m=round(distance_m(circle, one.latitude, one.longitude), 3)
            )
            for one in devices
        ]
    return DevicePage(devices=devices, next_cursor=cursor)


def make_cursor(endpoint: str) -> str:
    """The cursor of the page behind `endpoint`. What is in it is nobody's business but ours."""
    return base64.urlsafe_b64encode(endpoint.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """The endpoint that a cursor was made of. Raises `InvalidSearch`."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        endpoint = base64.b64decode(padded, b"-_", validate=True).decode("ascii")
    except (UnicodeError, binascii.Error):
        endpoint = ""
    if not is_endpoint_name(endpoint) or make_cursor(endpoint) != cursor:
        raise InvalidSearch("cursor", "is none of ours: take next_cursor of the page before")
    return endpoint


def _text(name: str, value: str) -> str:
    if not 0 < len(value) <= TEXT_LENGTH_MAX or not value.isprintable():
        raise InvalidSearch(name, f"must be 1 to {TEXT_LENGTH_MAX} printable characters")
    return value


def _add_attribute(attributes: dict[str, str], text: str) -> None:
    name, equals, value = text.partition("=")
    if not equals or not name or len(text) > 2 * ATTRIBUTE_LENGTH_MAX:
        raise InvalidSearch("attribute", "must be name=value")
    if name in attributes:
        raise InvalidSearch("attribute", f"{name[:40]!r} is there twice")
    if len(attributes) == ATTRIBUTES_MAX:
        raise InvalidSearch("attribute", f"at most {ATTRIBUTES_MAX} may be asked at once")
    attributes[name] = value


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    # One less than a page of the graph holds: the one behind tells whether there is more.
    if not _WHOLE.fullmatch(text) or not 0 < int(text) < PAGE_MAX:
        raise InvalidSearch("limit", f"must be a whole number from 1 to {PAGE_MAX - 1}")
    return int(text)


def _box(text: str) -> Box:
    south, west, north, east = _degrees("box", text, "south,west,north,east", (90, 180, 90, 180))
    if south > north:
        raise InvalidSearch("box", "its south is north of its north")
    return Box(south=south, west=west, north=north, east=east)


def _circle(given: dict[str, str]) -> Circle | None:
    if ("near" in given) != ("within_m" in given):
        missing = "within_m" if "near" in given else "near"
        raise InvalidSearch(missing, "is missing: near and within_m belong together")
    if "near" not in given:
        return None
    latitude, longitude = _degrees("near", given["near"], "latitude,longitude", (90, 180))
    within_m = _number(given["within_m"])
    if not 0 < within_m <= WITHIN_M_MAX:
        raise InvalidSearch("within_m", f"must be metres up to {WITHIN_M_MAX:.0f}")
    return Circle(latitude=latitude, longitude=longitude, within_m=within_m)


def _degrees(name: str, text: str, form: str, limits: Sequence[int]) -> list[float]:
    numbers = [_number(part.strip()) for part in text.split(",", len(limits))]
    if len(numbers) != len(limits) or not all(
        -limit <= number <= limit for number, limit in zip(numbers, limits, strict=True)
    ):
        raise InvalidSearch(name, f"must be {form} in degrees")
    return numbers


def _number(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else math.nan
