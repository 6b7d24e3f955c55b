"""CBOR data items from outside, bounded and without surprises; and content format 60.

RFC 8949. Of all tags only decimal fractions (4) and, where asked for, times (0, 1) are taken: the
others would build objects that no format here knows, or numbers of any size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import cbor2

from lwm2m.codecs.node import number_as
from lwm2m.errors import MalformedCbor
from lwm2m.objects import ObjectLink, Value, ValueType, check_type

DEPTH_MAX = 8
_EPOCH_TIME = b"\xc1"

# A decimal fraction beyond a double's exponents is zero, infinite, or a request for memory.
_EXPONENT_MAX = 400
# What cbor2 raises for bytes that it cannot make an item of; TypeError is a key without hash.
_DECODING_ERRORS = (
    cbor2.CBORError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
_KNOWN_TAGS = (0, 1, 2, 3, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261)
_KNOWN_TAGS_LATE = (1004, 43000, 55799)


def load(payload: bytes, depth_max: int = DEPTH_MAX, *, takes_times: bool = False) -> Any:
    """The one data item in `payload`, tags refused but decimal fractions, which become `Decimal`.

    With `takes_times` tags 0 and 1 are taken too and become Unix seconds. Maps with a key twice,
    bytes after the item and nesting beyond `depth_max` are refused as well. Raises
    `MalformedCbor`.
    """
    stream = io.BytesIO(payload)
    try:
        item = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse_unknown_tag,
            semantic_decoders=_WITH_TIMES if takes_times else _SEMANTIC_DECODERS,
            max_depth=depth_max,
            allow_duplicate_keys=False,
        ).decode()
    except _DECODING_ERRORS as error:
        raise MalformedCbor(_reason(error)) from None
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
    if kind is ValueType.TIME:
        # RFC 8949 §3.4.2. Untagged numbers are read as well; some peers insist on the tag.
        return _EPOCH_TIME + cbor2.dumps(value)
    return cbor2.dumps(value)


def decode_value(kind: ValueType | None, payload: bytes) -> Value:
    """The value of type `kind` in `payload`; None takes any type.

    Numbers may be of another CBOR type when nothing is lost; a time may carry tag 0 or 1. Raises
    `MalformedCbor` or `InvalidValue`.
    """
    item = load(payload, depth_max=2, takes_times=kind is ValueType.TIME)
    return typed_value(kind, item, "CBOR value")


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


def _seconds_of_text(text: Any, _immutable: bool) -> int | float:
    """Tag 0, RFC 8949 §3.4.1: a date and time as RFC 3339 writes it."""
    if type(text) is not str:
        raise ValueError("tag 0 is for text")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without zone")
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _seconds(number: Any, _immutable: bool) -> int | float:
    """Tag 1, RFC 8949 §3.4.2: what follows is the number of seconds."""
    seconds = finite_double(number)
    if seconds is None:
        raise ValueError("tag 1 is for finite numbers")
    return seconds


_WITH_TIMES: Mapping[int, Callable[[Any, bool], Any]] = {
    **_SEMANTIC_DECODERS,
    0: _seconds_of_text,
    1: _seconds,
}


def _reason(error: BaseException) -> str:
    cause = error.__cause__
    return str(cause if isinstance(cause, ValueError) else error) or type(error).__name__
