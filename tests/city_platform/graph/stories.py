"""What every backend of the device graph must do alike."""

from __future__ import annotations

import random

from city_platform.graph import DeviceGraph, Projection
from city_platform.graph.backend import GraphBackend
from city_platform.graph.devices import found_device, node_ids
from city_platform.graph.statements import RELATIONS, Kind
from contracts.api import FoundDevice
from tests.city_platform.graph.city import answer, city, entry, question

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


async def changes_keep_answers_right(backend: GraphBackend, seed: int, steps: int) -> None:
    """After each of many puts, replacements and deletions, questions have the oracle's answers."""
    graph, chance = DeviceGraph(backend), random.Random(seed)
    await graph.open()
    await graph.clear(BEGUN)
    there: dict[str, FoundDevice] = {}
    for step in range(1, steps + 1):
        numbers = [chance.randrange(80) for _ in range(chance.randint(0, 30))]
        put = {one.endpoint: one for one in (found_device(entry(n, chance), None) for n in numbers)}
        gone = chance.sample(sorted(there), min(len(there), chance.randint(0, 12)))
        await graph.put(list(put.values()), gone, Projection("directory-1", step, True))
        for name in gone:
            there.pop(name)
        there |= put
        assert await graph.count() == len(there)
        for _ in range(4 if there else 0):
            query = question(chance, list(there.values()))
            found = [one.endpoint for one in await graph.search(query)]
            assert found == answer(query, list(there.values())), f"step {step}: {query}"
        for name in [*gone[:1], *sorted(there)[:1]]:
            assert await graph.get(name) == there.get(name)
            for kind in RELATIONS:
                await _is_related(graph, name, kind, there)


async def relations_are_followed(backend: GraphBackend) -> None:
    """Devices of one feeder, site, …, of a tenant's sites, page by page; nodes with counts."""
    graph = DeviceGraph(backend)
    await graph.open()
    devices = city(200)
    await graph.clear(BEGUN)
    await graph.create(devices, BEGUN)
    there = {found.endpoint: found for found in devices}
    for kind in RELATIONS:
        for one in devices[:3]:
            await _is_related(graph, one.endpoint, kind, there)
    assert await graph.related("nobody", "site") == []
    one = devices[0]
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


async def _is_related(
    graph: DeviceGraph, name: str, kind: Kind, there: dict[str, FoundDevice]
) -> None:
    """All pages of those that share a node of this kind with a device are as plain Python says."""
    node = node_ids(there[name]).get(kind) if name in there else None
    expected = sorted(
        other.endpoint
        for other in there.values()
        if node is not None and node_ids(other).get(kind) == node and other.endpoint != name
    )
    found: list[str] = []
    while page := await graph.related(name, kind, after=found[-1] if found else "", limit=7):
        found += [one.endpoint for one in page]
    assert found == expected, f"{kind} of {name}"


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
