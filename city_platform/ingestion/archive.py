"""Writes the decoded records as compressed JSON lines, by day and hour, into the object store.

An object holds the packs of some spool positions, all received in one hour, and is named after the
first: `archive/2026/05/31/14/00000000000000000042.jsonl.gz`. What the archive holds is known by the
position that the telemetry store keeps for it. After a kill the packs behind that position are read
from the spool again, and their object, which begins at the same position, is written again.

A pack that a device sent twice is there twice: the archive is what arrived.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from city_platform.stores.object_store import NewObject, ObjectStore
from city_platform.stores.telemetry_records import (
    AlarmRecord,
    ReadingRecord,
    UniformPack,
    outward_value,
)
from contracts.telemetry import ReadingValue

_HOUR_US: Final = 3_600_000_000
_GZIP: Final = (
    31  # zlib's window of 2^15 with gzip's header, whose time is 0: same content, same file
)
_FAST: Final = 1
# Own choice: larger runs cost hardly less.
PACKS_AT_ONCE: Final = 64
# About what a line has, uncompressed: an object is not to be much larger than it may.
_LINE_BYTES: Final = 160


class ArchivedReading(msgspec.Struct, frozen=True, gc=False, tag="reading", tag_field="kind"):
    """A line of the archive. Times are Unix microseconds; `unit` is SenML's."""

    endpoint: str
    tenant: str
    path: str
    time_us: int
    value: ReadingValue
    unit: str | None
    time_source: str
    received_us: int


class ArchivedAlarm(msgspec.Struct, frozen=True, gc=False, tag="alarm", tag_field="kind"):
    """A line of the archive."""

    endpoint: str
    tenant: str
    path: str
    time_us: int
    alarm: str
    raised: bool
    severity: str
    sequence: int
    value: float | None
    threshold: float | None
    received_us: int


class DecodedPack(msgspec.Struct, frozen=True, gc=False):
    """What one spooled message held; nothing when it became a dead letter. Its readings are
    `uniform`, or else `readings`."""

    position: int
    received_us: int
    readings: Sequence[ReadingRecord] = ()
    alarms: Sequence[AlarmRecord] = ()
    uniform: UniformPack | None = None


class _OpenObject:
    """The object at hand: packs from position `first` on, all received in `hour`."""

    def __init__(self, first: int, hour: int, opened_ns: int) -> None:
        self.hour = hour
        self.opened_ns = opened_ns
        self.size = 0
        self._first = first
        self._parts: list[bytes] = []
        self._compressor = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
        self._finished: NewObject | None = None

    def append(self, lines: bytes) -> None:
        self.size += len(lines)
        self._parts.append(self._compressor.compress(lines))

    def finish(self) -> NewObject:
        """The object to put; the same one when it is asked for again."""
        if self._finished is None:
            data = b"".join([*self._parts, self._compressor.flush()])
            name = object_name(self.hour * _HOUR_US, self._first)
            self._finished = NewObject(name, data)
        return self._finished


class Archive:
    """Gathers packs in the order of the spool; `position` is the first that was not added."""

    def __init__(
        self,
        objects: ObjectStore,
        position: int,
        *,
        bytes_max: int,
        age_s_max: float,
        now_ns: Callable[[], int],
    ) -> None:
        self.position = position
        self._objects = objects
        self._bytes_max = bytes_max
        self._age_ns_max = int(age_s_max * 1e9)
        self._now_ns = now_ns
        self._encoder = msgspec.json.Encoder()
        self._open: _OpenObject | None = None

    @property
    def due_ns(self) -> int | None:
        """When the object at hand must be put (monotonic), None while there is none."""
        return None if self._open is None else self._open.opened_ns + self._age_ns_max

    def add(self, packs: Sequence[DecodedPack]) -> int:
        """Take packs that follow each other, as far as the object at hand may hold them.

        Returns how many; fewer than all means: `put` the object, then add the others. Compresses,
        so it belongs into a worker thread.
        """
        count = 0
        while count < len(packs):
            hour = packs[count].received_us // _HOUR_US
            if self._open is None:
                self._open = _OpenObject(packs[count].position, hour, self._now_ns())
            elif self._open.size >= self._bytes_max or self._open.hour != hour:
                return count
            count = self._add_some(packs, count, self._open)
        return len(packs)

    def _add_some(self, packs: Sequence[DecodedPack], start: int, open_object: _OpenObject) -> int:
        """Add packs from `start` on that belong into the same object; returns the next one.

        Some at a time, which are encoded and compressed in one go.
        """
        lines: list[ArchivedReading | ArchivedAlarm] = []
        lines_max = (self._bytes_max - open_object.size) // _LINE_BYTES
        end = start
        for pack in packs[start : start + PACKS_AT_ONCE]:
            if pack.received_us // _HOUR_US != open_object.hour:
                break
            lines += archived_lines(pack)
            end += 1
            if len(lines) > lines_max:
                break
        if lines:
            open_object.append(self._encoder.encode_lines(lines))
        self.position = packs[end - 1].position + 1
        return end

    async def put(self) -> int:
        """Put the object at hand, if it has any line; returns the position behind it."""
        if self._open is not None and self._open.size:
            await self._objects.put([self._open.finish()], sync=True)
        self._open = None
        return self.position


def archived_lines(pack: DecodedPack) -> list[ArchivedReading | ArchivedAlarm]:
    """A pack's lines."""
    at = pack.received_us
    if pack.uniform is not None:
        return _uniform_lines(pack.uniform, at)
    lines: list[ArchivedReading | ArchivedAlarm] = [
        ArchivedReading(
            endpoint,
            tenant,
            path,
            time_us,
            value if kind == "number" else outward_value(value, kind),
            unit,
            time_source,
            at,
        )
        for endpoint, path, time_us, value, kind, unit, time_source, tenant in pack.readings
    ]
    if pack.alarms:
        lines += [
            ArchivedAlarm(tenant=tenant, received_us=at, **found._asdict())
            for found, _, tenant in pack.alarms
        ]
    return lines


def _uniform_lines(uniform: UniformPack, received_us: int) -> list[ArchivedReading | ArchivedAlarm]:
    endpoint, tenant, time_us, layout, values = uniform
    return [
        ArchivedReading(
            endpoint,
            tenant,
            path,
            time_us,
            value if kind == "number" else outward_value(value, kind),
            unit,
            "device",
            received_us,
        )
        for (path, kind, unit), value in zip(layout.fields, values, strict=True)
    ]


def object_name(received_us: int, first: int) -> str:
    """The name of the object whose first pack is at spool position `first`."""
    day = datetime.fromtimestamp(received_us // 1_000_000, UTC)
    return f"archive/{day:%Y/%m/%d/%H}/{first:020d}.jsonl.gz"
