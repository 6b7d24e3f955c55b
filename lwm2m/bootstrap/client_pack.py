"""What a Bootstrap-Pack does to a client's objects (LwM2M 1.2 Core §6.1.7.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from lwm2m.codecs import Node
from lwm2m.errors import MalformedPayload
from lwm2m.objects import ObjectPath, Value

_DEVICE: Final = ObjectPath(3, 0)


class PackEffect(msgspec.Struct, frozen=True):
    """Instances that go, instances that come, and the values of the pack."""

    removed: tuple[ObjectPath, ...]
    instances: tuple[ObjectPath, ...]
    values: dict[ObjectPath, Value]


def effect_of_pack(
    nodes: Iterable[Node], existing: Iterable[ObjectPath], kept: Iterable[ObjectPath]
) -> PackEffect:
    """What a pack changes: it replaces every instance of every object that it contains.

    `existing` are the client's instances, `kept` those of the bootstrap account, which no pack
    touches; neither does one remove /3/0. Raises `MalformedPayload` for an empty pack, and for one
    that writes into what is kept.
    """
    values = {node.path: node.value for node in nodes}
    if not values:
        raise MalformedPayload("the pack has no values")
    written = sorted({path.instance for path in values})
    objects = {path.object_id for path in written}
    kept = frozenset(kept)
    if not kept.isdisjoint(written):
        raise MalformedPayload("the pack writes into the bootstrap account")
    removed = [
        each
        for each in existing
        if each.object_id in objects and each not in kept and each != _DEVICE
    ]
    return PackEffect(tuple(removed), tuple(written), values)
