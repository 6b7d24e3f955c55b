"""Reads packs of a shape that was seen before without decoding them: numbers at known places.

The packs of a device differ in their numbers and in little else. A pack that the general way has
read is taken apart once, byte by byte: what may differ (the device's name, boot id, pack number,
times, values) becomes a hole, everything else must be the same. A pack of the same length that is
equal but for the holes is then one comparison and one `struct` away from its readings. Devices of
one model whose names are equally long share a shape.

Whatever is unusual is left to the general way: what is found here is what that would find.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from city_platform.ingestion.pack_bounds import FOREVER_US, INT64_BOUND, TIME_MAX, TIME_MIN
from city_platform.stores.telemetry_records import (
    PackLayout,
    PackLayouts,
    ReadingRecord,
    UniformPack,
    ValueKind,
)
from lwm2m.codecs import senml

# Own choices. A larger pack is a backlog, of which no two are alike; an installation has some
# dozen models, and a model a few shapes.
PAYLOAD_BYTES_MAX: Final = 2_048
SHAPES_OF_A_LENGTH_MAX: Final = 8
SHAPES_MAX: Final = 2_000

# RFC 8949 §3: the heads of what may be in a hole, with `struct`'s letter for what follows them.
_FLOATS: Final = {0xF9: "e", 0xFA: "f", 0xFB: "d"}
_UNSIGNED: Final = {0x18: "B", 0x19: "H", 0x1A: "I", 0x1B: "Q"}
_NEGATIVE: Final = {0x38: "B", 0x39: "H", 0x3A: "I", 0x3B: "Q"}
_LABELS: Final = {
    0x00: senml.NAME, 0x01: senml.UNIT, 0x02: senml.VALUE, 0x04: senml.BOOLEAN_VALUE,
    0x06: senml.TIME, 0x21: senml.BASE_NAME, 0x22: senml.BASE_TIME,
}  # fmt: skip
_SEQUENCE: Final = b"\x63seq"
_BOOT: Final = b"\x64boot"


class _NoShape(Exception):
    """A pack that has to be read the general way each time."""


class _Hole(NamedTuple):
    """Bytes that may differ: where, how many, how `struct` reads them, how the value is meant."""

    at: int
    size: int
    letter: str
    meaning: str


class _Record(NamedTuple):
    """A reading's names, and which of the numbers are its value and (-1: none) its time."""

    path: str
    unit: str | None
    kind: ValueKind
    value: int
    meaning: str
    time: int


class Shape:
    """One shape. What it finds in a pack that does not have it, or has unusual numbers, is None."""

    def __init__(
        self, payload: bytes, holes: Sequence[_Hole], name: slice, boot: slice | None, time: int,
        records: Sequence[_Record], nibbles: Sequence[tuple[int, int]], layouts: PackLayouts,
    ) -> None:  # fmt: skip
        mask = bytearray(b"\xff" * len(payload))
        for start, end in [
            (name.start, name.stop),
            *([(boot.start, boot.stop)] if boot else []),
            *((hole.at, hole.at + hole.size) for hole in holes),
        ]:
            mask[start:end] = bytes(end - start)
        for at, bits in nibbles:
            mask[at] = bits
        self._mask = int.from_bytes(mask, "big")
        self._fixed = int.from_bytes(payload, "big") & self._mask
        self._name, self._boot, self._time = name, boot, time
        self._numbers = struct.Struct(_format(holes)).unpack_from
        self._records = records
        # All but a few: every record is at the pack's own time, and most have floats only, in the
        # order of the holes.
        self._layout: PackLayout | None = None
        if all(record.time < 0 for record in records):
            self._layout = layouts.of(tuple((one.path, one.kind, one.unit) for one in records))
        self._is_plain = time == 0 and all(
            record.meaning == "float" and record.value == index + 1
            for index, record in enumerate(records)
        )

    def find(
        self, payload: bytes, bits: int, endpoint: str, tenant: str, latest_us: int
    ) -> UniformPack | list[ReadingRecord] | None:
        """`bits` is the payload as a number; its length is that of the shape."""
        if bits & self._mask != self._fixed or payload[self._name] != endpoint.encode():
            return None
        if self._boot is not None and not payload[self._boot].isascii():
            return None
        numbers = self._numbers(payload)
        time = numbers[self._time]
        total = sum(numbers)
        if total - total != 0.0 or not TIME_MIN <= time < TIME_MAX:
            return None
        if self._layout is None:
            return self._general(numbers, time, endpoint, tenant, latest_us)
        time_us = round(time * 1_000_000)
        values = numbers[1:] if self._is_plain else self._values(numbers)
        if time_us > latest_us or values is None:
            return None
        return UniformPack(endpoint, tenant, time_us, self._layout, values)

    def _values(self, numbers: tuple[Any, ...]) -> list[float | int] | None:
        found = []
        for record in self._records:
            value = numbers[record.value]
            if record.meaning != "float":
                value = _integer(value, record.meaning)
                if value is None:
                    return None
            found.append(value)
        return found

    def _general(
        self,
        numbers: tuple[Any, ...],
        base_time: float,
        endpoint: str,
        tenant: str,
        latest_us: int,
    ) -> list[ReadingRecord] | None:
        found = []
        for path, unit, kind, at, meaning, time_at in self._records:
            value, time = numbers[at], base_time
            if meaning != "float":
                value = _integer(value, meaning)
                if value is None:
                    return None
            if time_at >= 0 and (offset := numbers[time_at]):
                if not -TIME_MAX < offset < TIME_MAX:
                    return None
                # As the general way does: the sum of two doubles may miss the microsecond.
                time = round(base_time + offset, 6)
                if not TIME_MIN <= time < TIME_MAX:
                    return None
            time_us = round(time * 1_000_000)
            if time_us > latest_us:
                return None
            found.append(
                ReadingRecord(endpoint, path, time_us, value, kind, unit, "device", tenant)
            )
        return found


class PackShapes:
    """The shapes of an installation's packs, learnt from those that were read the general way."""

    def __init__(self, layouts: PackLayouts | None = None) -> None:
        self._layouts = PackLayouts() if layouts is None else layouts
        self._shapes: dict[tuple[int, int], list[Shape]] = {}
        self._count = 0

    def readings(
        self, payload: bytes, endpoint: str, tenant: str, latest_us: int = FOREVER_US
    ) -> list[ReadingRecord] | None:
        """What `find` finds, reading by reading."""
        found = self.find(payload, endpoint, tenant, latest_us)
        return found.readings() if isinstance(found, UniformPack) else found

    def find(
        self, payload: bytes, endpoint: str, tenant: str, latest_us: int = FOREVER_US
    ) -> UniformPack | list[ReadingRecord] | None:
        """The readings of a pack of a known shape, None for any other, and for one with a time
        after `latest_us`. Readings of several times are no uniform pack."""
        shapes = self._shapes.get((len(payload), len(endpoint)))
        # RFC 8428 §4.5.1: what a name may begin with.
        if shapes is None or not endpoint[:1].isalnum():
            return None
        bits = int.from_bytes(payload, "big")
        for shape in shapes:
            found = shape.find(payload, bits, endpoint, tenant, latest_us)
            if found is not None:
                if shape is not shapes[0]:
                    shapes.remove(shape)
                    shapes.insert(0, shape)
                return found
        return None

    def learn(self, payload: bytes, endpoint: str, readings: Sequence[ReadingRecord]) -> None:
        """Remember the shape of a pack; `readings` are what the general way found in it."""
        if len(payload) > PAYLOAD_BYTES_MAX:
            return
        try:
            shape = _Reader(payload, endpoint).shape(readings, self._layouts)
        except (_NoShape, IndexError):
            return
        if self._count >= SHAPES_MAX:
            self._shapes.clear()
            self._count = 0
        shapes = self._shapes.setdefault((len(payload), len(endpoint)), [])
        shapes.insert(0, shape)
        self._count += 1
        if len(shapes) > SHAPES_OF_A_LENGTH_MAX:
            shapes.pop()
            self._count -= 1


def _integer(raw: int, meaning: str) -> int | None:
    """An integer or a truth value from what is in its hole; None for what may not be there."""
    if meaning == "unsigned":
        return raw if raw < INT64_BOUND else None
    if meaning == "negative":
        return -1 - raw if raw < INT64_BOUND else None
    if meaning == "boolean":
        return raw - 0xF4 if 0xF4 <= raw <= 0xF5 else None
    # A head that is the integer itself.
    return raw if raw < 0x18 else 0x1F - raw if 0x20 <= raw < 0x38 else None


def _format(holes: Sequence[_Hole]) -> str:
    """The holes that are numbers as one format, those between skipped."""
    found, at = ">", 0
    for hole in holes:
        if hole.letter:
            found += f"{hole.at - at}x{hole.letter}"
            at = hole.at + hole.size
    return found


class _Reader:
    """Takes a pack apart, of which it is known that it is a usual one. Raises `_NoShape`, and
    `IndexError` where it is not what it should be."""

    def __init__(self, payload: bytes, endpoint: str) -> None:
        self._payload = payload
        self._name = f"{endpoint}/".encode()
        self._at = 0
        self._holes: list[_Hole] = []
        # Bytes some of whose bits may differ, each with the mask of those that may not.
        self._nibbles: list[tuple[int, int]] = []
        self._count = 0
        self._name_at = self._time_at = -1
        self._boot: slice | None = None

    def shape(self, readings: Sequence[ReadingRecord], layouts: PackLayouts) -> Shape:
        count = self._length(0x80)
        if count != len(readings):
            raise _NoShape
        records = [self._record(reading) for reading in readings]
        if self._at != len(self._payload) or self._time_at < 0 or self._name_at < 0:
            raise _NoShape
        name = slice(self._name_at, self._name_at + len(self._name) - 1)
        return Shape(
            self._payload, self._holes, name, self._boot, self._time_at, records, self._nibbles,
            layouts,
        )  # fmt: skip

    def _record(self, reading: ReadingRecord) -> _Record:
        value, meaning, time = -1, "", -1
        for _ in range(self._length(0xA0)):
            label = self._label()
            if label == senml.BASE_NAME:
                self._name_at = self._text_at(self._name)
            elif label == senml.BASE_TIME:
                self._time_at = self._float()
            elif label in (senml.VALUE, senml.BOOLEAN_VALUE):
                value, meaning = self._value(label == senml.BOOLEAN_VALUE)
            elif label == senml.TIME:
                time = self._float()
            elif label == "seq":
                self._skip_integer()
            elif label == "boot":
                self._boot = self._text()
            else:
                self._text()
        if value < 0:
            raise _NoShape
        return _Record(reading.path, reading.unit, reading.kind, value, meaning, time)

    def _byte(self) -> int:
        self._at += 1
        return self._payload[self._at - 1]

    def _length(self, major: int) -> int:
        """Of a text, an array or a map: major type 3, 4 or 5."""
        head = self._byte()
        if major <= head < major + 0x18:
            return head - major
        if head == major + 0x18:
            return self._byte()
        raise _NoShape

    def _label(self) -> int | str:
        label: int | str | None = _LABELS.get(self._payload[self._at])
        if label is not None:
            self._at += 1
            return label
        for text in (_SEQUENCE, _BOOT):
            if self._payload.startswith(text, self._at):
                self._at += len(text)
                return text[1:].decode()
        raise _NoShape

    def _text(self) -> slice:
        size = self._length(0x60)
        self._at += size
        return slice(self._at - size, self._at)

    def _text_at(self, wanted: bytes) -> int:
        found = self._text()
        if self._payload[found] != wanted:
            raise _NoShape
        return int(found.start)

    def _hole(self, letter: str, meaning: str) -> int:
        """A hole from here on; the number's index."""
        size = struct.calcsize(f">{letter}")
        self._holes.append(_Hole(self._at, size, letter, meaning))
        self._at += size
        self._count += 1
        return self._count - 1

    def _float(self) -> int:
        if self._byte() != 0xFB:
            raise _NoShape
        return self._hole("d", "float")

    def _value(self, is_boolean: bool) -> tuple[int, str]:
        head = self._byte()
        if is_boolean:
            self._at -= 1
            return self._hole("B", "boolean"), "boolean"
        for letters, meaning in (
            (_FLOATS, "float"), (_UNSIGNED, "unsigned"), (_NEGATIVE, "negative"),
        ):  # fmt: skip
            if head in letters:
                return self._hole(letters[head], meaning), meaning
        self._at -= 1
        return self._hole("B", "small"), "small"

    def _skip_integer(self) -> None:
        """A pack number: only that it is one matters, and how long it is."""
        head = self._byte()
        if head < 0x18:
            # The number itself: its lower bits may be any as long as it stays one (below 24).
            self._nibbles.append((self._at - 1, 0xF0 if head < 0x10 else 0xF8))
            return
        letter = _UNSIGNED.get(head)
        if letter is None:
            raise _NoShape
        size = struct.calcsize(f">{letter}")
        self._holes.append(_Hole(self._at, size, "", ""))
        self._at += size
