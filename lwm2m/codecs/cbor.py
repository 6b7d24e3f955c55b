"""CBOR data items from outside, bounded and without surprises; and content format 60.

RFC 8949. Of all tags only decimal fractions (4) and, where asked for, times (0, 1) are taken: the
others would build objects that no format here knows, or numbers of any size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import cbor2

from lwm2m.codecs.node import number_as
from lwm2m.errors import MalformedCbor
from lwm2m.objects import ObjectLink, Value, ValueType, check_type

DEPTH_MAX = 8

# A decimal fraction beyond a double's exponents is zero, infinite, or a request for memory.
_EXPONENT_MAX = 400
_KNOWN_TAGS = (0, 1, 2, 3, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261)
_KNOWN_TAGS_LATE = (1004, 43000, 55799)


def load(payload: bytes, depth_max: int = DEPTH_MAX) -> Any:
    """The one data item in `payload`, tags refused but decimal fractions, which become `Decimal`.

    Maps with a key twice, bytes after the item and nesting beyond `depth_max` are refused as well.
    Raises `MalformedCbor`.
    """
    stream = io.BytesIO(payload)
    try:
        item = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse_unknown_tag,
            semantic_decoders=_SEMANTIC_DECODERS,
            max_depth=depth_max,
            allow_duplicate_keys=False,
        ).decode()
    except (cbor2.CBORError, ArithmeticError, MemoryError, RecursionError, ValueError) as error:
        raise MalformedCbor(_reason(error)) from None
    except TypeError:
        raise MalformedCbor("a map key that cannot be one") from None
    if stream.tell() != len(payload):
        raise MalformedCbor(f"{len(payload) - stream.tell()} bytes after the data item")
    return item


def finite_double(number: object) -> float | None:
    """`number` as a double when it is a finite CBOR number, else None. Integers stay exact ints."""
    if isinstance(number, float):
        return number if number - number == 0.0 else None
    if isinstance(number, int):
        return None if isinstance(number, bool) else number
    return double_of_decimal(number) if isinstance(number, Decimal) else None


def double_of_decimal(number: Decimal) -> float | None:
    """The nearest double of a decimal fraction; None when it has none that is finite."""
    if not number.is_finite() or abs(number.adjusted()) > _EXPONENT_MAX:
        return None
    double = float(number)
    return double if double - double == 0.0 else None


def encode_value(kind: ValueType, value: Value) -> bytes:
    """One value as a CBOR data item (LwM2M Core §7.4.5). Raises `InvalidValue`."""
    check_type(kind, value, "CBOR value")
    if isinstance(value, ObjectLink):
        return cbor2.dumps(str(value))
    if kind is ValueType.FLOAT:
        return cbor2.dumps(float(value))
    return cbor2.dumps(value)


def decode_value(kind: ValueType | None, payload: bytes) -> Value:
    """The value of type `kind` in `payload`; None takes any type.

    Numbers may be of another CBOR type when nothing is lost; a time may carry tag 1. Raises
    `MalformedCbor` or `InvalidValue`.
    """
    if kind is ValueType.TIME and payload[:1] == b"\xc1":
        # Tag 1, RFC 8949 §3.4.2: what follows is the number of seconds.
        payload = payload[1:]
    return typed_value(kind, load(payload, depth_max=2), "CBOR value")


def typed_value(kind: ValueType | None, item: object, resource: str) -> Value:
    """`item`, decoded from CBOR, as a value of type `kind`. Raises as `decode_value` does."""
    number = finite_double(item)
    if number is not None:
        found: Value = number if kind is None else _number(kind, number)
    elif isinstance(item, str):
        found = ObjectLink.parse(item) if kind is ValueType.OBJECT_LINK else item
    elif isinstance(item, bytes | bool):
        found = item
    else:
        raise MalformedCbor(f"{type(item).__name__} is no value of a resource")
    if kind is not None:
        check_type(kind, found, resource)
    return found


def _number(kind: ValueType, number: float) -> Value:
    return number_as(kind, number) if kind in _NUMBERS else number


_NUMBERS = (ValueType.FLOAT, ValueType.INTEGER, ValueType.UNSIGNED, ValueType.TIME)


def _refuser(tag: int) -> Callable[[Any, bool], Any]:
    def refuse(_value: Any, _immutable: bool) -> Any:
        raise ValueError(f"tag {tag} is not taken")

    return refuse


def _refuse_unknown_tag(tag: cbor2.CBORTag, _immutable: bool) -> Any:
    raise ValueError(f"tag {tag.tag} is not taken")


_SEMANTIC_DECODERS: Mapping[int, Callable[[Any, bool], Any]] = {
    tag: _refuser(tag) for tag in _KNOWN_TAGS + _KNOWN_TAGS_LATE
}


def _reason(error: BaseException) -> str:
    cause = error.__cause__
    return str(cause if isinstance(cause, ValueError) else error) or type(error).__name__
