"""Values of objects as SenML packs: LwM2M's use of content format 112 (LwM2M Core §7.4.4)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from lwm2m.codecs import senml_cbor
from lwm2m.codecs.cbor import typed_value
from lwm2m.codecs.node import Node, type_of
from lwm2m.codecs.senml_cbor import Label, ResolvedRecord, SenmlLimits
from lwm2m.errors import IllegalPath, MalformedCbor, MalformedSenml
from lwm2m.objects import (
    Models,
    ObjectLink,
    ObjectPath,
    Value,
    ValueType,
    check_type,
    resource_model,
)

_LABELS: dict[ValueType, Label] = {
    ValueType.STRING: senml_cbor.STRING_VALUE,
    ValueType.CORE_LINK: senml_cbor.STRING_VALUE,
    ValueType.INTEGER: senml_cbor.VALUE,
    ValueType.UNSIGNED: senml_cbor.VALUE,
    ValueType.FLOAT: senml_cbor.VALUE,
    ValueType.TIME: senml_cbor.VALUE,
    ValueType.BOOLEAN: senml_cbor.BOOLEAN_VALUE,
    ValueType.OPAQUE: senml_cbor.DATA_VALUE,
    ValueType.OBJECT_LINK: senml_cbor.OBJECT_LINK_VALUE,
}
# Devices of one model are written and read at the same few paths, again and again.
_PATHS_KEPT = 4_096
_NAME_LENGTH_KEPT_MAX = 32


def encode_nodes(base: ObjectPath | None, nodes: Iterable[Node], models: Models) -> bytes:
    """The pack that carries `nodes`, which lie beneath `base`; None is the root of a composite.

    The base name is the path of `base`; no nodes make an empty pack. Raises `InvalidValue` or
    `IllegalPath`.
    """
    records = [_record(base, node, models) for node in nodes]
    if records:
        # §7.4.4: base name and name together are the path; a value at the base has no name.
        alone = senml_cbor.NAME not in records[0]
        base_name = str(base) if alone else _prefix(base)
        records[0] = {senml_cbor.BASE_NAME: base_name, **records[0]}
    return senml_cbor.encode(records)


def decode_nodes(
    base: ObjectPath | None,
    payload: bytes,
    models: Models,
    limits: SenmlLimits = senml_cbor.DEFAULT_LIMITS,
) -> list[Node]:
    """The values in a pack that was sent for `base` (None: a composite), in its order.

    Times are left out; with historical values a path comes more than once. Raises
    `MalformedSenml` or `InvalidValue`.
    """
    return [
        _node(base, record, index, models)
        for index, record in enumerate(senml_cbor.resolve(payload, None, limits))
    ]


def _record(base: ObjectPath | None, node: Node, models: Models) -> dict[Label, Any]:
    path = node.path
    name = _name_beneath(base, path)
    model = resource_model(models, path)
    if model is not None and model.multiple and path.resource_instance_id is None:
        raise IllegalPath(f"{path} has resource instances")
    kind = type_of(model, node.value)
    check_type(kind, node.value, "SenML value")
    value = _encodable(kind, node.value)
    return {senml_cbor.NAME: name, _LABELS[kind]: value} if name else {_LABELS[kind]: value}


@lru_cache(_PATHS_KEPT)
def _name_beneath(base: ObjectPath | None, path: ObjectPath) -> str:
    """The name of a record; empty for a value at the base itself."""
    _require_value_beneath(base, path)
    return "" if path == base else str(path).removeprefix(_prefix(base))


def _prefix(base: ObjectPath | None) -> str:
    return "/" if base is None else f"{base}/"


def _require_value_beneath(base: ObjectPath | None, path: ObjectPath) -> None:
    if path.resource_id is None or (base is not None and not base.contains(path)):
        raise IllegalPath(f"{path} is not a value beneath {base or '/'}")


def _encodable(kind: ValueType, value: Value) -> Value:
    if isinstance(value, ObjectLink):
        return str(value)
    return float(value) if kind is ValueType.FLOAT else value


def _node(base: ObjectPath | None, record: ResolvedRecord, index: int, models: Models) -> Node:
    path = _path(base, record.name, index)
    if record.value is None:
        raise MalformedSenml(f"{path} has no value", index)
    model = resource_model(models, path)
    if model is None or isinstance(record.value, ObjectLink):
        if model is not None:
            check_type(model.type, record.value, model.name)
        return Node(path, record.value)
    try:
        return Node(path, typed_value(model.type, record.value, model.name))
    except MalformedCbor as error:
        raise MalformedSenml(str(error), index) from None


def _path(base: ObjectPath | None, name: str, index: int) -> ObjectPath:
    place = _known_path_of if len(name) <= _NAME_LENGTH_KEPT_MAX else _path_of
    try:
        return place(base, name)
    except IllegalPath as error:
        raise MalformedSenml(str(error), index) from None


def _path_of(base: ObjectPath | None, name: str) -> ObjectPath:
    path = ObjectPath.parse(name if name.startswith("/") else f"/{name}")
    _require_value_beneath(base, path)
    return path


_known_path_of = lru_cache(_PATHS_KEPT)(_path_of)
