"""Values of objects as SenML packs: LwM2M's use of content formats 110, 112, 320 and 322.

LwM2M Core §7.4.4: base name and name together are the path. RFC 8790: what a Read-Composite asks
for is a pack of names, and in a Write-Composite null removes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from lwm2m.codecs import senml
from lwm2m.codecs.cbor import typed_value
from lwm2m.codecs.node import (
    Change,
    Node,
    TimedNode,
    parse_value_path,
    require_levels,
    require_value_beneath,
    type_of,
)
from lwm2m.codecs.senml import DEFAULT_LIMITS, Fields, Label, Records, ResolvedRecord, SenmlLimits
from lwm2m.errors import IllegalPath, InvalidValue, MalformedCbor, MalformedSenml
from lwm2m.objects import (
    Models,
    ObjectLink,
    ObjectPath,
    Value,
    ValueType,
    check_type,
    resource_model,
)


class SenmlSyntax(Protocol):
    """What a pack is written in: `senml_json` or `senml_cbor`."""

    def load(self, payload: bytes, limits: SenmlLimits = ...) -> Records: ...

    def encode(self, records: Sequence[Fields]) -> bytes: ...


_LABELS: dict[ValueType, Label] = {
    ValueType.STRING: senml.STRING_VALUE,
    ValueType.CORE_LINK: senml.STRING_VALUE,
    ValueType.INTEGER: senml.VALUE,
    ValueType.UNSIGNED: senml.VALUE,
    ValueType.FLOAT: senml.VALUE,
    ValueType.TIME: senml.VALUE,
    ValueType.BOOLEAN: senml.BOOLEAN_VALUE,
    ValueType.OPAQUE: senml.DATA_VALUE,
    ValueType.OBJECT_LINK: senml.OBJECT_LINK_VALUE,
}
# Devices of one model are written and read at the same few paths, again and again.
_PATHS_KEPT = 4_096
_NAME_LENGTH_KEPT_MAX = 32
_ROOT = "/"


def encode_nodes(
    syntax: SenmlSyntax, base: ObjectPath | None, nodes: Iterable[Node], models: Models
) -> bytes:
    """The pack that carries `nodes`, which lie beneath `base`; None is the root of a composite.

    The base name is the path of `base`; no nodes make an empty pack. Raises `InvalidValue` or
    `IllegalPath`.
    """
    return syntax.encode(_named([_record(base, node, models) for node in nodes], base, {}))


def encode_timed(
    syntax: SenmlSyntax, base: ObjectPath | None, nodes: Sequence[TimedNode], models: Models
) -> bytes:
    """The same with times: as base time where all have one and the same, else with each record.

    Raises `InvalidValue` also for times that SenML would take for relative ones, before July 1978.
    """
    records = [_record(base, Node(path, value), models) for path, value, _unix_s in nodes]
    times = [node.unix_s for node in nodes]
    for time in times:
        _require_absolute(time)
    if len(set(times)) == 1 and times[0] is not None:
        return syntax.encode(_named(records, base, {senml.BASE_TIME: times[0]}))
    for fields, time in zip(records, times, strict=True):
        if time is not None:
            fields[senml.TIME] = time
    return syntax.encode(_named(records, base, {}))


def encode_changes(
    syntax: SenmlSyntax, nodes: Iterable[Node], removed: Iterable[ObjectPath], models: Models
) -> bytes:
    """The Patch Pack that writes `nodes` and removes what is at `removed` (RFC 8790 §3.2)."""
    records = [_record(None, node, models) for node in nodes]
    removals: list[dict[Label, Any]] = [
        {senml.NAME: _name_beneath(None, path), senml.VALUE: None} for path in removed
    ]
    return syntax.encode(_named([*records, *removals], None, {}))


def encode_paths(syntax: SenmlSyntax, paths: Iterable[ObjectPath | None]) -> bytes:
    """The Fetch Pack that names `paths` (RFC 8790 §3.1); None is the root."""
    return syntax.encode(
        [{senml.NAME: _ROOT if path is None else str(path)} for path in paths],
    )


def decode_nodes(
    syntax: SenmlSyntax,
    base: ObjectPath | None,
    payload: bytes,
    models: Models,
    limits: SenmlLimits = DEFAULT_LIMITS,
) -> list[Node]:
    """The values in a pack that was sent for `base` (None: a composite), in its order.

    Times are left out; with historical values a path comes more than once. Raises
    `MalformedSenml` or `InvalidValue`.
    """
    records = _different(senml.resolved(syntax.load(payload, limits), 0.0, limits))
    return [Node(path, value) for path, value in _values(base, records, models)]


def decode_timed(
    syntax: SenmlSyntax,
    base: ObjectPath | None,
    payload: bytes,
    models: Models,
    now: float | None,
    limits: SenmlLimits = DEFAULT_LIMITS,
) -> list[TimedNode]:
    """The same with times; `now` (Unix seconds) makes relative times absolute, None drops them."""
    records = _different(senml.resolved(syntax.load(payload, limits), now or 0.0, limits))
    times = [record.time for record in records]
    if now is None:
        times = [_absolute_only(time) for time in times]
    values = _values(base, records, models)
    return [TimedNode(*each, time) for each, time in zip(values, times, strict=True)]


def decode_changes(syntax: SenmlSyntax, payload: bytes, models: Models) -> list[Change]:
    """What a Patch Pack writes and removes, in its order. Raises as `decode_nodes` does."""
    changes = []
    for index, record in enumerate(_different(senml.resolved_changes(syntax.load(payload)))):
        change = Change(*_path_and_value(None, record, index, models))
        if change.value is None and record.sum is not None:
            raise MalformedSenml(f"{change.path} has no value", index)
        changes.append(change)
    return changes


def decode_paths(syntax: SenmlSyntax, payload: bytes) -> list[ObjectPath | None]:
    """The paths that a Fetch Pack names; None is the root. Raises `MalformedSenml`."""
    paths: list[ObjectPath | None] = []
    for index, name in enumerate(senml.resolved_names(syntax.load(payload))):
        try:
            paths.append(None if name == _ROOT else ObjectPath.parse(_slashed(name)))
        except IllegalPath as error:
            raise MalformedSenml(str(error), index) from None
    return paths


# --- encoding


def _record(base: ObjectPath | None, node: Node, models: Models) -> dict[Label, Any]:
    path = node.path
    name = _name_beneath(base, path)
    model = resource_model(models, path)
    require_levels(model, path)
    kind = type_of(model, node.value)
    check_type(kind, node.value, "SenML value")
    value = _encodable(kind, node.value)
    return {senml.NAME: name, _LABELS[kind]: value} if name else {_LABELS[kind]: value}


def _named(
    records: list[dict[Label, Any]], base: ObjectPath | None, base_fields: Fields
) -> list[dict[Label, Any]]:
    if records:
        # §7.4.4: a value at the base itself has no name beside the base name.
        alone = senml.NAME not in records[0]
        base_name = str(base) if alone else _prefix(base)
        records[0] = {senml.BASE_NAME: base_name, **base_fields, **records[0]}
    return records


@lru_cache(_PATHS_KEPT)
def _name_beneath(base: ObjectPath | None, path: ObjectPath) -> str:
    """The name of a record; empty for a value at the base itself."""
    require_value_beneath(base, path)
    return "" if path == base else str(path).removeprefix(_prefix(base))


def _prefix(base: ObjectPath | None) -> str:
    return _ROOT if base is None else f"{base}/"


def _encodable(kind: ValueType, value: Value) -> Value:
    if isinstance(value, ObjectLink):
        return str(value)
    return float(value) if kind is ValueType.FLOAT else value


def _require_absolute(time: float | None) -> None:
    if time is not None and not (
        math.isfinite(time) and senml.RELATIVE_TIME_BOUND <= time <= senml.TIME_MAX
    ):
        raise InvalidValue("time", f"{time} has no absolute form in SenML")


# --- decoding


def _different(records: list[ResolvedRecord]) -> list[ResolvedRecord]:
    """The same, when no two have one name and one time.

    RFC 8428 §4.6 would keep both; no reader could tell which of them is so. Resolved against 0,
    relative times stay different from each other.
    """
    seen = set()
    for index, record in enumerate(records):
        key = (record.name, record.time)
        if key in seen:
            raise MalformedSenml(f"{record.name[:80]} is there twice", index)
        seen.add(key)
    return records


def _absolute_only(time: float | None) -> float | None:
    return None if time is None or time < senml.RELATIVE_TIME_BOUND else time


def _values(
    base: ObjectPath | None, records: list[ResolvedRecord], models: Models
) -> list[tuple[ObjectPath, Value]]:
    values = []
    for index, record in enumerate(records):
        path, value = _path_and_value(base, record, index, models)
        if value is None:
            raise MalformedSenml(f"{path} has no value", index)
        values.append((path, value))
    return values


def _path_and_value(
    base: ObjectPath | None, record: ResolvedRecord, index: int, models: Models
) -> tuple[ObjectPath, Value | None]:
    path = _path(base, record.name, index)
    value = record.value
    if value is None:
        return path, None
    model = resource_model(models, path)
    if model is None:
        return path, value
    try:
        require_levels(model, path)
        if not isinstance(value, ObjectLink):
            return path, typed_value(model.type, value, model.name)
    except (IllegalPath, MalformedCbor) as error:
        raise MalformedSenml(str(error), index) from None
    check_type(model.type, value, model.name)
    return path, value


def _path(base: ObjectPath | None, name: str, index: int) -> ObjectPath:
    place = _known_path_of if len(name) <= _NAME_LENGTH_KEPT_MAX else parse_value_path
    try:
        return place(base, name)
    except IllegalPath as error:
        raise MalformedSenml(str(error), index) from None


_known_path_of = lru_cache(_PATHS_KEPT)(parse_value_path)


def _slashed(name: str) -> str:
    return name if name.startswith("/") else f"/{name}"
