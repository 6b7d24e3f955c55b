"""OMA TLV, content format 11542: records with 8 or 16 bit ids and up to 24 bit lengths.

LwM2M Core §7.4.3. An object's payload wraps each instance; an instance's or a resource's does not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lwm2m.codecs.node import Node, type_of
from lwm2m.errors import IllegalPath, InvalidValue, MalformedTlv, TruncatedTlv
from lwm2m.objects import (
    NULL_ID,
    Models,
    ObjectLink,
    ObjectPath,
    ResourceModel,
    Value,
    ValueType,
    check_type,
    resource_model,
)

OBJECT_INSTANCE = 0
RESOURCE_INSTANCE = 1
MULTIPLE_RESOURCE = 2
RESOURCE = 3

LENGTH_MAX = 0xFFFFFF

_KIND_NAMES = ("object instance", "resource instance", "multiple resource", "resource")
_SIGNED = {1: ">b", 2: ">h", 4: ">i", 8: ">q"}
_UNSIGNED = {1: ">B", 2: ">H", 4: ">I", 8: ">Q"}
_FLOAT = {4: ">f", 8: ">d"}


class TlvRecord(NamedTuple):
    """One record as it stands on the wire. `offset` is where it began in the whole payload."""

    kind: int
    identifier: int
    content: bytes
    offset: int
    content_offset: int


def records(payload: bytes, start: int = 0) -> Iterator[TlvRecord]:
    """The records of one level, in order; offsets count from `start`. Raises `MalformedTlv`."""
    at = 0
    while at < len(payload):
        record, at = _record(payload, at, start)
        yield record


def record(kind: int, identifier: int, content: bytes) -> bytes:
    """One record with the shortest header. Raises `InvalidValue` past 24 bits of length."""
    length = len(content)
    if length > LENGTH_MAX:
        raise InvalidValue("TLV", f"{length} bytes do not fit a 24-bit length")
    first = kind << 6
    wide = identifier > 0xFF
    head = identifier.to_bytes(2 if wide else 1, "big")
    first |= 0x20 if wide else 0
    if length < 8:
        return bytes((first | length,)) + head + content
    size = (length.bit_length() + 7) // 8
    return bytes((first | size << 3,)) + head + length.to_bytes(size, "big") + content


def decode(base: ObjectPath, payload: bytes, models: Models) -> list[Node]:
    """The values in a payload that was sent for `base`, in the order of the records.

    Types come from `models`; values of resources that are not there are bytes. An instance without
    id (Create, LwM2M Core §6.3.8) gets `NULL_ID`. Raises `MalformedTlv`, `TruncatedTlv` or
    `InvalidValue`.
    """
    if base.instance_id is None:
        return list(_object_nodes(base, payload, models))
    top = list(_different(records(payload)))
    if base.resource_id is None:
        return list(_instance_nodes(base, _unwrapped(base, top), models))
    return list(_resource_nodes(base, top, models))


def encode(base: ObjectPath, nodes: Iterable[Node], models: Models) -> bytes:
    """The payload that carries `nodes` for `base`; all of them must lie beneath it.

    Instances with `NULL_ID` are written without wrapper. Resources that `models` calls multiple,
    and nodes with a resource instance, become a multiple resource. Raises `InvalidValue`,
    `IllegalPath`.
    """
    if base.resource_instance_id is not None:
        # What was asked for is the outermost record, here as at a resource.
        return b"".join([_resource_instance_at(base, node, models) for node in nodes])
    tree = _tree(base, nodes)
    if base.instance_id is not None:
        return b"".join([_instance_content(instance, models) for instance in tree])
    return b"".join([_wrapped(instance, models) for instance in tree])


def encode_value(kind: ValueType, value: Value) -> bytes:
    """The bytes of one value: integers in 1, 2, 4 or 8, floats in 4 where nothing is lost."""
    check_type(kind, value, "TLV value")
    if isinstance(value, ObjectLink):
        return struct.pack(">HH", *value)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    if kind is ValueType.BOOLEAN:
        return b"\x01" if value else b"\x00"
    if kind is ValueType.FLOAT:
        return _float_bytes(float(value))
    return _integer_bytes(int(value), signed=kind is not ValueType.UNSIGNED)


def decode_value(kind: ValueType, content: bytes, offset: int = 0) -> Value:
    """The value that `content` holds. Raises `MalformedTlv` with `offset`, or `InvalidValue`."""
    value = _raw_value(kind, content, offset)
    check_type(kind, value, "TLV value")
    return value


# --- decoding


def _record(payload: bytes, at: int, start: int) -> tuple[TlvRecord, int]:
    first = payload[at]
    id_size = 2 if first & 0x20 else 1
    length_size = first >> 3 & 3
    head = at + 1 + id_size + length_size
    if head > len(payload):
        raise TruncatedTlv(start + at, head - at, len(payload) - at)
    identifier = int.from_bytes(payload[at + 1 : at + 1 + id_size], "big")
    length = int.from_bytes(payload[head - length_size : head], "big") if length_size else first & 7
    end = head + length
    if end > len(payload):
        raise TruncatedTlv(start + at, end - at, len(payload) - at)
    return TlvRecord(first >> 6, identifier, payload[head:end], start + at, start + head), end


def _different(found: Iterable[TlvRecord]) -> Iterator[TlvRecord]:
    """The records of one level, in any order of ids; an id that comes twice is refused."""
    seen = set()
    for entry in found:
        # A resource is one thing, whether it has instances or not.
        key = (min(entry.kind, MULTIPLE_RESOURCE), entry.identifier)
        if key in seen:
            what = f"{_KIND_NAMES[entry.kind]} {entry.identifier} is there twice"
            raise MalformedTlv(what, entry.offset)
        seen.add(key)
        yield entry


def _object_nodes(base: ObjectPath, payload: bytes, models: Models) -> Iterator[Node]:
    top = list(_different(records(payload)))
    if top and all(found.kind in (RESOURCE, MULTIPLE_RESOURCE) for found in top):
        yield from _instance_nodes(_unnamed_instance(base, models), top, models)
        return
    for wrapper in top:
        _require(wrapper, OBJECT_INSTANCE)
        inner = _different(records(wrapper.content, wrapper.content_offset))
        yield from _instance_nodes(base.child(wrapper.identifier), inner, models)


def _unnamed_instance(base: ObjectPath, models: Models) -> ObjectPath:
    model = models.get(base.object_id)
    return base.child(0 if model is not None and not model.multiple else NULL_ID)


def _unwrapped(base: ObjectPath, top: list[TlvRecord]) -> Iterable[TlvRecord]:
    # Some clients answer a Read of an instance with its wrapper: it adds nothing and is taken off.
    if len(top) == 1 and top[0].kind == OBJECT_INSTANCE and top[0].identifier == base.instance_id:
        return _different(records(top[0].content, top[0].content_offset))
    return top


def _instance_nodes(
    instance: ObjectPath, found: Iterable[TlvRecord], models: Models
) -> Iterator[Node]:
    for entry in found:
        path = instance.child(entry.identifier)
        yield from _entry_nodes(path, entry, resource_model(models, path))


def _resource_nodes(base: ObjectPath, top: list[TlvRecord], models: Models) -> Iterator[Node]:
    model = resource_model(models, base)
    for entry in top:
        if entry.kind == RESOURCE_INSTANCE:
            # LwM2M 1.0 clients leave the resource out when it is what was asked for.
            nodes: Iterable[Node] = [_leaf(base.resource.child(entry.identifier), entry, model)]
        else:
            if entry.identifier != base.resource_id:
                raise MalformedTlv(f"id {entry.identifier} is not {base}", entry.offset)
            nodes = _entry_nodes(base.resource, entry, model)
        yield from _within(base, nodes, entry)


def _within(base: ObjectPath, nodes: Iterable[Node], entry: TlvRecord) -> Iterator[Node]:
    for node in nodes:
        if not base.contains(node.path):
            raise MalformedTlv(f"{node.path} is not beneath {base}", entry.offset)
        yield node


def _entry_nodes(path: ObjectPath, entry: TlvRecord, model: ResourceModel | None) -> Iterator[Node]:
    if entry.kind == RESOURCE:
        if model is not None and model.multiple:
            raise MalformedTlv(f"{path} has instances: type 10 is needed", entry.offset)
        yield _leaf(path, entry, model)
        return
    _require(entry, MULTIPLE_RESOURCE)
    if model is not None and not model.multiple:
        raise MalformedTlv(f"{path} has no instances: type 11 is needed", entry.offset)
    for inner in _different(records(entry.content, entry.content_offset)):
        _require(inner, RESOURCE_INSTANCE)
        yield _leaf(path.child(inner.identifier), inner, model)


def _leaf(path: ObjectPath, entry: TlvRecord, model: ResourceModel | None) -> Node:
    kind = ValueType.OPAQUE if model is None else model.type
    return Node(path, decode_value(kind, entry.content, entry.content_offset))


def _require(entry: TlvRecord, kind: int) -> None:
    if entry.kind != kind:
        raise MalformedTlv(
            f"type {_KIND_NAMES[entry.kind]} where {_KIND_NAMES[kind]} is needed", entry.offset
        )


def _raw_value(kind: ValueType, content: bytes, offset: int) -> Value:
    if kind is ValueType.OPAQUE:
        return content
    if kind in (ValueType.STRING, ValueType.CORE_LINK):
        return _text(content, offset)
    if kind is ValueType.OBJECT_LINK:
        object_id, instance_id = _unpack({4: ">HH"}, content, offset)
        return ObjectLink(int(object_id), int(instance_id))
    if kind is ValueType.BOOLEAN:
        return _boolean(content, offset)
    if kind is ValueType.NONE:
        raise MalformedTlv("an executable resource has no value", offset)
    if kind is ValueType.FLOAT:
        return float(_unpack(_FLOAT, content, offset)[0])
    return int(_unpack(_UNSIGNED if kind is ValueType.UNSIGNED else _SIGNED, content, offset)[0])


def _unpack(layouts: dict[int, str], content: bytes, offset: int) -> tuple[float, ...]:
    layout = layouts.get(len(content))
    if layout is None:
        sizes = ", ".join(str(size) for size in layouts)
        raise MalformedTlv(f"{len(content)} bytes where one of {sizes} is needed", offset)
    return struct.unpack(layout, content)


def _text(content: bytes, offset: int) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise MalformedTlv("text is not UTF-8", offset + error.start) from None


def _boolean(content: bytes, offset: int) -> bool:
    if content not in (b"\x00", b"\x01"):
        raise MalformedTlv("a boolean is one byte, 0 or 1", offset)
    return content == b"\x01"


# --- encoding


class _Instance(NamedTuple):
    path: ObjectPath
    resources: dict[int, list[Node]]


def _tree(base: ObjectPath, nodes: Iterable[Node]) -> list[_Instance]:
    instances: dict[int, _Instance] = {}
    for node in nodes:
        path = node.path
        if path.instance_id is None or path.resource_id is None or not base.contains(path):
            raise IllegalPath(f"{path} is not a value beneath {base}")
        instance = instances.get(path.instance_id)
        if instance is None:
            instance = instances[path.instance_id] = _Instance(path.instance, {})
        instance.resources.setdefault(path.resource_id, []).append(node)
    return list(instances.values())


def _wrapped(instance: _Instance, models: Models) -> bytes:
    content = _instance_content(instance, models)
    identifier = instance.path.instance_id
    assert identifier is not None
    return content if identifier == NULL_ID else record(OBJECT_INSTANCE, identifier, content)


def _instance_content(instance: _Instance, models: Models) -> bytes:
    return b"".join([_resource(nodes, models) for nodes in instance.resources.values()])


def _resource(nodes: Sequence[Node], models: Models) -> bytes:
    path = nodes[0].path
    model = resource_model(models, path)
    identifier = path.resource_id
    assert identifier is not None
    if all(node.path.resource_instance_id is not None for node in nodes):
        inner = b"".join([_resource_instance(node, model) for node in nodes])
        return record(MULTIPLE_RESOURCE, identifier, inner)
    if len(nodes) > 1 or (model is not None and model.multiple):
        raise IllegalPath(f"{path.resource} needs one value, or resource instances only")
    return record(RESOURCE, identifier, _content(nodes[0], model))


def _resource_instance(node: Node, model: ResourceModel | None) -> bytes:
    identifier = node.path.resource_instance_id
    assert identifier is not None
    return record(RESOURCE_INSTANCE, identifier, _content(node, model))


def _resource_instance_at(base: ObjectPath, node: Node, models: Models) -> bytes:
    if node.path != base:
        raise IllegalPath(f"{node.path} is not {base}")
    return _resource_instance(node, resource_model(models, base))


def _content(node: Node, model: ResourceModel | None) -> bytes:
    return encode_value(type_of(model, node.value), node.value)


def _integer_bytes(number: int, signed: bool) -> bytes:
    for size in (1, 2, 4):
        try:
            return number.to_bytes(size, "big", signed=signed)
        except OverflowError:
            continue
    return number.to_bytes(8, "big", signed=signed)


def _float_bytes(number: float) -> bytes:
    try:
        short = struct.pack(">f", number)
    except OverflowError:
        return struct.pack(">d", number)
    return short if struct.unpack(">f", short)[0] == number else struct.pack(">d", number)
