"""A city of devices for the graph's tests, questions about it, and the answers in plain Python."""

from __future__ import annotations

import random
from collections.abc import Sequence

from city_platform.graph.devices import fold, found_device, searched_texts
from city_platform.graph.queries import Circle, GraphQuery, distance_m
from city_platform.stores.device_directory import Box, DirectoryEntry
from contracts.api import FoundDevice

TENANTS = ("harbour", "airport", "old town")
STREETS = ("Kade", "Große Straße", "Rue de l'Île", "Prinsengracht", "1st Avenue", "Quai 'Ouest'")
MODELS = ("street_lamp", "street_lamp", "street_lamp", "water_meter", "waste_bin")


def entry(number: int, chance: random.Random) -> DirectoryEntry:
    """The n-th device; the same chance gives the same one."""
    tenant, model = chance.choice(TENANTS), chance.choice(MODELS)
    site = f"site {chance.randrange(8)}"
    attributes = {"pole": chance.choice(("steel", "wood", 'a "b" \\ \u2028')), "height": "8"}
    if chance.random() < 0.8:
        attributes["feeder"] = f"F{chance.randrange(30)}"
    if chance.random() < 0.5:
        attributes["firmware"] = chance.choice(("1.0", "1.1"))
    return DirectoryEntry(
        endpoint=f"{chance.choice('abzAZ')}:{number}",
        tenant=tenant,
        site=site,
        group=f"{site}/{model}",
        model=model,
        serial=f"SN{number:05d}",
        street=f"{chance.choice(STREETS)} {chance.randrange(40)}",
        latitude=chance.uniform(52.0, 52.2),
        # Some of them on either side of the 180th meridian.
        longitude=chance.choice((chance.uniform(4.8, 5.1), 179.95, -179.95)),
        installed_on="2026-05-31",
        attributes=attributes,
    )


def city(size: int, seed: int = 1) -> list[FoundDevice]:
    """Devices that the graph is filled with."""
    chance = random.Random(seed)
    return [
        found_device(entry(number, chance), chance.choice((None, None, "2.0")))
        for number in range(size)
    ]


def question(chance: random.Random, devices: Sequence[FoundDevice]) -> GraphQuery:
    """One to four conditions that a device of the city fits, most of the time."""
    about = chance.choice(devices)
    wanted: dict[str, object] = {}
    for _ in range(chance.randint(1, 4)):
        wanted |= _condition(chance, about, chance.choice(devices))
    after = chance.choice(devices).endpoint if chance.random() < 0.4 else ""
    if chance.random() < 0.2:
        wanted["tenants"] = tuple(chance.sample(TENANTS, chance.randint(0, 2)))
    return GraphQuery(**wanted, after=after, limit=chance.choice((1, 10, 100)))  # type: ignore[arg-type]  # names and values fit by construction


def _condition(chance: random.Random, about: FoundDevice, other: FoundDevice) -> dict[str, object]:
    kind = chance.randrange(12)
    if kind < 7:
        name = ("tenant", "site", "group", "model", "firmware", "feeder", "serial")[kind]
        return {name: getattr(about if chance.random() < 0.9 else other, name)}
    if kind == 7:
        text = chance.choice(list(searched_texts(about)))
        start = chance.randrange(max(1, len(text)))
        piece = text[start : start + chance.randint(1, 6)]
        return {"text": piece.swapcase() if chance.random() < 0.5 else piece}
    if kind == 8:
        return {"attributes": dict(chance.sample(sorted(about.attributes.items()), 1))}
    if kind == 9:
        wide = chance.uniform(0.001, 0.2)
        west, east = about.longitude - wide, about.longitude + wide
        return {
            "box": Box(
                south=about.latitude - wide,
                north=about.latitude + wide,
                west=west + 360 if west < -180 else west,
                east=east - 360 if east > 180 else east,
            )
        }
    return {
        "circle": Circle(
            latitude=about.latitude + chance.uniform(-0.01, 0.01),
            longitude=max(-180.0, min(180.0, about.longitude + chance.uniform(-0.1, 0.1))),
            within_m=chance.choice((200.0, 2_000.0, 20_000.0)),
        )
    }


def answer(query: GraphQuery, devices: Sequence[FoundDevice]) -> list[str]:
    """The endpoint names that a search must answer."""
    fitting = sorted(found.endpoint for found in devices if fits(query, found))
    return [name for name in fitting if name > query.after][: query.limit]


def fits(query: GraphQuery, found: FoundDevice) -> bool:
    """Whether a device has all that a question asks, `after` aside."""
    plain = ("tenant", "site", "group", "model", "firmware", "feeder", "serial")
    for name in plain:
        wanted = getattr(query, name)
        if wanted is not None and getattr(found, name) != wanted:
            return False
    if query.tenants is not None and found.tenant not in query.tenants:
        return False
    if any(found.attributes.get(name) != value for name, value in query.attributes.items()):
        return False
    if query.text is not None and not any(
        fold(query.text) in fold(text) for text in searched_texts(found)
    ):
        return False
    if query.circle is not None:
        away_m = distance_m(query.circle, found.latitude, found.longitude)
        if away_m > query.circle.within_m:
            return False
    return query.box is None or _in_box(query.box, found)


def _in_box(box: Box, found: FoundDevice) -> bool:
    if not box.south <= found.latitude <= box.north:
        return False
    if box.west <= box.east:
        return box.west <= found.longitude <= box.east
    return found.longitude >= box.west or found.longitude <= box.east
