"""LwM2M CBOR, content format 11544: nested maps whose keys together are the path.

LwM2M Core 1.2 §7.4.6. A key is an id, or an array of ids that stand for as many levels; the first
is the object's. Null in place of a value names a path that is read, or removes it when written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import cbor2

from lwm2m.codecs import cbor
from lwm2m.codecs.node import Change, Node, require_levels, require_value_beneath, type_of
from lwm2m.errors import IllegalPath, MalformedCbor, MalformedLwm2mCbor
from lwm2m.objects import (
    ID_MAX,
    NULL_ID,
    Models,
    ObjectLink,
    ObjectPath,
    Value,
    ValueType,
    check_type,
    resource_model,
)

# Most values in a payload. Default: what a SenML pack may have.
VALUES_MAX = 4_096

_LEVELS_MAX = 4
_Tree: TypeAlias = dict[Any, Any]


def encode(base: ObjectPath | None, nodes: Iterable[Node], models: Models) -> bytes:
    """The payload that carries `nodes`, which lie beneath `base`; None is the root of a composite.

    Levels with one entry are joined with the next. Raises `InvalidValue` or `IllegalPath`.
    """
    return encode_changes(base, nodes, (), models)


def encode_changes(
    base: ObjectPath | None, nodes: Iterable[Node], removed: Iterable[ObjectPath], models: Models
) -> bytes:
    """The same, with null at `removed`."""
    tree: _Tree = {}
    for node in nodes:
        _insert(tree, base, node.path, _encodable(node, models))
    for path in removed:
        _insert(tree, base, path, None)
    return cbor2.dumps(_joined(tree))


def encode_paths(paths: Iterable[ObjectPath | None]) -> bytes:
    """The payload that names `paths`. Raises `IllegalPath` for the root, which has no id."""
    named: _Tree = {}
    for path in paths:
        if path is None:
            raise IllegalPath("/ has no form in LwM2M CBOR: name the objects")
        ids = _ids(path)
        named[ids[0] if len(ids) == 1 else ids] = None
    return cbor2.dumps(named)


def decode(base: ObjectPath | None, payload: bytes, models: Models) -> list[Node]:
    """The values in a payload that was sent for `base` (None: a composite), in its order.

    In a Create (`base` is an object) the instance may be `NULL_ID`. Raises `MalformedLwm2mCbor` or
    `InvalidValue`.
    """
    nodes = []
    for path, value in decode_changes(base, payload, models):
        if value is None:
            raise MalformedLwm2mCbor(f"{path} has no value")
        nodes.append(Node(path, value))
    return nodes


def decode_changes(base: ObjectPath | None, payload: bytes, models: Models) -> list[Change]:
    """The same, where null removes what it stands at."""
    changes = {}
    for ids, item in _leaves(payload):
        path = _value_path(base, ids)
        if path in changes:
            raise MalformedLwm2mCbor(f"{path} is there twice")
        changes[path] = Change(path, None if item is None else _value(path, item, models))
    return list(changes.values())


def decode_paths(payload: bytes) -> list[ObjectPath | None]:
    """The paths that a payload names. Raises `MalformedLwm2mCbor`."""
    paths: list[ObjectPath | None] = []
    for ids, item in _leaves(payload):
        if item is not None or NULL_ID in ids:
            raise MalformedLwm2mCbor(f"a value at {_text(ids)} where only paths are needed")
        paths.append(ObjectPath(*ids))
    if not paths:
        raise MalformedLwm2mCbor("nothing is named")
    return paths


# --- encoding


def _insert(tree: _Tree, base: ObjectPath | None, path: ObjectPath, item: object) -> None:
    require_value_beneath(base, path)
    *above, last = _ids(path)
    for identifier in above:
        tree = tree.setdefault(identifier, {})
        if type(tree) is not dict:
            raise IllegalPath(f"{path} lies beneath another value")
    if last in tree:
        raise IllegalPath(f"{path} is there twice, or has values beneath it")
    tree[last] = item


def _ids(path: ObjectPath) -> tuple[int, ...]:
    return tuple([level for level in path if level is not None])


def _joined(tree: _Tree) -> _Tree:
    joined = {}
    for identifier, below in tree.items():
        key: tuple[int, ...] = (identifier,)
        while type(below) is dict and len(below) == 1:
            ((identifier, below),) = below.items()
            key = (*key, identifier)
        joined[key if len(key) > 1 else key[0]] = _joined(below) if type(below) is dict else below
    return joined


def _encodable(node: Node, models: Models) -> Value:
    path, value = node
    model = resource_model(models, path)
    require_levels(model, path)
    kind = type_of(model, value)
    check_type(kind, value, "LwM2M CBOR value")
    if isinstance(value, ObjectLink):
        return str(value)
    return float(value) if kind is ValueType.FLOAT else value


# --- decoding


def _leaves(payload: bytes) -> Iterator[tuple[tuple[int, ...], Any]]:
    try:
        tree = cbor.load(payload, takes_times=True)
    except MalformedCbor as error:
        raise MalformedLwm2mCbor(str(error)) from None
    if type(tree) is not dict:
        raise MalformedLwm2mCbor("a map of object ids is needed")
    for count, leaf in enumerate(_beneath((), tree)):
        if count == VALUES_MAX:
            raise MalformedLwm2mCbor(f"more than {VALUES_MAX} values")
        yield leaf


def _beneath(above: tuple[int, ...], tree: _Tree) -> Iterator[tuple[tuple[int, ...], Any]]:
    for key, item in tree.items():
        ids = above + _key_ids(above, key)
        if len(ids) > _LEVELS_MAX:
            raise MalformedLwm2mCbor(f"{_text(ids)} has more than four levels")
        if type(item) is dict:
            yield from _beneath(ids, item)
        else:
            yield ids, item


def _key_ids(above: tuple[int, ...], key: object) -> tuple[int, ...]:
    ids = key if type(key) is tuple else (key,)
    if not above and ids and type(ids[0]) is str:
        raise MalformedLwm2mCbor("devices behind a gateway (a prefix in the path) are not served")
    if not ids:
        raise MalformedLwm2mCbor("a key without ids")
    for identifier in ids:
        if type(identifier) is not int or not 0 <= identifier <= NULL_ID:
            raise MalformedLwm2mCbor(f"{str(identifier)[:20]!r} is not an id: 0 to {ID_MAX}")
    return ids


def _value_path(base: ObjectPath | None, ids: tuple[int, ...]) -> ObjectPath:
    path = ObjectPath(*ids)
    try:
        require_value_beneath(base, path)
    except IllegalPath as error:
        raise MalformedLwm2mCbor(str(error)) from None
    is_create = base is not None and base.instance_id is None
    if NULL_ID in (path._replace(instance_id=0) if is_create else path):
        raise MalformedLwm2mCbor(f"{NULL_ID} in {path} is not an id: 0 to {ID_MAX}")
    return path


def _value(path: ObjectPath, item: object, models: Models) -> Value:
    model = resource_model(models, path)
    try:
        require_levels(model, path)
        if model is None:
            return cbor.typed_value(None, item, "value")
        return cbor.typed_value(model.type, item, model.name)
    except (IllegalPath, MalformedCbor) as error:
        raise MalformedLwm2mCbor(f"{path}: {error}") from None


def _text(ids: tuple[int, ...]) -> str:
    return "/" + "/".join([str(identifier) for identifier in ids[:5]])
