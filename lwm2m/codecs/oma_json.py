"""OMA JSON of LwM2M 1.0, content format 11543: entries with names beneath a base name.

LwM2M Core 1.0 §6.4.4. Later versions have SenML in its place; clients of 1.0 still speak it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from lwm2m.codecs import base64_text, json_text
from lwm2m.codecs.cbor import finite_double, typed_value
from lwm2m.codecs.node import (
    Node,
    TimedNode,
    parse_value_path,
    require_levels,
    require_value_beneath,
    type_of,
)
from lwm2m.codecs.senml import RELATIVE_TIME_BOUND, TIME_MAX
from lwm2m.errors import IllegalPath, InvalidValue, MalformedJson, MalformedOmaJson
from lwm2m.objects import (
    Models,
    ObjectLink,
    ObjectPath,
    Value,
    ValueType,
    check_type,
    resource_model,
)

# Most entries in a document. Default: what a SenML pack may have.
ENTRIES_MAX = 4_096

_MEMBERS: dict[ValueType, str] = {
    ValueType.STRING: "sv",
    ValueType.CORE_LINK: "sv",
    ValueType.OPAQUE: "sv",
    ValueType.INTEGER: "v",
    ValueType.UNSIGNED: "v",
    ValueType.FLOAT: "v",
    ValueType.TIME: "v",
    ValueType.BOOLEAN: "bv",
    ValueType.OBJECT_LINK: "ov",
}
_VALUES = ("v", "sv", "bv", "ov")


def encode(base: ObjectPath, nodes: Iterable[Node], models: Models) -> bytes:
    """The document that carries `nodes` for `base`. Raises `InvalidValue` or `IllegalPath`."""
    entries = [_entry(base, node, models) for node in nodes]
    return msgspec.json.encode({"bn": _base_name(base, entries), "e": entries})


def encode_timed(base: ObjectPath, nodes: Sequence[TimedNode], models: Models) -> bytes:
    """The same with times: the newest is the base time, the others go back from it.

    Raises `InvalidValue` also when some nodes have a time and some have none.
    """
    times = [node.unix_s for node in nodes if node.unix_s is not None]
    plain = [Node(path, value) for path, value, _unix_s in nodes]
    if not times:
        return encode(base, plain, models)
    if len(times) != len(nodes) or not all(0 < time <= TIME_MAX for time in times):
        raise InvalidValue("time", "OMA JSON needs Unix times for all values or for none")
    entries = [_entry(base, node, models) for node in plain]
    newest = max(times)
    for entry, time in zip(entries, times, strict=True):
        if time != newest:
            entry["t"] = round(time - newest, 6)
    return msgspec.json.encode({"bn": _base_name(base, entries), "bt": newest, "e": entries})


def decode(base: ObjectPath, payload: bytes, models: Models) -> list[Node]:
    """The values in a document that was sent for `base`, in its order, without times.

    Raises `MalformedOmaJson` or `InvalidValue`.
    """
    timed = decode_timed(base, payload, models, None)
    return [Node(path, value) for path, value, _unix_s in timed]


def decode_timed(
    base: ObjectPath, payload: bytes, models: Models, now: float | None
) -> list[TimedNode]:
    """The same with times; `now` (Unix seconds) makes relative times absolute, None drops them."""
    base_name, base_time, entries = _document(payload)
    nodes = []
    seen = set()
    for index, entry in enumerate(entries):
        if type(entry) is not dict:
            raise MalformedOmaJson("an entry is an object", index)
        path = _path(base, base_name, entry, index)
        offset = _number(entry, "t", index)
        if (path, offset) in seen:
            raise MalformedOmaJson(f"{path} is there twice", index)
        seen.add((path, offset))
        nodes.append(
            TimedNode(path, _value(path, entry, index, models), _time(base_time, offset, now))
        )
    return nodes


# --- encoding


def _entry(base: ObjectPath, node: Node, models: Models) -> dict[str, Any]:
    path = node.path
    require_value_beneath(base, path)
    model = resource_model(models, path)
    require_levels(model, path)
    kind = type_of(model, node.value)
    check_type(kind, node.value, "OMA JSON value")
    named = {} if path == base else {"n": str(path).removeprefix(f"{base}/")}
    return {**named, _MEMBERS[kind]: _encodable(kind, node.value)}


def _base_name(base: ObjectPath, entries: list[dict[str, Any]]) -> str:
    is_value = any("n" not in entry for entry in entries)
    return str(base) if is_value else f"{base}/"


def _encodable(kind: ValueType, value: Value) -> str | float | bool:
    if isinstance(value, bytes):
        return base64_text.padded(value)
    if isinstance(value, ObjectLink):
        return str(value)
    return float(value) if kind is ValueType.FLOAT else value


# --- decoding


def _document(payload: bytes) -> tuple[str, float | None, list[Any]]:
    try:
        document = json_text.load(payload)
    except MalformedJson as error:
        raise MalformedOmaJson(str(error)) from None
    if type(document) is not dict:
        raise MalformedOmaJson("a document is an object")
    base_name = document.get("bn", "")
    entries = document.get("e")
    if type(base_name) is not str or type(entries) is not list:
        raise MalformedOmaJson("a list `e` is needed, and `bn` is a string")
    if len(entries) > ENTRIES_MAX:
        raise MalformedOmaJson(f"{len(entries)} entries, more than {ENTRIES_MAX}")
    return base_name, _number(document, "bt", None), entries


def _number(members: dict[str, Any], name: str, index: int | None) -> float | None:
    if name not in members:
        return None
    number = finite_double(members[name])
    if number is None or not -TIME_MAX <= number <= TIME_MAX:
        raise MalformedOmaJson(f"{name} is no time", index)
    return number


def _path(base: ObjectPath, base_name: str, entry: dict[str, Any], index: int) -> ObjectPath:
    name = entry.get("n", "")
    if type(name) is not str:
        raise MalformedOmaJson("n is a string", index)
    for text in _candidates(base, base_name, name):
        try:
            return parse_value_path(base, text)
        except IllegalPath:
            continue
    raise MalformedOmaJson(f"{base_name[:30]!r} and {name[:30]!r} name no value of {base}", index)


def _candidates(base: ObjectPath, base_name: str, name: str) -> tuple[str, ...]:
    """What base name and name may mean, as the standard has it first.

    Some clients leave out the slash between the two; some the base name, and then write the whole
    path as name, or what comes after that of the request.
    """
    if base_name:
        return base_name + name, f"{base_name}/{name}"
    return (f"{base}/{name}", name) if name else (str(base),)


def _time(base_time: float | None, offset: float | None, now: float | None) -> float | None:
    if base_time is not None:
        return round(base_time + (offset or 0), 6)
    if offset is not None and offset >= RELATIVE_TIME_BOUND:
        return offset
    return None if now is None else round(now + (offset or 0), 6)


def _value(path: ObjectPath, entry: dict[str, Any], index: int, models: Models) -> Value:
    given = [name for name in _VALUES if name in entry]
    if len(given) != 1:
        raise MalformedOmaJson("one value is needed: v, sv, bv or ov", index)
    model = resource_model(models, path)
    item = _plain(given[0], entry[given[0]], None if model is None else model.type, index)
    if model is None or isinstance(item, ObjectLink):
        if model is not None:
            check_type(model.type, item, model.name)
        return item
    try:
        require_levels(model, path)
    except IllegalPath as error:
        raise MalformedOmaJson(str(error), index) from None
    return typed_value(model.type, item, model.name)


def _plain(name: str, item: Any, kind: ValueType | None, index: int) -> Value:
    if name == "v":
        number = finite_double(item)
        if number is not None:
            return number
    elif name == "bv":
        if type(item) is bool:
            return item
    elif type(item) is str:
        if name == "ov":
            return _link(item, index)
        return _octets(item, index) if kind is ValueType.OPAQUE else item
    raise MalformedOmaJson(f"{name} has a {type(item).__name__}", index)


def _link(text: str, index: int) -> ObjectLink:
    try:
        return ObjectLink.parse(text)
    except InvalidValue as error:
        raise MalformedOmaJson(error.reason, index) from None


def _octets(text: str, index: int) -> bytes:
    found = base64_text.octets(text)
    if found is None:
        raise MalformedOmaJson("sv of an opaque resource is not base64", index)
    return found
