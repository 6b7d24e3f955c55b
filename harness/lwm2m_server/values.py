"""Values of the data interface to typed values at object paths, and back."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from contracts.data_interface import Value, ValueType
from harness.lwm2m_server.secret_resources import is_secret
from lwm2m.codecs import Node, TimedNode
from lwm2m.errors import InvalidValue
from lwm2m.objects import (
    NULL_ID,
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
# Seconds to the microseconds of the data interface.
_US_PER_S = 1_000_000
_NEW_INSTANCE: Final = str(NULL_ID)


# What a reader keeps of paths that it has met: a fleet has few, and names them with each command.
_PATHS_KEPT: Final = 4_096


class Place(NamedTuple):
    """A path, and what is defined there."""

    path: ObjectPath
    model: ResourceModel | None


class _Told(NamedTuple):
    """How values at a path are told: `kind` is None where it goes by the value, or is nothing."""

    text: str
    model: ResourceModel | None
    kind: ValueType | None
    is_secret: bool


class ValueReader:
    """Reads and writes values by one set of definitions, and keeps what it finds out of paths."""

    __slots__ = ("_places", "_told", "models")

    def __init__(self, models: Models) -> None:
        self.models = models
        # Places where a value may be, by their text, and whether instance 65535 is a new one.
        self._places: dict[tuple[str, bool], Place] = {}
        self._told: dict[ObjectPath, _Told] = {}

    def place(self, text: str) -> Place:
        """The path that a text names, and what is defined there. Raises `IllegalPath`."""
        path = ObjectPath.parse(text)
        return Place(path, resource_model(self.models, path))

    def nodes(self, values: Iterable[Value], *, new_instance: bool = False) -> list[Node]:
        """Typed values at their paths, checked against the definitions that are known.

        With `new_instance`, instance 65535 is one whose id is not chosen yet. Raises `IllegalPath`
        and `InvalidValue`; neither repeats a text or opaque value.
        """
        return [self._node(value, new_instance) for value in values]

    def values(self, nodes: Iterable[Node]) -> list[Value]:
        """Values as the data interface carries them; those of secret resources are left out."""
        return [
            Value(told.text, kind, _plain(node.value))
            for node in nodes
            if (kind := _kind_of(told := self._told_at(node.path), node.value)) is not None
        ]

    def timed_values(self, nodes: Iterable[TimedNode], now_s: float | None) -> list[Value]:
        """The same, with the times that the device said; one that says now, `now_s`, says none."""
        found: list[Value] = []
        for node in nodes:
            told = self._told_at(node.path)
            kind = _kind_of(told, node.value)
            if kind is not None:
                at = node.unix_s
                time_us = None if at is None or at == now_s else round(at * _US_PER_S)
                found.append(Value(told.text, kind, _plain(node.value), time_us))
        return found

    def _told_at(self, path: ObjectPath) -> _Told:
        told = self._told.get(path)
        if told is None:
            text, model = str(path), resource_model(self.models, path)
            kind = None if model is None else _TYPES.get(model.type)
            told = _Told(text, model, kind, is_secret(text))
            if len(self._told) >= _PATHS_KEPT:
                self._told.clear()
            self._told[path] = told
        return told

    def _node(self, value: Value, new_instance: bool) -> Node:
        path, model = self.place_of_value(value.path, new_instance=new_instance)
        if model is None:
            return Node(path, _typed(ModelType(value.type), value.value, value.path))
        kind = model.type
        # Nearly always it is the very type.
        if value.type != kind.value and (value.type, kind) not in _FITTING:
            raise InvalidValue(model.name, f"is {kind.value}, not {value.type}")
        typed = _typed(kind, value.value, model.name)
        check_value(model, typed)
        return Node(path, typed)

    def place_of_value(self, text: str, *, new_instance: bool) -> Place:
        """Where a value may be, and what is defined there; see `nodes`, and it raises as that."""
        key = (text, new_instance)
        return self._places.get(key) or self._check_place(key)

    def _check_place(self, key: tuple[str, bool]) -> Place:
        """A place where a value may be. Raises `IllegalPath` and `InvalidValue`."""
        text, new_instance = key
        place = self._place_of_new(text) if new_instance else self.place(text)
        path = place.path
        if path.resource_id is None:
            raise InvalidValue(text, "a value belongs to a resource")
        if path.instance_id != NULL_ID:
            check_path(self.models, path)
        if len(self._places) >= _PATHS_KEPT:
            self._places.clear()
        self._places[key] = place
        return place

    def _place_of_new(self, text: str) -> Place:
        levels = text.split("/")
        if len(levels) < 3 or levels[2] != _NEW_INSTANCE:
            return self.place(text)
        # 65535 is no id that a path may have, so any other is read in its place.
        path, model = self.place("/".join([*levels[:2], "0", *levels[3:]]))
        return Place(path._replace(instance_id=NULL_ID), model)


def _kind_of(told: _Told, value: TypedValue) -> ValueType | None:
    """The type to tell a value as; None for what is not told."""
    if told.is_secret:
        return None
    return _GUESSES.get(type(value)) if told.model is None else told.kind


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
