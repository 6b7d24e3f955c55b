"""One value at one path: what every data format is decoded to and encoded from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lwm2m.errors import IllegalPath, InvalidValue
from lwm2m.objects import (
    NULL_ID,
    Models,
    ObjectPath,
    ResourceModel,
    Value,
    ValueType,
    resource_model,
)


class Node(NamedTuple):
    """A value of a resource (three levels) or of a resource instance (four)."""

    path: ObjectPath
    value: Value


class TimedNode(NamedTuple):
    """A value and when it was so, in Unix seconds; None when nobody says."""

    path: ObjectPath
    value: Value
    unix_s: float | None


class Change(NamedTuple):
    """What a Write-Composite does at one path; None removes the resource instance."""

    path: ObjectPath
    value: Value | None


def type_of(model: ResourceModel | None, value: Value) -> ValueType:
    """The type to encode `value` as: the definition's, or that of the Python value without one."""
    if model is not None:
        return model.type
    for kind, guessed in _GUESSES:
        if isinstance(value, kind):
            return guessed
    raise InvalidValue("unknown resource", f"{type(value).__name__} is not a value type")


# bool before int, which it is a subclass of.
_GUESSES: tuple[tuple[type, ValueType], ...] = (
    (bool, ValueType.BOOLEAN),
    (int, ValueType.INTEGER),
    (float, ValueType.FLOAT),
    (str, ValueType.STRING),
    (bytes, ValueType.OPAQUE),
    (tuple, ValueType.OBJECT_LINK),
)


def one_node(base: ObjectPath, nodes: Sequence[Node], models: Models) -> tuple[Node, ValueType]:
    """The node of a single-value format and its type. Raises `IllegalPath` or `InvalidValue`."""
    require_value_path(base, models)
    if len(nodes) != 1 or nodes[0].path != base:
        raise IllegalPath(f"this format holds the one value of {base}, not {len(nodes)} others")
    return nodes[0], type_of(resource_model(models, base), nodes[0].value)


def require_value_path(base: ObjectPath, models: Models) -> ResourceModel | None:
    """The definition at `base`, where a single value must be. Raises `IllegalPath` elsewhere."""
    model = resource_model(models, base)
    if base.resource_id is None:
        raise IllegalPath(f"{base} is not a resource: this format holds a single value")
    if model is not None and model.multiple and base.resource_instance_id is None:
        raise IllegalPath(f"{base} has resource instances: this format holds a single value")
    return model


def require_value_beneath(base: ObjectPath | None, path: ObjectPath) -> None:
    """Return when a value may lie at `path` and `base` contains it. Raises `IllegalPath`."""
    if path.resource_id is None or (base is not None and not base.contains(path)):
        raise IllegalPath(f"{path} is not a value beneath {base or '/'}")


def require_levels(model: ResourceModel | None, path: ObjectPath) -> None:
    """Return when `path` has a resource instance if its resource has them. Raises `IllegalPath`."""
    if model is not None and model.multiple is (path.resource_instance_id is None):
        has = "has" if model.multiple else "has no"
        raise IllegalPath(f"{path}: {model.name} {has} resource instances")


def parse_value_path(base: ObjectPath | None, text: str) -> ObjectPath:
    """The path of a value beneath `base` that a payload names, with or without a leading slash.

    In a Create (`base` is an object) the instance may be `NULL_ID`. Raises `IllegalPath`.
    """
    path = _parse(base, text if text.startswith("/") else f"/{text}")
    require_value_beneath(base, path)
    return path


def _parse(base: ObjectPath | None, text: str) -> ObjectPath:
    if base is not None and base.instance_id is None:
        unnamed = f"{base}/{NULL_ID}/"
        if text.startswith(unnamed):
            path = ObjectPath.parse(f"{base}/0/{text.removeprefix(unnamed)}")
            return path._replace(instance_id=NULL_ID)
    return ObjectPath.parse(text)


def number_as(kind: ValueType, number: int | float) -> int | float:
    """`number` as the type asks: formats may write 3 as 3.0 and the reverse. Raises `InvalidValue`.

    Integers beyond what the type holds are left to `check_type`.
    """
    if kind is ValueType.FLOAT:
        # No decoder here gives integers of more than 64 bits.
        return float(number)
    if isinstance(number, float):
        if not number.is_integer():
            raise InvalidValue(kind.value, f"{number} is not whole")
        return int(number)
    return number
