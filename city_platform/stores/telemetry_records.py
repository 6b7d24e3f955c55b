"""What goes into the telemetry store and comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from city_platform.presence import Told
from contracts.api import DeadLettered, ReadingRow
from contracts.telemetry import Alarm, ReadingValue

ValueKind = Literal["number", "boolean", "text", "opaque", "big_integer"]
TimeSource = Literal["device", "received"]


class ReadingRecord(NamedTuple):
    """A reading as it is stored. `value` is what SQLite takes: a boolean is 0 or 1, an opaque
    value base64, an integer of more than 63 bits its digits; `kind` tells them apart.
    """

    endpoint: str
    path: str
    time_us: int
    value: float | int | str
    kind: ValueKind
    unit: str | None
    time_source: TimeSource
    tenant: str


class AlarmRecord(NamedTuple):
    """An alarm as it is stored."""

    alarm: Alarm
    boot: str
    tenant: str


class PresenceRecord(NamedTuple):
    """What was told of a device's connection, and when it was received (Unix)."""

    told: Told
    tenant: str
    received_us: int


class UnstampedPack(NamedTuple):
    """Readings without a time of their own: told apart by `digest` within a window of time."""

    digest: bytes
    received_us: int
    readings: list[ReadingRecord]


class TelemetryBatch(NamedTuple):
    """What became of the packs at spool positions `first` to `next` - 1. `at_us` is Unix time."""

    first: int
    next: int
    at_us: int
    readings: list[ReadingRecord]
    unstamped: list[UnstampedPack]
    alarms: list[AlarmRecord]
    dead_letters: list[DeadLettered]
    presence: Sequence[PresenceRecord] = ()


class FeedLine(NamedTuple):
    """One line of the feed: JSON with its newline, stamped after the sync."""

    cursor: int
    line: bytes


class FeedPage(NamedTuple):
    """Lines after a cursor, and the cursor of the `oldest` line that is still kept (0: none)."""

    lines: list[FeedLine]
    oldest: int


def outward_rows(readings: list[ReadingRecord]) -> list[ReadingRow]:
    """Readings as the outside sees them."""
    return [
        (
            endpoint,
            path,
            time_us,
            value if kind == "number" else outward_value(value, kind),
        )
        for endpoint, path, time_us, value, kind, _, _, _ in readings
    ]


def outward_value(value: float | int | str, kind: str) -> ReadingValue:
    """A stored value as the outside sees it: opaque stays base64."""
    if kind == "boolean":
        return bool(value)
    return int(value) if kind == "big_integer" else value
