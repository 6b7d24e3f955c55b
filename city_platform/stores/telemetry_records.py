"""What goes into the telemetry store and comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from city_platform.presence import Told
from contracts.api import DeadLettered, ReadingRow
from contracts.telemetry import Alarm, ReadingValue

# Readings of a pack that are one row of a store; a pack with more is kept reading by reading.
PACK_READINGS_MAX: Final = 16
# Own choice: an installation has some dozen models, and a model a few packs.
_LAYOUTS_MAX: Final = 10_000

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


_Field: TypeAlias = tuple[str, ValueKind, str | None]


class PackLayout:
    """What the readings of a pack are: path, kind and unit of each, in their order, no path twice.

    Those of one `PackLayouts` are the same object when they are equal, which makes them cheap keys.
    """

    __slots__ = ("fields", "has_booleans", "is_plain", "paths")

    def __init__(self, fields: tuple[_Field, ...]) -> None:
        self.fields = fields
        self.paths = tuple(path for path, _, _ in fields)
        self.is_plain = all(kind == "number" for _, kind, _ in fields)
        self.has_booleans = any(kind == "boolean" for _, kind, _ in fields)


class UniformPack(NamedTuple):
    """Readings of a device at one time, its own: nearly all packs. `values` as in `ReadingRecord`,
    in the order of the layout."""

    endpoint: str
    tenant: str
    time_us: int
    layout: PackLayout
    values: Sequence[float | int | str]

    def readings(self) -> list[ReadingRecord]:
        """The same reading by reading."""
        endpoint, tenant, time_us, layout, values = self
        return [
            ReadingRecord(endpoint, path, time_us, value, kind, unit, "device", tenant)
            for (path, kind, unit), value in zip(layout.fields, values, strict=True)
        ]

    def rows(self) -> list[ReadingRow]:
        """The same as the outside sees it."""
        endpoint, _, time_us, layout, values = self
        if layout.is_plain:
            return [
                (endpoint, path, time_us, value)
                for path, value in zip(layout.paths, values, strict=True)
            ]
        return outward_rows(self.readings())


class PackLayouts:
    """The layouts that were seen."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[_Field, ...], PackLayout] = {}

    def of(self, fields: tuple[_Field, ...]) -> PackLayout | None:
        """The layout of these fields, None when they do not make one."""
        found = self._layouts.get(fields)
        if found is None:
            found = PackLayout(fields)
            if not 0 < len(set(found.paths)) == len(fields) <= PACK_READINGS_MAX:
                return None
            if len(self._layouts) >= _LAYOUTS_MAX:
                self._layouts.clear()
            self._layouts[fields] = found
        return found

    def uniform(self, readings: Sequence[ReadingRecord]) -> UniformPack | None:
        """Readings of one device as a pack, None when they are not uniform."""
        if not readings:
            return None
        endpoint, _, time_us, _, _, _, source, tenant = readings[0]
        if source != "device" or any(one[2] != time_us for one in readings):
            return None
        layout = self.of(tuple((one[1], one[4], one[5]) for one in readings))
        values = tuple(one[3] for one in readings)
        return None if layout is None else UniformPack(endpoint, tenant, time_us, layout, values)


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
    """What became of the packs at spool positions `first` to `next` - 1. `at_us` is Unix time.

    `packs` are those that are uniform, `readings` what the others with times of their own held.
    """

    first: int
    next: int
    at_us: int
    readings: list[ReadingRecord]
    unstamped: list[UnstampedPack]
    alarms: list[AlarmRecord]
    dead_letters: list[DeadLettered]
    presence: Sequence[PresenceRecord] = ()
    packs: Sequence[UniformPack] = ()

    def stamped(self) -> list[ReadingRecord]:
        """All readings that have times of their own."""
        return [one for pack in self.packs for one in pack.readings()] + self.readings


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
