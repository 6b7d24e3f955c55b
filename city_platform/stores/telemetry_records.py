"""What goes into the telemetry store and comes out of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from contracts.api import DeadLettered, ReadingRow
from contracts.telemetry import Alarm, ReadingValue

ValueKind = Literal["number", "boolean", "text", "opaque"]
TimeSource = Literal["device", "received"]


class ReadingRecord(NamedTuple):
    """A reading as it is stored. `value` is what SQLite takes: a boolean is 0 or 1, an opaque
    value base64; `kind` tells them from numbers and texts.
    """

    endpoint: str
    path: str
    time_us: int
    value: float | int | str
    kind: ValueKind
    unit: str | None
    time_source: TimeSource
    tenant: str

    def row(self) -> ReadingRow:
        """The reading as the outside sees it."""
        return (self[0], self[1], self[2], outward_value(self[3], self[4]))


class AlarmRecord(NamedTuple):
    """An alarm as it is stored."""

    alarm: Alarm
    boot: str
    tenant: str


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


class FeedLine(NamedTuple):
    """One line of the feed: JSON with its newline, stamped after the sync."""

    cursor: int
    line: bytes


class FeedPage(NamedTuple):
    """Lines after a cursor, and the cursor of the `oldest` line that is still kept (0: none)."""

    lines: list[FeedLine]
    oldest: int


def outward_value(value: float | int | str, kind: str) -> ReadingValue:
    """A stored value as the outside sees it: opaque stays base64."""
    return bool(value) if kind == "boolean" else value
