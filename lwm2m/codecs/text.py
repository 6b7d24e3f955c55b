"""Plain text, content format 0: one value as people would write it (LwM2M Core §7.4.1)."""

from __future__ import annotations

import re

from lwm2m.codecs import base64_text
from lwm2m.codecs.node import number_as
from lwm2m.errors import InvalidValue, MalformedText
from lwm2m.objects import ObjectLink, Value, ValueType, check_type

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)


def encode_value(kind: ValueType, value: Value) -> bytes:
    """The text of one value, UTF-8. Opaque is padded base64. Raises `InvalidValue`."""
    check_type(kind, value, "text value")
    if isinstance(value, bytes):
        return base64_text.padded(value).encode()
    if kind is ValueType.BOOLEAN:
        return b"1" if value else b"0"
    if kind is ValueType.FLOAT and isinstance(value, int | float):
        return repr(float(value)).encode()
    return str(value).encode()


def decode_value(kind: ValueType | None, payload: bytes) -> Value:
    """The value of type `kind` that a text names; None leaves it a string.

    Raises `MalformedText`, or `InvalidValue` when the type has no such value.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise MalformedText("not UTF-8") from None
    value = _value(kind, text)
    if kind is not None:
        check_type(kind, value, "text value")
    return value


def _value(kind: ValueType | None, text: str) -> Value:
    if kind in (ValueType.INTEGER, ValueType.UNSIGNED, ValueType.TIME):
        return _integer(text)
    if kind is ValueType.FLOAT:
        return _float(text)
    if kind is ValueType.BOOLEAN:
        return _boolean(text)
    if kind is ValueType.OPAQUE:
        return _opaque(text)
    return _link(text) if kind is ValueType.OBJECT_LINK else text


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise MalformedText(f"{text[:30]!r} is not a decimal integer")
    return int(text)


def _float(text: str) -> float:
    if len(text) > 64 or _FLOAT.fullmatch(text) is None:
        raise MalformedText(f"{text[:30]!r} is not a decimal number")
    return float(number_as(ValueType.FLOAT, float(text)))


def _boolean(text: str) -> bool:
    if text not in ("0", "1"):
        raise MalformedText(f"{text[:30]!r} is not a boolean: 0 or 1")
    return text == "1"


def _opaque(text: str) -> bytes:
    found = base64_text.octets(text)
    if found is None:
        raise MalformedText("not base64")
    return found


def _link(text: str) -> ObjectLink:
    try:
        return ObjectLink.parse(text)
    except InvalidValue as error:
        raise MalformedText(error.reason) from None
