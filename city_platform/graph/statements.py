"""Every Cypher statement of the device graph: one portable set for kglite, Neo4j and ArcadeDB.

Nodes, each with a unique `id`; names of two levels have U+001F between them, which no name holds:

| label    | id              | relation                                      |
|----------|-----------------|-----------------------------------------------|
| Device   | endpoint name   |                                               |
| Tenant   | tenant          | `(:Site)-[:OF_TENANT]->`, `(:Group)-[:OF_TENANT]->` |
| Site     | tenant, site    | `(:Device)-[:IN_SITE]->`                      |
| Group    | tenant, group   | `(:Device)-[:IN_GROUP]->`                     |
| Model    | model           | `(:Device)-[:IS_MODEL]->`                     |
| Firmware | model, version  | `(:Device)-[:RUNS]->`                         |
| Feeder   | tenant, feeder  | `(:Device)-[:FED_BY]->`                       |
| Projection | `devices`     | how far the graph follows the device directory |

A statement holds no value from outside: values are parameters, and what varies in a text comes from
the tables here. The engines agree on: filters in WHERE, a uniqueness constraint on `id`, values
that are texts, numbers or lists of maps, and distances in plain arithmetic.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["site", "group", "model", "firmware", "feeder"]


class Relation(NamedTuple):
    """How a device is bound to nodes of one kind."""

    label: str
    type: str


RELATIONS: Final[dict[Kind, Relation]] = {
    "site": Relation("Site", "IN_SITE"),
    "group": Relation("Group", "IN_GROUP"),
    "model": Relation("Model", "IS_MODEL"),
    "firmware": Relation("Firmware", "RUNS"),
    "feeder": Relation("Feeder", "FED_BY"),
}
# What belongs to a tenant.
OWNED: Final[tuple[Kind, ...]] = ("site", "group", "feeder")
LABELS: Final = ("Device", "Tenant", *(found.label for found in RELATIONS.values()), "Projection")

# `endpoint` repeats `id` because a constraint's index need not have an order, and pages are cut by
# a range. Models and tenants have no index: each fits too many devices to be worth one.
INDEXED: Final = ("endpoint", "latitude")
LOOKED_UP: Final = ("site", "name", "feeder", "serial")
PROPERTIES: Final = (
    "endpoint",
    "tenant",
    "site",
    "name",
    "model",
    "firmware",
    "feeder",
    "serial",
    "latitude",
    "longitude",
    "marks",
    "text",
    "document",
)

CONSTRAINTS: Final = tuple(
    f"CREATE CONSTRAINT IF NOT EXISTS FOR (n:{label}) REQUIRE n.id IS UNIQUE" for label in LABELS
)
# For databases that plan searches themselves; kglite has none of them (see `kglite_backend`).
INDEXES: Final = (
    *(f"CREATE RANGE INDEX IF NOT EXISTS FOR (d:Device) ON (d.{name})" for name in INDEXED),
    *(f"CREATE INDEX IF NOT EXISTS FOR (d:Device) ON (d.{name})" for name in LOOKED_UP),
)

_EACH: Final = ", ".join(f"{name}: row.{name}" for name in PROPERTIES)
_SET: Final = ", ".join(f"d.{name} = row.{name}" for name in PROPERTIES)

CREATE_DEVICES: Final = f"UNWIND $rows AS row CREATE (d:Device {{id: row.id, {_EACH}}})"
MERGE_DEVICES: Final = f"UNWIND $rows AS row MERGE (d:Device {{id: row.id}}) SET {_SET}"
MERGE_IDS: Final = "UNWIND $ids AS id MERGE (d:Device {id: id})"
# In a graph in memory this walks all relations of the node at the other end, a model's 60,000: only
# what has changed is forgotten.
FORGET: Final[dict[Kind, str]] = {
    kind: f"MATCH (d:Device)-[r:{found.type}]->() WHERE d.id IN $ids DELETE r"
    for kind, found in RELATIONS.items()
}
DELETE_DEVICES: Final = "MATCH (d:Device) WHERE d.id IN $ids DETACH DELETE d"
DELETE_EVERYTHING: Final = tuple(f"MATCH (n:{label}) DETACH DELETE n" for label in LABELS)

MERGE_TENANTS: Final = "UNWIND $ids AS id MERGE (n:Tenant {id: id})"
MERGE_NODES: Final[dict[Kind, str]] = {
    kind: f"UNWIND $ids AS id MERGE (n:{found.label} {{id: id}})"
    for kind, found in RELATIONS.items()
}
RELATE: Final[dict[Kind, str]] = {
    kind: (
        f"UNWIND $rows AS row MATCH (d:Device {{id: row.id}}) "
        f"MATCH (n:{found.label} {{id: row.to}}) CREATE (d)-[:{found.type}]->(n)"
    )
    for kind, found in RELATIONS.items()
}
OWN: Final[dict[Kind, str]] = {
    kind: (
        f"UNWIND $rows AS row MATCH (n:{RELATIONS[kind].label} {{id: row.id}}) "
        "MATCH (t:Tenant {id: row.to}) MERGE (n)-[:OF_TENANT]->(t)"
    )
    for kind in OWNED
}

GET_PROJECTION: Final = (
    "MATCH (p:Projection) WHERE p.id = 'devices' "
    "RETURN p.source AS source, p.revision AS revision, p.whole AS whole"
)
PUT_PROJECTION: Final = (
    "MERGE (p:Projection {id: 'devices'}) "
    "SET p.source = $source, p.revision = $revision, p.whole = $whole"
)

_PAGE: Final = "RETURN d.document AS document ORDER BY d.endpoint LIMIT $limit"
GET_DEVICE: Final = "MATCH (d:Device) WHERE d.id = $id RETURN d.document AS document"
GET_DEVICES: Final = "MATCH (d:Device) WHERE d.id IN $ids RETURN d.id AS id, d.document AS document"
COUNT_DEVICES: Final = "MATCH (d:Device) RETURN count(d) AS devices"
SEARCH: Final = f"MATCH (d:Device) WHERE {{conditions}} {_PAGE}"
NODES: Final[dict[Kind, str]] = {
    kind: (
        f"MATCH (d:Device)-[:{found.type}]->(n:{found.label}) "
        "RETURN n.id AS id, count(d) AS devices ORDER BY id"
    )
    for kind, found in RELATIONS.items()
}
TENANTS: Final = "MATCH (d:Device) RETURN d.tenant AS id, count(d) AS devices ORDER BY id"

# The mean radius of the Earth (IUGG). Haversine in functions that all engines have.
EARTH_RADIUS_M: Final = 6_371_008.8
_HALF_LATITUDE: Final = "sin(radians(d.latitude - $latitude) / 2)"
_HALF_LONGITUDE: Final = "sin(radians(d.longitude - $longitude) / 2)"
DISTANCE_M: Final = (
    f"2 * {EARTH_RADIUS_M} * asin(sqrt({_HALF_LATITUDE} * {_HALF_LATITUDE} + "
    f"cos(radians($latitude)) * cos(radians(d.latitude)) * {_HALF_LONGITUDE} * {_HALF_LONGITUDE}))"
)
