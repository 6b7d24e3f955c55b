"""The state packs that nearly all devices send, read in one pass over their records.

Such a pack has one base name and one base time, in its first record, and in each record a name that
was seen before, one number or truth value, and nothing unusual. For every other pack the answer is
None and the general way (`lwm2m.codecs.senml`) decides: what is found here is what that would find.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from city_platform.ingestion.pack_bounds import INT64_BOUND, TIME_MAX, TIME_MIN
from city_platform.stores.telemetry_records import ReadingRecord, ValueKind
from contracts.telemetry import KEY_BOOT, KEY_SEQUENCE
from lwm2m.codecs import senml

_TEXT_MAX: Final = 128


def common_readings(
    records: senml.Records, endpoint: str, tenant: str, paths: Mapping[str, str]
) -> list[ReadingRecord] | None:
    """The readings of a pack whose times are all absolute, or None when it is an unusual one.

    `paths` are the names without base that were seen before, each with the path that it stands for.
    """
    first = records[0] if records else None
    if type(first) is not dict or not _is_head(first, endpoint):
        return None
    base_time = first[senml.BASE_TIME]
    found: list[ReadingRecord] = []
    # Fields beside unit and time: name and value, and in the first also base name and base time.
    usual = 4 + (KEY_SEQUENCE in first) + (KEY_BOOT in first)
    for fields in records:
        if type(fields) is not dict:
            return None
        reading = _reading(fields, endpoint, tenant, base_time, paths, usual)
        if reading is None:
            return None
        found.append(reading)
        usual = 2
    return found


def _is_head(first: dict[Any, Any], endpoint: str) -> bool:
    """Whether the base fields and extensions of the first record are the usual ones."""
    time, boot = first.get(senml.BASE_TIME), first.get(KEY_BOOT, "")
    return (
        first.get(senml.BASE_NAME) == f"{endpoint}/"
        # RFC 8428 §4.5.1: what a name may begin with.
        and endpoint[:1].isalnum()
        and type(time) is float
        and TIME_MIN <= time < TIME_MAX
        and type(first.get(KEY_SEQUENCE, 0)) is int
        and type(boot) is str
        and len(boot) <= _TEXT_MAX
    )


def _reading(
    fields: dict[Any, Any],
    endpoint: str,
    tenant: str,
    base_time: float,
    paths: Mapping[str, str],
    usual: int,
) -> ReadingRecord | None:
    """One record; `usual` is how many fields it has beside unit and time."""
    get = fields.get
    path = paths.get(get(senml.NAME, ""))
    value = get(senml.VALUE)
    kind: ValueKind = "number"
    if type(value) is not float:
        if type(value) is int and -INT64_BOUND <= value < INT64_BOUND:
            pass
        elif value is None and type(get(senml.BOOLEAN_VALUE)) is bool:
            value, kind = int(fields[senml.BOOLEAN_VALUE]), "boolean"
        else:
            return None
    elif value - value != 0.0:
        return None
    unit, offset = get(senml.UNIT), get(senml.TIME)
    usual += (unit is not None) + (offset is not None)
    if path is None or len(fields) != usual or (unit is not None and type(unit) is not str):
        return None
    time = base_time
    if offset is not None:
        if type(offset) is not float or not -TIME_MAX < offset < TIME_MAX:
            return None
        # As the general way does: the sum of two doubles may miss the microsecond by a hair.
        time = round(base_time + offset, 6) if offset else base_time
        if not TIME_MIN <= time < TIME_MAX:
            return None
    return ReadingRecord(
        endpoint, path, round(time * 1_000_000), value, kind, unit, "device", tenant
    )
