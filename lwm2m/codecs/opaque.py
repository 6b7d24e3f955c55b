"""Octet stream, content format 42: the bytes of one opaque resource (LwM2M Core §7.4.2)."""

from __future__ import annotations

from lwm2m.errors import MalformedOpaque
from lwm2m.objects import Value, ValueType, check_type


def encode_value(kind: ValueType, value: Value) -> bytes:
    """The value itself. Raises `InvalidValue` unless it is opaque."""
    check_type(kind, value, "opaque value")
    check_type(ValueType.OPAQUE, value, "opaque value")
    assert isinstance(value, bytes)
    return value


def decode_value(kind: ValueType | None, payload: bytes) -> bytes:
    """The payload itself. Raises `MalformedOpaque` when the resource is of another type."""
    if kind not in (None, ValueType.OPAQUE):
        raise MalformedOpaque(f"a resource of type {kind} cannot be written as octet stream")
    return payload
