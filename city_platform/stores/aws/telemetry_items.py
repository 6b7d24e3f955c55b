"""How readings, alarms and unstamped packs are named and written in the telemetry table. Pure.

| pk | sk | what |
|---|---|---|
| `reading#<endpoint>#<path>` | device time | a reading: the first value that came for its key |
| `conflict#<endpoint>#<path>` | device time, digest | another value for a key that has one |
| `series#<endpoint>` | path | that there are readings of this path |
| `alarm#<endpoint>` | device time (newest first), path, alarm, raised | an alarm |
| `presence#<endpoint>` | `-` | whether it is connected, and what that was told from |
| `pack#<digest>` | `-` | a pack without times of its own; gone after its window |
| `feed` | cursor | a line of the feed |
| `state` | `ingestion` | position, counts, and who writes |

A value is kept as JSON: DynamoDB's numbers do not hold every float.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from city_platform.presence import UNHEARD, DevicePresence
from city_platform.stores.aws.tables import Item
from city_platform.stores.telemetry_records import (
    AlarmRecord,
    ReadingRecord,
    UnstampedPack,
    outward_value,
)
from contracts.api import ReadingRow
from contracts.telemetry import Alarm

Key = tuple[str, str]

_BIAS: Final = 2**63
TIME_MIN_US: Final = -(2**63)
TIME_MAX_US: Final = 2**63 - 1


class Held(msgspec.Struct, frozen=True):
    """What a key has: value and kind, and the attempt that wrote it."""

    value: float | int | str
    kind: str
    attempt: int

    def is_same(self, reading: ReadingRecord) -> bool:
        """Whether it is the same reading again. Unit and tenant do not make it another one."""
        return (self.value, self.kind) == (reading.value, reading.kind)


def time_key(time_us: int) -> str:
    """A time as text that sorts as times do. Raises `OverflowError` beyond 64 bits."""
    if not TIME_MIN_US <= time_us <= TIME_MAX_US:
        raise OverflowError(f"{time_us} is no time in microseconds of 64 bits")
    return f"{time_us + _BIAS:020d}"


def time_of(key: str) -> int:
    """The time of a key that begins with one."""
    return int(key[:20]) - _BIAS


def reading_key(reading: ReadingRecord) -> Key:
    """Where a reading is."""
    return f"reading#{reading.endpoint}#{reading.path}", time_key(reading.time_us)


def conflict_key(reading: ReadingRecord) -> Key:
    """Where another value for a reading's key is."""
    told = msgspec.json.encode(
        [reading.value, reading.kind, reading.unit, reading.time_source, reading.tenant]
    )
    digest = hashlib.sha256(told).hexdigest()[:32]
    return (
        f"conflict#{reading.endpoint}#{reading.path}",
        f"{time_key(reading.time_us)}#{digest}",
    )


def reading_item(key: Key, reading: ReadingRecord, attempt: int) -> Item:
    """A reading, or a conflict, as it is written."""
    return {
        "pk": key[0],
        "sk": key[1],
        "reading": msgspec.json.encode(reading.value).decode(),
        "kind": reading.kind,
        "unit_name": reading.unit,
        "time_source": reading.time_source,
        "tenant": reading.tenant,
        "attempt": attempt,
    }


def held_from(item: Item) -> Held:
    """What an item holds."""
    attempt = item.get("attempt", 0)
    return Held(
        msgspec.json.decode(str(item["reading"]), type=float | int | str),
        str(item["kind"]),
        attempt if isinstance(attempt, int) else 0,
    )


def row_from(endpoint: str, path: str, item: Item) -> ReadingRow:
    """A reading as the outside sees it."""
    held = held_from(item)
    return endpoint, path, time_of(str(item["sk"])), outward_value(held.value, held.kind)


def series_item(endpoint: str, path: str) -> Item:
    """That a device has readings of a path."""
    return {"pk": f"series#{endpoint}", "sk": path}


def alarm_key(alarm: Alarm) -> Key:
    """Where an alarm is: newest first, then by path and name."""
    newest_first = f"{TIME_MAX_US - alarm.time_us:020d}"
    return (
        f"alarm#{alarm.endpoint}",
        f"{newest_first}#{alarm.path}#{alarm.alarm}#{int(alarm.raised)}",
    )


def alarm_item(found: AlarmRecord, attempt: int) -> Item:
    """An alarm as it is written."""
    pk, sk = alarm_key(found.alarm)
    return {
        "pk": pk,
        "sk": sk,
        "alarm": msgspec.json.encode(found.alarm).decode(),
        "boot": found.boot,
        "tenant": found.tenant,
        "attempt": attempt,
    }


def alarm_from(item: Item) -> Alarm:
    """An alarm as it was written."""
    return msgspec.json.decode(str(item["alarm"]), type=Alarm)


def presence_key(endpoint: str) -> Key:
    """Where the presence of a device is."""
    return f"presence#{endpoint}", "-"


def presence_item(endpoint: str, tenant: str, known: DevicePresence, revision: int) -> Item:
    """The presence of a device as it is written for the so manyth time."""
    pk, sk = presence_key(endpoint)
    return {
        "pk": pk,
        "sk": sk,
        "presence": known.state.value,
        "since_us": known.since_us,
        "boot": known.boot,
        "connection": known.connection,
        "ended": known.ended,
        "version": known.version,
        "tenant": tenant,
        "revision": revision,
    }


def presence_from(item: Item) -> tuple[DevicePresence, int]:
    """What an item tells and how often it was written; of an empty one nothing and never."""
    if not item:
        return UNHEARD, 0
    return msgspec.convert(item | {"state": item["presence"]}, DevicePresence), _whole(item)


def _whole(item: Item) -> int:
    revision = item["revision"]
    assert isinstance(revision, int)
    return revision


def pack_item(pack: UnstampedPack, attempt: int, window_us: int) -> Item:
    """That a pack came; DynamoDB takes it away some time after its window."""
    return {
        "pk": f"pack#{pack.digest.hex()}",
        "sk": "-",
        "received_us": pack.received_us,
        "attempt": attempt,
        "expires_s": (pack.received_us + window_us) // 1_000_000 + 60,
    }
