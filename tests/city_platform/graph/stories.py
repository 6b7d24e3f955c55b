"""What every backend of the device graph must do alike."""

from __future__ import annotations

import random

from city_platform.graph import DeviceGraph, Projection
from city_platform.graph.backend import GraphBackend
from tests.city_platform.graph.city import answer, city, question

BEGUN = Projection("directory-1", 0, False)


async def answers_as_the_oracle(backend: GraphBackend, devices: int, questions: int) -> None:
    """Generated questions have the answers of plain Python, also after devices were changed."""
    graph = DeviceGraph(backend)
    await graph.open()
    everything = city(devices)
    await graph.clear(BEGUN)
    for start in range(0, devices, 500):
        part = everything[start : start + 500]
        await graph.create(part, BEGUN._replace(revision=start + len(part)))
    # A fifth is replaced by other devices of the same names, a tenth is taken away.
    changed = [
        other.__class__(**{**_fields(other), "endpoint": old.endpoint, "serial": old.serial})
        for old, other in zip(everything[: devices // 5], city(devices // 5, seed=2), strict=True)
    ]
    gone = [found.endpoint for found in everything[-(devices // 10) :]]
    kept = everything[devices // 5 : -(devices // 10)]
    for _ in range(2):  # what a kill makes come again changes nothing
        await graph.put(changed, gone, BEGUN._replace(revision=devices, whole=True))
    await graph.make_fences()
    now = changed + kept
    assert await graph.count() == len(now)
    chance = random.Random(3)
    not_empty = 0
    for number in range(questions):
        query = question(chance, now)
        found = await graph.search(query)
        expected = answer(query, now)
        assert [one.endpoint for one in found] == expected, f"question {number}: {query}"
        not_empty += bool(expected)
    assert not_empty > questions // 2
    by_name = {found.endpoint: found for found in now}
    for name in [*gone[:2], now[0].endpoint, kept[0].endpoint]:
        assert await graph.get(name) == by_name.get(name)


async def relations_are_followed(backend: GraphBackend) -> None:
    """Devices of one feeder, of a tenant's sites; nodes with their counts."""
    graph = DeviceGraph(backend)
    await graph.open()
    devices = city(200)
    await graph.clear(BEGUN)
    await graph.create(devices, BEGUN)
    one = next(found for found in devices if found.feeder)
    same = sorted(
        found.endpoint
        for found in devices
        if (found.tenant, found.feeder) == (one.tenant, one.feeder)
        and found.endpoint != one.endpoint
    )
    assert [found.endpoint for found in await graph.related(one.endpoint, "feeder")] == same
    of_tenant = sorted(found.endpoint for found in devices if found.tenant == one.tenant)
    page = await graph.of_tenant(one.tenant, limit=30)
    rest = await graph.of_tenant(one.tenant, after=page[-1].endpoint, limit=1_000)
    assert [found.endpoint for found in page + rest] == of_tenant
    for kind, of in (("site", True), ("model", False), ("tenant", False)):
        counts: dict[tuple[str, str], int] = {}
        for found in devices:
            key = (found.tenant if of else "", getattr(found, kind))
            counts[key] = counts.get(key, 0) + 1
        nodes = await graph.nodes(kind)  # type: ignore[arg-type]  # three of the kinds
        assert {(node.of, node.name): node.devices for node in nodes} == counts


async def a_projection_is_kept(backend: GraphBackend) -> None:
    """How far a graph has come is known after it was written, and not before."""
    graph = DeviceGraph(backend)
    await graph.open()
    await graph.clear(BEGUN)
    assert await graph.projection() == BEGUN
    reached = Projection("directory-1", 7, True)
    await graph.put([], ["nobody"], reached)
    assert await graph.projection() == reached


def _fields(found: object) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__struct_fields__}  # type: ignore[attr-defined]  # a struct
