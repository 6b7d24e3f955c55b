"""From what is asked to a statement's conditions and parameters: pure, and the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from city_platform.graph.devices import fold, mark
from city_platform.graph.statements import DISTANCE_M, EARTH_RADIUS_M, SEARCH
from city_platform.stores.device_directory import Box

PAGE_MAX: Final = 1_000
ATTRIBUTES_MAX: Final = 8
TEXT_LENGTH_MAX: Final = 256
# Half of the Earth's girth: nothing is farther away.
WITHIN_M_MAX: Final = math.pi * EARTH_RADIUS_M


class Circle(msgspec.Struct, frozen=True, kw_only=True):
    """All that is at most `within_m` metres from a position in degrees, over a sphere."""

    latitude: float
    longitude: float
    within_m: float


class GraphQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What devices must have; what is None is not asked. `after` continues behind an endpoint.

    `tenants` are those that the asker may see, beside what is asked for; None: all.
    """

    tenant: str | None = None
    site: str | None = None
    group: str | None = None
    model: str | None = None
    firmware: str | None = None
    feeder: str | None = None
    serial: str | None = None
    text: str | None = None
    attributes: dict[str, str] = {}
    box: Box | None = None
    circle: Circle | None = None
    tenants: tuple[str, ...] | None = None
    after: str = ""
    limit: int = 100


class Statement(NamedTuple):
    """A Cypher text and its parameters."""

    text: str
    parameters: dict[str, Any]


_EQUAL: Final = {
    "tenant": "tenant",
    "site": "site",
    "group": "name",
    "model": "model",
    "firmware": "firmware",
    "feeder": "feeder",
    "serial": "serial",
}
EQUAL_FIELDS: Final = tuple(_EQUAL)


def search_statement(query: GraphQuery, among: Sequence[str] | None = None) -> Statement:
    """The page behind `query.after`; of the devices `among` alone, if these are given.

    The cursor is a range over `endpoint`, which has an index in its order. Among given devices
    their `id`s lead to them.
    """
    values: dict[str, Any] = {"after": query.after, "limit": max(1, min(query.limit, PAGE_MAX))}
    conditions = ["d.endpoint > $after"]
    if among is not None:
        conditions.insert(0, "d.id IN $among")
        values["among"] = list(among)
    for name, column in _EQUAL.items():
        wanted = getattr(query, name)
        if wanted is not None:
            conditions.append(f"d.{column} = ${name}")
            values[name] = wanted
    if query.tenants is not None:
        conditions.append("d.tenant IN $tenants")
        values["tenants"] = list(query.tenants)
    if query.box is not None:
        conditions.append(_in_box(query.box, "box", values))
    if query.circle is not None:
        conditions.append(_in_circle(query.circle, values))
    for number, attribute in enumerate(query.attributes.items()):
        conditions.append(f"d.marks CONTAINS $mark{number}")
        values[f"mark{number}"] = "\n" + mark(attribute)
    if query.text is not None:
        conditions.append("d.text CONTAINS $text")
        values["text"] = fold(query.text)
    return Statement(SEARCH.format(conditions=" AND ".join(conditions)), values)


def distance_m(circle: Circle, latitude: float, longitude: float) -> float:
    """Metres from the circle's middle: what the statement computes, for answers and oracles."""
    half_latitude = math.sin(math.radians(latitude - circle.latitude) / 2)
    half_longitude = math.sin(math.radians(longitude - circle.longitude) / 2)
    across = math.cos(math.radians(circle.latitude)) * math.cos(math.radians(latitude))
    chord = half_latitude**2 + across * half_longitude**2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, chord)))


def a_little_wider(circle: Circle) -> Circle:
    """What is looked at first: whoever stands on the edge is decided by the distance alone."""
    return msgspec.structs.replace(circle, within_m=circle.within_m * 1.000_001 + 0.01)


def box_around(circle: Circle) -> Box:
    """The smallest box that holds the circle; of all longitudes when that holds a pole."""
    angle = math.degrees(circle.within_m / EARTH_RADIUS_M)
    south, north = circle.latitude - angle, circle.latitude + angle
    if south <= -90 or north >= 90:
        return Box(south=max(south, -90.0), north=min(north, 90.0), west=-180.0, east=180.0)
    reach = math.sin(math.radians(angle)) / math.cos(math.radians(circle.latitude))
    wide = math.degrees(math.asin(min(1.0, reach)))
    return Box(
        south=south,
        north=north,
        west=_wrapped(circle.longitude - wide),
        east=_wrapped(circle.longitude + wide),
    )


def _wrapped(longitude: float) -> float:
    if longitude < -180:
        return longitude + 360
    return longitude - 360 if longitude > 180 else longitude


def _in_circle(circle: Circle, values: dict[str, Any]) -> str:
    values["latitude"] = float(circle.latitude)
    values["longitude"] = float(circle.longitude)
    values["within_m"] = float(circle.within_m)
    around = _in_box(box_around(a_little_wider(circle)), "around", values)
    return f"{around} AND {DISTANCE_M} <= $within_m"


def _in_box(box: Box, name: str, values: dict[str, Any]) -> str:
    for side in ("south", "north", "west", "east"):
        values[f"{name}_{side}"] = float(getattr(box, side))
    rows = f"d.latitude >= ${name}_south AND d.latitude <= ${name}_north"
    # A box whose west is east of its east crosses the 180th meridian.
    both = "AND" if box.west <= box.east else "OR"
    return f"{rows} AND (d.longitude >= ${name}_west {both} d.longitude <= ${name}_east)"
