"""Values of the data interface to typed values at object paths, and back."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from contracts.data_interface import Value, ValueType
from harness.lwm2m_server.secret_resources import is_secret
from lwm2m.codecs import Node
from lwm2m.errors import InvalidValue
from lwm2m.objects import (
    Models,
    ObjectLink,
    ObjectPath,
    ResourceModel,
    check_path,
    check_value,
    resource_model,
)
from lwm2m.objects import Value as TypedValue
from lwm2m.objects import ValueType as ModelType

# Types between which a caller need not distinguish: the definition decides.
_NUMBERS = (ModelType.INTEGER, ModelType.UNSIGNED, ModelType.TIME, ModelType.FLOAT)
_TEXTS = (ModelType.STRING, ModelType.CORE_LINK)
# Pairs of a value's type and its definition's that go together.
_FITTING: Final = frozenset(
    {
        (given.value, wanted)
        for family in (_NUMBERS, _TEXTS)
        for given in family
        for wanted in family
    }
    | {(kind.value, kind) for kind in ModelType}
)
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
# What a value of an unknown resource is told as; exact types, because bool is an int.
_GUESSES: Final[dict[type, ValueType]] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "float",
    bytes: "opaque",
    ObjectLink: "objlnk",
}
# A JSON number beyond it is not exact everywhere (RFC 8259 §6).
_EXACT_MAX = 2**53
_INTEGERS = frozenset({ModelType.INTEGER, ModelType.UNSIGNED, ModelType.TIME})
# A fleet's devices have a handful of models: the same paths come again and again.
_PLACES_KEPT = 4_096


class Place(NamedTuple):
    """A path, and what is defined there."""

    path: ObjectPath
    model: ResourceModel | None


class ValueReader:
    """Reads and writes values by one set of definitions."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._places: dict[str, Place] = {}

    def place(self, text: str) -> Place:
        """The path that a text names, and what is defined there. Raises `IllegalPath`."""
        found = self._places.get(text)
        if found is None:
            path = ObjectPath.parse(text)
            found = Place(path, resource_model(self._models, path))
            if len(self._places) >= _PLACES_KEPT:
                self._places.clear()
            self._places[text] = found
        return found

    def nodes(self, values: Iterable[Value]) -> list[Node]:
        """Typed values at their paths, checked against the definitions that are known.

        Raises `IllegalPath` and `InvalidValue`; neither repeats a text or opaque value.
        """
        return [self._node(value) for value in values]

    def values(self, nodes: Iterable[Node]) -> list[Value]:
        """Values as the data interface carries them; those of secret resources are left out."""
        found: list[Value] = []
        for node in nodes:
            path = str(node.path)
            model = resource_model(self._models, node.path)
            kind = _GUESSES.get(type(node.value)) if model is None else _TYPES.get(model.type)
            if kind is not None and not is_secret(path):
                found.append(Value(path, kind, _plain(node.value)))
        return found

    def _node(self, value: Value) -> Node:
        path, model = self.place(value.path)
        if path.resource_id is None:
            raise InvalidValue(value.path, "a value belongs to a resource")
        check_path(self._models, path)
        if model is None:
            return Node(path, _typed(ModelType(value.type), value.value, value.path))
        if (value.type, model.type) not in _FITTING:
            raise InvalidValue(model.name, f"is {model.type.value}, not {value.type}")
        typed = _typed(model.type, value.value, model.name)
        check_value(model, typed)
        return Node(path, typed)


def _typed(kind: ModelType, raw: str | int | float | bool, resource: str) -> TypedValue:
    if isinstance(raw, str):
        if kind in _TEXTS:
            return raw
        if kind is ModelType.OPAQUE:
            return _opaque(raw, resource)
        if kind is ModelType.OBJECT_LINK:
            return ObjectLink.parse(raw)
    if kind is ModelType.BOOLEAN and isinstance(raw, bool):
        return raw
    if kind in _NUMBERS:
        return _number(kind, raw, resource)
    raise InvalidValue(resource, f"{type(raw).__name__} is not a JSON form of {kind.value}")


def _number(kind: ModelType, raw: str | int | float | bool, resource: str) -> int | float:
    if isinstance(raw, str):
        try:
            raw = int(raw) if kind in _INTEGERS else float(raw)
        except ValueError:
            raise InvalidValue(resource, "the text is not a number") from None
    if isinstance(raw, bool):
        raise InvalidValue(resource, "a boolean is not a number")
    if kind is ModelType.FLOAT:
        return _float(raw, resource)
    if isinstance(raw, float) and not raw.is_integer():
        raise InvalidValue(resource, "not a whole number")
    return int(raw)


def _float(number: int | float, resource: str) -> float:
    try:
        return float(number)
    except OverflowError:
        raise InvalidValue(resource, "too large for a float") from None


def _opaque(text: str, resource: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
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
