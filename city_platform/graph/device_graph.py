"""The device graph: searches, relations and changes, over any Cypher database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from city_platform.graph import statements as cypher
from city_platform.graph.backend import DeviceChanges, GraphBackend
from city_platform.graph.devices import LEVEL, SAME, node_ids, properties, read_document
from city_platform.graph.queries import GraphQuery, Statement
from city_platform.graph.statements import Kind
from contracts.api import FoundDevice, GraphKind, GraphNode


class Projection(NamedTuple):
    """How far a graph follows a directory: `source` names it; `whole` is False while the graph is
    being filled from nothing."""

    source: str
    revision: int
    whole: bool


class DeviceGraph:
    """One graph; all of it raises `GraphUnavailable`."""

    def __init__(self, backend: GraphBackend) -> None:
        self._backend = backend

    @property
    def batch_devices(self) -> int:
        """How many devices `create` and `put` should get at once."""
        return self._backend.batch_devices

    async def open(self) -> None:
        """Connect and make constraints and indexes; safe to call again."""
        await self._backend.open()

    async def close(self) -> None:
        """Let go of what is held."""
        await self._backend.close()

    # ---- searches ----

    async def search(self, query: GraphQuery) -> list[FoundDevice]:
        """At most `query.limit` devices (1,000), by endpoint name."""
        return _devices(await self._backend.find(query))

    async def get(self, endpoint: str) -> FoundDevice | None:
        """The device, or None."""
        statement = Statement(cypher.GET_DEVICE, {"id": endpoint})
        found = _devices(await self._backend.read(statement))
        return found[0] if found else None

    async def related(
        self, endpoint: str, kind: Kind, after: str = "", limit: int = 100
    ) -> list[FoundDevice]:
        """Other devices of the same site, group, model, firmware or feeder."""
        device = await self.get(endpoint)
        if device is None or kind not in node_ids(device):
            return []
        wanted = {name: getattr(device, name) for name in SAME[kind]}
        # One more, because the device itself may be among them.
        query = GraphQuery(**wanted, after=after, limit=limit + 1)
        found = [one for one in await self.search(query) if one.endpoint != endpoint]
        return found[:limit]

    async def of_tenant(self, tenant: str, after: str = "", limit: int = 100) -> list[FoundDevice]:
        """All devices of a tenant's sites."""
        return await self.search(GraphQuery(tenant=tenant, after=after, limit=limit))

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
        changes = DeviceChanges(everything_gone=True)
        await self._backend.write([*steps, _mark(projection)], changes)

    async def create(self, devices: Sequence[FoundDevice], projection: Projection) -> None:
        """Put devices that are not in the graph; two thirds of the cost of `put`."""
        rows = [properties(device) for device in devices]
        steps = [Statement(cypher.CREATE_DEVICES, {"rows": rows})] if rows else []
        steps += _bind(devices, None)
        await self._backend.write([*steps, _mark(projection)], DeviceChanges(devices))

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
            steps.append(Statement(cypher.MERGE_IDS, {"ids": ids}))
            steps += _bind(devices, await self._bound(ids, gone))
            # The document comes last: where a database without transactions stopped in the middle,
            # the old one still tells that the relations have to be made.
            steps.append(Statement(cypher.MERGE_DEVICES, {"rows": rows}))
        await self._backend.write([*steps, _mark(projection)], DeviceChanges(devices, gone))

    # ---- inside ----

    async def _bound(self, ids: list[str], gone: Sequence[str]) -> dict[str, Mapping[Kind, str]]:
        """What devices are bound to as their documents tell; without those that are not there."""
        rows = await self._backend.read(Statement(cypher.GET_DEVICES, {"ids": ids}))
        there = {row["id"]: row["document"] for row in rows if row["document"] is not None}
        for endpoint in gone:
            there.pop(endpoint, None)
        return {name: node_ids(read_document(document)) for name, document in there.items()}


def _devices(rows: Iterable[Mapping[str, Any]]) -> list[FoundDevice]:
    return [read_document(row["document"]) for row in rows if row["document"] is not None]


def _bind(
    devices: Sequence[FoundDevice], before: Mapping[str, Mapping[Kind, str]] | None
) -> Iterator[Statement]:
    """The nodes that the devices belong to, and their relations: those that are not as `before`, or
    all of devices that were never there (None)."""
    tenants = sorted({device.tenant for device in devices})
    if tenants:
        yield Statement(cypher.MERGE_TENANTS, {"ids": tenants})
    bound = {device.endpoint: (device.tenant, node_ids(device)) for device in devices}
    for kind in cypher.RELATIONS:
        changed = [
            (name, tenant, nodes.get(kind))
            for name, (tenant, nodes) in bound.items()
            if not before or name not in before or before[name].get(kind) != nodes.get(kind)
        ]
        yield from _bind_kind(kind, changed, is_new=before is None)


def _bind_kind(
    kind: Kind, changed: Sequence[tuple[str, str, str | None]], *, is_new: bool
) -> Iterator[Statement]:
    """Bind devices, each with its tenant, to other nodes of one kind, or to none."""
    if changed and not is_new:
        yield Statement(cypher.FORGET[kind], {"ids": [name for name, _, _ in changed]})
    rows = [{"id": name, "to": node} for name, _, node in changed if node is not None]
    if not rows:
        return
    owners = {node: tenant for _, tenant, node in changed if node is not None}
    yield Statement(cypher.MERGE_NODES[kind], {"ids": sorted(owners)})
    yield Statement(cypher.RELATE[kind], {"rows": rows})
    if kind in cypher.OWNED:
        pairs = [{"id": node, "to": tenant} for node, tenant in sorted(owners.items())]
        yield Statement(cypher.OWN[kind], {"rows": pairs})


def _mark(projection: Projection) -> Statement:
    return Statement(cypher.PUT_PROJECTION, projection._asdict())


def _node(kind: GraphKind, row: Mapping[str, Any]) -> GraphNode:
    above, _, name = str(row["id"]).rpartition(LEVEL)
    return GraphNode(kind=kind, name=name, of=above, devices=int(row["devices"]))
