"""Turns a device's values into SenML CBOR packs, and its alarm rules into raised and cleared.

What a pack looks like is `contracts.telemetry`; which values go into one is the device's business.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Final, NamedTuple

import cbor2

from contracts.telemetry import (
    KEY_ALARM,
    KEY_ALARM_SEQUENCE,
    KEY_BOOT,
    KEY_SEQUENCE,
    KEY_SEVERITY,
    KEY_THRESHOLD,
    KEY_VALUE,
    SENML_UNIT_OFFSETS,
    SENML_UNITS,
    ReadingValue,
    base_name,
)
from fake_devices.devices import AlarmRule, Values
from lwm2m.objects import Models, ObjectPath, Value, resource_model

# RFC 8428 §6, table 4: labels of the CBOR form.
BASE_TIME: Final = -3
BASE_NAME: Final = -2
NAME: Final = 0
UNIT: Final = 1
NUMBER: Final = 2
STRING: Final = 3
BOOLEAN: Final = 4

JournalRecord = tuple[str, int, ReadingValue]


class ReportedResource(NamedTuple):
    """How one resource appears in a pack: `value * factor + offset` in `unit`.

    `encoded_name` and `encoded_unit` are its fields of a record, encoded once for all devices.
    """

    path: ObjectPath
    name: str
    unit: str | None
    factor: float
    offset: float
    encoded_name: bytes
    encoded_unit: bytes


class AlarmChange(NamedTuple):
    """One alarm that was raised or cleared; `sequence` numbers a device's alarms from 1."""

    rule: AlarmRule
    raised: bool
    sequence: int
    value: float | None
    threshold: float | None


class UnknownUnit(LookupError):
    """A reported resource has a unit that `contracts.telemetry.SENML_UNITS` does not translate."""


def plan_report(
    reported: Iterable[ObjectPath],
    sources: Sequence[ObjectPath],
    models: Models,
) -> tuple[ReportedResource, ...]:
    """The resources among `reported` that lie beneath one of `sources` (none given: all)."""
    return tuple(
        _reported_resource(path, models)
        for path in reported
        if not sources or any(source.contains(path) for source in sources)
    )


def encode_state_pack(
    endpoint: str,
    plan: Sequence[ReportedResource],
    values: Values,
    sequence: int,
    boot: str,
    time_us: int,
) -> tuple[bytes, list[JournalRecord]]:
    """A pack of the planned resources that have a value, and the same as the journal keeps it.

    Without any value the pack is empty bytes and an empty list: there is nothing to send.
    """
    pieces: list[bytes] = [b""]
    journal: list[JournalRecord] = []
    for resource in plan:
        value = values.get(resource.path)
        if value is None:
            continue
        reading = _in_senml_unit(value, resource)
        # Name, value and, where there is one, unit.
        fields = 2 if resource.unit is None else 3
        if journal:
            pieces.append(_MAPS[fields])
        else:
            pieces.append(_MAPS[fields + _BASE_FIELDS])
            pieces.append(_encoded_base(endpoint, time_us))
        pieces.append(resource.encoded_name)
        pieces.append(_encoded_reading(reading))
        pieces.append(resource.encoded_unit)
        if not journal:
            pieces.append(_encoded_extras(sequence, boot))
        journal.append((f"/{resource.name}", time_us, reading))
    if not journal:
        return b"", []
    pieces[0] = _array_head(len(journal))
    return b"".join(pieces), journal


def encode_alarm_pack(
    endpoint: str, changes: Sequence[AlarmChange], sequence: int, boot: str, time_us: int
) -> bytes:
    """A pack with one record per alarm."""
    records = [_alarm_record(change) for change in changes]
    return cbor2.dumps(_with_base(records, endpoint, sequence, boot, time_us))


def find_changed_alarms(
    rules: Sequence[AlarmRule],
    raised_before: int,
    reported: int,
    values: Values,
    last_sequence: int,
) -> tuple[int, list[AlarmChange]]:
    """Which alarms changed, and the new `raised` bits.

    Bit n stands for rule n; rules outside `reported` keep their bit, so that an alarm which stands
    when its stream appears is raised then.
    """
    raised = raised_before
    changes: list[AlarmChange] = []
    for number, rule in enumerate(rules):
        bit = 1 << number
        is_raised = rule.is_raised(values)
        if not reported & bit or is_raised is bool(raised & bit):
            continue
        raised ^= bit
        changes.append(
            AlarmChange(
                rule,
                is_raised,
                last_sequence + len(changes) + 1,
                rule.value(values),
                rule.threshold_value(values),
            )
        )
    return raised, changes


def _alarm_record(change: AlarmChange) -> dict[int | str, object]:
    record: dict[int | str, object] = {
        NAME: str(change.rule.path).removeprefix("/"),
        BOOLEAN: change.raised,
        KEY_ALARM: change.rule.alarm,
        KEY_SEVERITY: change.rule.severity,
        KEY_ALARM_SEQUENCE: change.sequence,
    }
    if change.value is not None:
        record[KEY_VALUE] = change.value
    if change.threshold is not None:
        record[KEY_THRESHOLD] = change.threshold
    return record


def _with_base(
    records: list[dict[int | str, object]], endpoint: str, sequence: int, boot: str, time_us: int
) -> list[dict[int | str, object]]:
    # A float of 2026 has steps of 0.24 µs: the microsecond survives.
    base: dict[int | str, object] = {BASE_NAME: base_name(endpoint), BASE_TIME: time_us / 1e6}
    extras: dict[int | str, object] = {KEY_SEQUENCE: sequence, KEY_BOOT: boot}
    return [base | records[0] | extras, *records[1:]]


def _reported_resource(path: ObjectPath, models: Models) -> ReportedResource:
    model = resource_model(models, path)
    unit = "" if model is None else model.unit
    try:
        senml_unit, factor = SENML_UNITS[unit]
    except KeyError:
        raise UnknownUnit(f"{path}: unit {unit!r} has no SenML unit") from None
    offset = SENML_UNIT_OFFSETS.get(unit, 0.0)
    name = str(path).removeprefix("/")
    encoded_unit = b"" if senml_unit is None else cbor2.dumps(UNIT) + cbor2.dumps(senml_unit)
    encoded_name = cbor2.dumps(NAME) + cbor2.dumps(name)
    return ReportedResource(path, name, senml_unit, factor, offset, encoded_name, encoded_unit)


def _in_senml_unit(value: Value, resource: ReportedResource) -> ReadingValue:
    if isinstance(value, bool | str):
        return value
    if not isinstance(value, int | float):
        # No model of ours reports opaque values or links.
        raise TypeError(f"{resource.path}: {type(value).__name__} cannot be reported")
    if resource.factor == 1.0 and resource.offset == 0.0:
        return value
    # Twelve digits: 57 /100 is 0.57, not 0.5700000000000001.
    return float(f"{value * resource.factor + resource.offset:.12g}")


# A pack is put together from pieces: only times and values are new in it, and of a general encoder
# it would be the dearest part.
_BASE_FIELDS: Final = 4
_MAPS: Final = tuple([bytes((0xA0 | count,)) for count in range(2 + 1 + _BASE_FIELDS + 1)])
_FLOAT: Final = struct.Struct(">Bd")
_DOUBLE: Final = 0xFB
_BASE_NAME_KEY: Final = cbor2.dumps(BASE_NAME)
_BASE_TIME_KEY: Final = cbor2.dumps(BASE_TIME)
_SEQUENCE_KEY: Final = cbor2.dumps(KEY_SEQUENCE)
_BOOT_KEY: Final = cbor2.dumps(KEY_BOOT)
_ONE_BYTE_MAX: Final = 23
_TRUE, _FALSE = bytes((BOOLEAN, 0xF5)), bytes((BOOLEAN, 0xF4))
_NUMBER_KEY, _STRING_KEY = bytes((NUMBER,)), bytes((STRING,))


def _array_head(count: int) -> bytes:
    return bytes((0x80 | count,)) if count <= _ONE_BYTE_MAX else cbor2.dumps([0] * count)[:-count]


def _encoded_base(endpoint: str, time_us: int) -> bytes:
    # A float of 2026 has steps of 0.24 µs: the microsecond survives.
    time = _FLOAT.pack(_DOUBLE, time_us / 1e6)
    return _BASE_NAME_KEY + _encoded_text(base_name(endpoint)) + _BASE_TIME_KEY + time


def _encoded_extras(sequence: int, boot: str) -> bytes:
    return _SEQUENCE_KEY + _encoded_integer(sequence) + _BOOT_KEY + _encoded_text(boot)


def _encoded_reading(value: ReadingValue) -> bytes:
    """The value's field of a record: its label, which says what kind it is, and itself."""
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    if isinstance(value, str):
        return _STRING_KEY + _encoded_text(value)
    if isinstance(value, int):
        return _NUMBER_KEY + _encoded_integer(value)
    if isfinite(value):
        return _NUMBER_KEY + _FLOAT.pack(_DOUBLE, value)
    return _NUMBER_KEY + cbor2.dumps(value)


def _encoded_integer(value: int) -> bytes:
    # RFC 8949 §3: up to 23 in the head itself, up to 255 in a byte after it, then in two.
    if 0 <= value <= 0xFFFF:
        if value <= _ONE_BYTE_MAX:
            return bytes((value,))
        return bytes((0x18, value)) if value <= 0xFF else bytes((0x19, value >> 8, value & 0xFF))
    return cbor2.dumps(value)


def _encoded_text(text: str) -> bytes:
    data = text.encode()
    if len(data) <= _ONE_BYTE_MAX:
        return bytes((0x60 | len(data),)) + data
    return bytes((0x78, len(data))) + data if len(data) <= 0xFF else cbor2.dumps(text)
