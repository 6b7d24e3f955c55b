"""What a resource's value may be: the types of the LwM2M data model and their bounds."""

from __future__ import annotations

import enum
import math
from typing import NamedTuple, TypeAlias

from lwm2m.errors import InvalidValue


class ValueType(enum.StrEnum):
    """The data types of LwM2M Core appendix C; NONE is an executable resource's."""

    STRING = "string"
    INTEGER = "integer"
    UNSIGNED = "unsigned"
    FLOAT = "float"
    BOOLEAN = "boolean"
    OPAQUE = "opaque"
    TIME = "time"
    OBJECT_LINK = "objlnk"
    CORE_LINK = "corelnk"
    NONE = "none"


class ObjectLink(NamedTuple):
    """A reference to an object instance; (65535, 65535) refers to nothing."""

    object_id: int
    instance_id: int

    @classmethod
    def parse(cls, text: str) -> ObjectLink:
        """The link that `text` (such as `3:0`) names. Raises `InvalidValue`."""
        if text.upper() == "FFFF:FFFF":
            # LwM2M prints the link to nothing in hexadecimal in places.
            return cls(0xFFFF, 0xFFFF)
        object_id, _, instance_id = text.partition(":")
        for part in (object_id, instance_id):
            if not (part.isascii() and part.isdigit() and len(part) <= 5 and int(part) <= 0xFFFF):
                raise InvalidValue("object link", f"{text[:20]!r} is not two numbers and a colon")
        return cls(int(object_id), int(instance_id))

    def __str__(self) -> str:
        return f"{self.object_id}:{self.instance_id}"


NULL_LINK = ObjectLink(0xFFFF, 0xFFFF)

Value: TypeAlias = str | int | float | bool | bytes | ObjectLink
"""Time is an int, Unix seconds; opaque is bytes; a CoRE link list is str."""

NUMERIC = frozenset({ValueType.INTEGER, ValueType.UNSIGNED, ValueType.FLOAT, ValueType.TIME})

_INTEGER_BOUNDS = {
    ValueType.INTEGER: (-(2**63), 2**63 - 1),
    ValueType.UNSIGNED: (0, 2**64 - 1),
    ValueType.TIME: (-(2**63), 2**63 - 1),
}
# Types any value of which is a legal one.
_SURE_TYPES: dict[ValueType, type] = {ValueType.BOOLEAN: bool, ValueType.OPAQUE: bytes}


def check_type(kind: ValueType, value: Value, resource: str) -> None:
    """Return when `value` is of `kind`. Raises `InvalidValue`, naming `resource`.

    NaN and infinities are no float values here: nothing downstream could compare or print them.
    """
    # Most values need but one look.
    if type(value) is _SURE_TYPES.get(kind):
        return
    reason = _type_fault(kind, value)
    if reason is not None:
        raise InvalidValue(resource, reason)


def _type_fault(kind: ValueType, value: Value) -> str | None:
    bounds = _INTEGER_BOUNDS.get(kind)
    if bounds is not None:
        return _integer_fault(value, *bounds)
    if kind is ValueType.FLOAT:
        return _float_fault(value)
    if kind in (ValueType.STRING, ValueType.CORE_LINK):
        return _text_fault(value)
    if kind is ValueType.OBJECT_LINK:
        return _link_fault(value)
    if kind is ValueType.NONE:
        return "an executable resource has no value"
    expected = bool if kind is ValueType.BOOLEAN else bytes
    return None if isinstance(value, expected) else _not_a(kind, value)


def _integer_fault(value: Value, minimum: int, maximum: int) -> str | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return _not_a(ValueType.INTEGER, value)
    if not minimum <= value <= maximum:
        return f"{value} is outside {minimum} to {maximum}"
    return None


def _float_fault(value: Value) -> str | None:
    if isinstance(value, bool) or not isinstance(value, float | int):
        return _not_a(ValueType.FLOAT, value)
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    return None if finite else "a float must be finite and fit 64 bits"


def _text_fault(value: Value) -> str | None:
    if not isinstance(value, str):
        return _not_a(ValueType.STRING, value)
    if value.isascii():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return "a string with lone surrogates has no UTF-8 form"
    return None


def _link_fault(value: Value) -> str | None:
    if not isinstance(value, ObjectLink):
        return _not_a(ValueType.OBJECT_LINK, value)
    if not all(0 <= number <= 0xFFFF for number in value):
        return "both numbers of an object link have 16 bits"
    return None


def _not_a(kind: ValueType, value: Value) -> str:
    # The value itself may be a secret: only its type is told.
    return f"a value of type {kind.value} is needed, not {type(value).__name__}"
