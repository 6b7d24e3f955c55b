"""The device graph: searches, relations and changes, over any Cypher database."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from city_platform.graph import statements as cypher
from city_platform.graph.backend import GraphBackend
from city_platform.graph.devices import LEVEL, node_ids, properties, read_document
from city_platform.graph.queries import (
    PAGE_MAX,
    GraphQuery,
    Statement,
    is_selective,
    search_statement,
)
from city_platform.graph.statements import Kind
from contracts.api import FoundDevice, GraphKind, GraphNode

# A search looks at as many devices first: what fits more than one in twenty fills its page there.
WINDOW_DEVICES: Final = 2_000
# And then at so many times as many, when the first look found enough to hope.
FURTHER_WINDOWS: Final = 5


class Projection(NamedTuple):
    """How far a graph follows a directory: `source` names it; `whole` is False while the graph is
    being filled from nothing."""

    source: str
    revision: int
    whole: bool


class DeviceGraph:
    """One graph; all of it raises `GraphUnavailable`.

    What it answers is right whatever `fences` holds: these endpoint names, each some
    `WINDOW_DEVICES` behind the one before, only keep a search that fits many devices from looking
    at all of them.
    """

    def __init__(self, backend: GraphBackend) -> None:
        self._backend = backend
        self._fences: list[str] = []
        self._written_since_fences = 0

    async def open(self) -> None:
        """Connect and make constraints and indexes; safe to call again."""
        await self._backend.open()

    async def close(self) -> None:
        """Let go of what is held."""
        await self._backend.close()

    # ---- searches ----

    async def search(self, query: GraphQuery) -> list[FoundDevice]:
        """At most `query.limit` devices (1,000), by endpoint name."""
        wanted = min(query.limit, PAGE_MAX)
        for windows in () if is_selective(query) else (1, FURTHER_WINDOWS):
            until = self._fence(query.after, windows)
            if until is None:
                break
            found = await self._devices(search_statement(query, until))
            if len(found) >= wanted:
                return found
            # What is that rare would not fill its page in the further windows either.
            if len(found) * FURTHER_WINDOWS < wanted:
                break
        return await self._devices(search_statement(query))

    async def get(self, endpoint: str) -> FoundDevice | None:
        """The device, or None."""
        found = await self._devices(Statement(cypher.GET_DEVICE, {"id": endpoint}))
        return found[0] if found else None

    async def related(
        self, endpoint: str, kind: Kind, after: str = "", limit: int = 100
    ) -> list[FoundDevice]:
        """Other devices of the same site, group, model, firmware or feeder."""
        page = {"id": endpoint, "after": after, "limit": limit}
        return await self._devices(Statement(cypher.RELATED[kind], page))

    async def of_tenant(self, tenant: str, after: str = "", limit: int = 100) -> list[FoundDevice]:
        """All devices of a tenant's sites."""
        page = {"id": tenant, "after": after, "limit": limit}
        return await self._devices(Statement(cypher.DEVICES_OF_TENANT, page))

    async def nodes(self, kind: GraphKind) -> list[GraphNode]:
        """The tenants, sites, … that have devices, and how many."""
        text = cypher.TENANTS if kind == "tenant" else cypher.NODES[kind]
        rows = await self._backend.read(Statement(text, {}))
        return [_node(kind, row) for row in rows]

    async def count(self) -> int:
        """How many devices there are."""
        rows = await self._backend.read(Statement(cypher.COUNT_DEVICES, {}))
        return int(rows[0]["devices"])

    # ---- changes ----

    async def projection(self) -> Projection | None:
        """What the graph follows, and how far; None in an empty one."""
        rows = await self._backend.read(Statement(cypher.GET_PROJECTION, {}))
        if not rows:
            return None
        return Projection(rows[0]["source"], int(rows[0]["revision"]), bool(rows[0]["whole"]))

    async def clear(self, projection: Projection) -> None:
        """Take everything out; the graph is to follow `projection` now."""
        steps = [Statement(text, {}) for text in cypher.DELETE_EVERYTHING]
        await self._backend.write([*steps, _mark(projection)])
        self._fences.clear()

    async def create(self, devices: Sequence[FoundDevice], projection: Projection) -> None:
        """Put devices that are not in the graph; two thirds of the cost of `put`."""
        rows = [properties(device) for device in devices]
        steps = [Statement(cypher.CREATE_DEVICES, {"rows": rows})] if rows else []
        await self._write(steps, devices, projection)

    async def put(
        self, devices: Sequence[FoundDevice], gone: Sequence[str], projection: Projection
    ) -> None:
        """Put or replace devices and take away those of `gone`; the same again changes nothing."""
        steps: list[Statement] = []
        if gone:
            steps.append(Statement(cypher.DELETE_DEVICES, {"ids": list(gone)}))
        if devices:
            ids = [device.endpoint for device in devices]
            rows = [properties(device) for device in devices]
            steps.append(Statement(cypher.MERGE_DEVICES, {"rows": rows}))
            steps.append(Statement(cypher.FORGET_RELATIONS, {"ids": ids}))
        await self._write(steps, devices, projection)

    async def make_fences(self) -> None:
        """Find the places where windows end, when enough has changed to be worth it."""
        known = len(self._fences) * WINDOW_DEVICES
        if self._written_since_fences <= max(WINDOW_DEVICES, known // 4):
            return
        self._written_since_fences = 0
        rows = await self._backend.read(Statement(cypher.ALL_ENDPOINTS, {}))
        self._fences = [row["endpoint"] for row in rows[WINDOW_DEVICES::WINDOW_DEVICES]]

    # ---- inside ----

    def _fence(self, after: str, windows: int) -> str | None:
        """The end of so many windows, the first of them longer; None where the rest is small."""
        place = bisect.bisect_right(self._fences, after) + bool(after) + windows - 1
        return self._fences[place] if place < len(self._fences) else None

    async def _devices(self, statement: Statement) -> list[FoundDevice]:
        return [read_document(row["document"]) for row in await self._backend.read(statement)]

    async def _write(
        self, steps: list[Statement], devices: Sequence[FoundDevice], projection: Projection
    ) -> None:
        await self._backend.write([*steps, *_bind(devices), _mark(projection)])
        self._written_since_fences += len(devices)


def _bind(devices: Sequence[FoundDevice]) -> Iterable[Statement]:
    """The nodes that the devices belong to, and their relations."""
    bound: dict[Kind, list[dict[str, str]]] = {}
    owners: dict[Kind, dict[str, str]] = {}
    for device in devices:
        for kind, node in node_ids(device).items():
            bound.setdefault(kind, []).append({"id": device.endpoint, "to": node})
            if kind in cypher.OWNED:
                owners.setdefault(kind, {})[node] = device.tenant
    tenants = sorted({device.tenant for device in devices})
    if tenants:
        yield Statement(cypher.MERGE_TENANTS, {"ids": tenants})
    for kind, rows in bound.items():
        yield Statement(cypher.MERGE_NODES[kind], {"ids": sorted({row["to"] for row in rows})})
        yield Statement(cypher.RELATE[kind], {"rows": rows})
    for kind, nodes in owners.items():
        pairs = [{"id": node, "to": tenant} for node, tenant in sorted(nodes.items())]
        yield Statement(cypher.OWN[kind], {"rows": pairs})


def _mark(projection: Projection) -> Statement:
    return Statement(cypher.PUT_PROJECTION, projection._asdict())


def _node(kind: GraphKind, row: Mapping[str, Any]) -> GraphNode:
    above, _, name = str(row["id"]).rpartition(LEVEL)
    return GraphNode(kind=kind, name=name, of=above, devices=int(row["devices"]))
