"""SenML packs in CBOR (RFC 8428 §6), content format 112; what the fields mean is `senml`'s."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cbor2

from lwm2m.codecs import cbor, senml
from lwm2m.codecs.senml import (
    BASE_NAME,
    BASE_SUM,
    BASE_TIME,
    BASE_UNIT,
    BASE_VALUE,
    BASE_VERSION,
    BOOLEAN_VALUE,
    DATA_VALUE,
    DEFAULT_LIMITS,
    NAME,
    OBJECT_LINK_VALUE,
    STRING_VALUE,
    SUM,
    TIME,
    UNIT,
    UPDATE_TIME,
    VALUE,
    Fields,
    Label,
    Records,
    ResolvedRecord,
    SenmlLimits,
)
from lwm2m.errors import InvalidValue, MalformedCbor, MalformedSenml
from lwm2m.objects import ObjectLink, Value

# The labels are known by this module's name as well: whoever writes CBOR needs one import.
__all__ = [
    "BASE_NAME",
    "BASE_SUM",
    "BASE_TIME",
    "BASE_UNIT",
    "BASE_VALUE",
    "BASE_VERSION",
    "BOOLEAN_VALUE",
    "DATA_VALUE",
    "DEFAULT_LIMITS",
    "NAME",
    "OBJECT_LINK_VALUE",
    "STRING_VALUE",
    "SUM",
    "TIME",
    "UNIT",
    "UPDATE_TIME",
    "VALUE",
    "Fields",
    "Label",
    "PreparedRecord",
    "ResolvedRecord",
    "SenmlLimits",
    "decode",
    "encode",
    "encode_readings",
    "load",
    "prepare",
    "resolve",
]


def load(payload: bytes, limits: SenmlLimits = DEFAULT_LIMITS) -> Records:
    """The records of a pack, unchecked. Raises `MalformedSenml` for what is no pack of CBOR."""
    senml.require_size(payload, limits)
    try:
        pack = cbor.load(payload, limits.depth_max)
    except MalformedCbor as error:
        raise MalformedSenml(str(error)) from None
    return senml.require_records(pack, limits)


def decode(payload: bytes, limits: SenmlLimits = DEFAULT_LIMITS) -> Records:
    """The records of a pack as they were sent, each field checked; decimal fractions are doubles.

    Raises `MalformedSenml` with the record's index.
    """
    return senml.checked(load(payload, limits))


def resolve(
    payload: bytes, now: float | None, limits: SenmlLimits = DEFAULT_LIMITS
) -> list[ResolvedRecord]:
    """The records of a pack with the base fields applied (RFC 8428 §4.6), in the pack's order.

    `now` (Unix seconds) makes relative times absolute; None leaves them None. Values are numbers,
    str, bool, bytes or `ObjectLink`. Raises `MalformedSenml` with the record's index.
    """
    return senml.resolved(load(payload, limits), now, limits)


def encode(records: Sequence[Fields]) -> bytes:
    """A pack of records that keep to RFC 8428 §4 already. Raises `InvalidValue`."""
    try:
        return cbor2.dumps(records)
    except cbor2.CBORError as error:
        raise InvalidValue("SenML pack", str(error)) from error


class PreparedRecord(NamedTuple):
    """The part of a record that is the same in every pack, encoded once (see `prepare`)."""

    fields: bytes
    fields_count: int


def prepare(name: str, unit: str | None = None) -> PreparedRecord:
    """Name and unit of a series of readings, for `encode_readings`."""
    fields = {NAME: name} if unit is None else {NAME: name, UNIT: unit}
    return PreparedRecord(cbor2.dumps(fields)[1:], len(fields))


def encode_readings(
    base: Fields, readings: Iterable[tuple[PreparedRecord, Value, float | None]]
) -> bytes:
    """A pack of readings, quickly: what each costs is its value and its time.

    `base` has the base fields and extensions of the first record, fewer than 20. A reading is what
    `prepare` made, the value, and its time field in seconds (None: none). Raises `InvalidValue`.
    """
    parts = []
    head, head_count = cbor2.dumps(base)[1:], len(base)
    for (fields, count), value, time in readings:
        count += head_count + 1
        ending = _encoded_value(value)
        if time is not None:
            count += 1
            ending += b"\x06" + _encoded_number(time)
        parts.append(_MAP_HEADS[count] + head + fields + ending)
        head, head_count = b"", 0
    size = len(parts)
    length = bytes((0x80 | size,)) if size < 24 else b"\x99" + struct.pack(">H", size)
    return length + b"".join(parts)


_MAP_HEADS = tuple(bytes((0xA0 | count,)) for count in range(24))
_double = struct.Struct(">Bd").pack


def _encoded_number(number: float) -> bytes:
    if type(number) is float:
        if number - number != 0.0:
            raise InvalidValue("SenML", "numbers must be finite")
        return _double(0xFB, number)
    return cbor2.dumps(number)


def _encoded_value(value: Value) -> bytes:
    if type(value) is float:
        return b"\x02" + _encoded_number(value)
    if value is True:
        return b"\x04\xf5"
    if value is False:
        return b"\x04\xf4"
    if isinstance(value, int):
        return b"\x02" + cbor2.dumps(value)
    if isinstance(value, str):
        return b"\x03" + cbor2.dumps(value)
    if isinstance(value, ObjectLink):
        return b"\x63vlo" + cbor2.dumps(str(value))
    return b"\x08" + cbor2.dumps(value)
