"""Values of the data interface to typed values at object paths, and back."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable
from typing import Final

from contracts.data_interface import Value, ValueType
from harness.lwm2m_server.secret_resources import is_secret
from lwm2m.codecs import Node
from lwm2m.codecs.node import number_as, type_of
from lwm2m.errors import InvalidValue
from lwm2m.objects import (
    Models,
    ObjectLink,
    ObjectPath,
    check_path,
    check_value,
    resource_model,
)
from lwm2m.objects import Value as TypedValue
from lwm2m.objects import ValueType as ModelType

# Types between which a caller need not distinguish: the definition decides.
_FAMILIES: Final[dict[str, str]] = {
    "string": "text",
    "corelnk": "text",
    "integer": "number",
    "unsigned": "number",
    "time": "number",
    "float": "number",
}
# An executable resource (type none) has no value.
_TYPES: Final[dict[ModelType, ValueType]] = {
    ModelType.STRING: "string",
    ModelType.INTEGER: "integer",
    ModelType.UNSIGNED: "unsigned",
    ModelType.FLOAT: "float",
    ModelType.BOOLEAN: "boolean",
    ModelType.OPAQUE: "opaque",
    ModelType.TIME: "time",
    ModelType.OBJECT_LINK: "objlnk",
    ModelType.CORE_LINK: "corelnk",
}
# A JSON number beyond it is not exact everywhere (RFC 8259 §6).
_EXACT_MAX = 2**53
_INTEGERS = frozenset({ModelType.INTEGER, ModelType.UNSIGNED, ModelType.TIME})


def nodes_from_values(values: Iterable[Value], models: Models) -> list[Node]:
    """Typed values at their paths, checked against the definitions that are known.

    Raises `IllegalPath` and `InvalidValue`; neither repeats a value that is secret.
    """
    return [_node(value, models) for value in values]


def values_from_nodes(nodes: Iterable[Node], models: Models) -> list[Value]:
    """Values as the data interface carries them; those of secret resources are left out."""
    found: list[Value] = []
    for node in nodes:
        path = str(node.path)
        kind = _TYPES.get(type_of(resource_model(models, node.path), node.value))
        if kind is not None and not is_secret(path):
            found.append(Value(path, kind, _plain(node.value)))
    return found


def _node(value: Value, models: Models) -> Node:
    path = ObjectPath.parse(value.path)
    check_path(models, path)
    if path.depth < 3:
        raise InvalidValue(value.path, "a value belongs to a resource")
    model = resource_model(models, path)
    if model is None:
        return Node(path, _typed(ModelType(value.type), value.value, value.path))
    if not _fits(value.type, model.type):
        raise InvalidValue(model.name, f"is {model.type.value}, not {value.type}")
    typed = _typed(model.type, value.value, model.name)
    check_value(model, typed)
    return Node(path, typed)


def _fits(given: ValueType, wanted: ModelType) -> bool:
    return _FAMILIES.get(given, given) == _FAMILIES.get(wanted.value, wanted.value)


def _typed(kind: ModelType, raw: str | int | float | bool, resource: str) -> TypedValue:
    if kind is ModelType.BOOLEAN:
        if isinstance(raw, bool):
            return raw
    elif kind is ModelType.OPAQUE:
        if isinstance(raw, str):
            return _opaque(raw, resource)
    elif kind is ModelType.OBJECT_LINK:
        if isinstance(raw, str):
            return ObjectLink.parse(raw)
    elif kind in _INTEGERS or kind is ModelType.FLOAT:
        return _number(kind, raw, resource)
    elif isinstance(raw, str):
        return raw
    raise InvalidValue(resource, f"{type(raw).__name__} is not a JSON form of {kind.value}")


def _number(kind: ModelType, raw: str | int | float | bool, resource: str) -> int | float:
    if isinstance(raw, str):
        try:
            raw = int(raw) if kind in _INTEGERS else float(raw)
        except ValueError:
            raise InvalidValue(resource, "the text is not a number") from None
    if isinstance(raw, bool):
        raise InvalidValue(resource, "a boolean is not a number")
    return number_as(kind, raw)


def _opaque(text: str, resource: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue(resource, "the text is not base64") from None


def _plain(value: TypedValue) -> str | int | float | bool:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, ObjectLink):
        return str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_EXACT_MAX <= value <= _EXACT_MAX else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    return value
