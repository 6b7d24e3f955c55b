"""Which bit planes a device marks, and which a question reads: pure, and the same at every start.

A plane is a set of devices: those that marked it. Each value of a field, and each letter of a
text, two and three in a row, mark planes picked by a hash, so that the number of planes is fixed
whatever the devices' attributes hold; a position marks the strips of latitude and of longitude that
it lies in, of each width. What a question needs is in all planes that it reads; what is in all of
them may still not be what it needs. So the planes find candidates, and the graph decides.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from math import floor
from typing import Final, NamedTuple

from city_platform.graph.devices import fold, mark
from city_platform.graph.queries import EQUAL_FIELDS, GraphQuery, a_little_wider, box_around
from city_platform.stores.device_directory import Box
from contracts.api import FoundDevice

# Primes, so that the hashes below spread. Three planes a value: a rare value whose planes are those
# of frequent ones would have most devices as candidates; that all three are is one in 500.
VALUE_PLANES: Final = 509
PLANES_OF_A_VALUE: Final = 3
TEXT_PLANES: Final = 1_021
# For texts of one or two letters, which would else be looked for in every device.
PAIR_PLANES: Final = 1_021
# Strips of a degree, a tenth, … of either coordinate: a box reads the narrowest of which it needs
# few. There are as many planes of each width, so that strips far from each other share one.
STRIPS_A_DEGREE: Final = (1_000, 100, 10, 1)
STRIP_PLANES: Final = 127
STRIPS_READ_MAX: Final = 16

TEXT_BEGINS: Final = VALUE_PLANES
PAIRS_BEGIN: Final = TEXT_BEGINS + TEXT_PLANES
LATITUDE_BEGINS: Final = PAIRS_BEGIN + PAIR_PLANES
LONGITUDE_BEGINS: Final = LATITUDE_BEGINS + STRIP_PLANES * len(STRIPS_A_DEGREE)
PLANES: Final = LONGITUDE_BEGINS + STRIP_PLANES * len(STRIPS_A_DEGREE)

# How many values' planes are remembered: streets, sites and groups come again and again.
_REMEMBERED_MAX: Final = 20_000
# The fields that many devices share, and those of them that a text is looked for in.
_SHARED: Final = ("tenant", "site", "group", "model", "firmware", "feeder", "street")
_READ: Final = ("site", "group", "street")


class Signature(NamedTuple):
    """What a candidate must have: be in all of `planes`; and, for each set of `choices`, in all
    planes of one of its members."""

    planes: tuple[int, ...]
    choices: tuple[tuple[tuple[int, ...], ...], ...]


class Marker:
    """Computes the planes of devices; remembers those of values that many devices share."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[int, ...]] = {}

    def planes(self, device: FoundDevice) -> list[int]:
        """The planes that a device marks, some of them more than once."""
        marked = [
            *planes_of_value("serial", device.serial),
            *planes_of_text(fold(device.endpoint)),
            *planes_of_text(fold(device.serial)),
        ]
        for field in _SHARED:
            marked += self._remembered(field, getattr(device, field), _of_field)
        for name, value in device.attributes.items():
            marked += self._remembered("\n" + name, value, _of_attribute)
        marked += _strips(device.latitude, LATITUDE_BEGINS)
        marked += _strips(device.longitude, LONGITUDE_BEGINS)
        return marked

    def _remembered(
        self, name: str, value: str, compute: Callable[[str, str], tuple[int, ...]]
    ) -> tuple[int, ...]:
        found = self._known.get((name, value))
        if found is None:
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            found = self._known[name, value] = compute(name, value)
        return found


def signature(query: GraphQuery) -> Signature:
    """What the candidates of a question must have."""
    planes: set[int] = set()
    for field in EQUAL_FIELDS:
        wanted = getattr(query, field)
        if wanted is not None:
            planes.update(planes_of_value(field, wanted))
    for attribute in query.attributes.items():
        planes.update(planes_of_value("", mark(attribute)))
    if query.text is not None:
        planes.update(planes_of_text(fold(query.text)))
    choices = []
    if query.tenants is not None:
        choices.append(tuple(planes_of_value("tenant", tenant) for tenant in query.tenants))
    if query.box is not None:
        choices += _in_box(query.box)
    if query.circle is not None:
        choices += _in_box(box_around(a_little_wider(query.circle)))
    return Signature(tuple(sorted(planes)), tuple(choices))


def planes_of_value(field: str, value: str) -> tuple[int, ...]:
    """The planes of a field's value; attributes have no field."""
    # A checksum and not `hash`: that of a text differs from start to start.
    found = zlib.crc32(f"{field}\n{value}".encode("utf-8", "surrogatepass"))
    again = zlib.crc32(b"again", found)
    return (
        found % VALUE_PLANES,
        found // VALUE_PLANES % VALUE_PLANES,
        again % VALUE_PLANES,
    )


def planes_of_text(folded: str) -> frozenset[int]:
    """The planes of a text's letters, and of every two and three of them in a row."""
    letters = [ord(letter) for letter in folded]
    nexts = letters[1:]
    singles = {PAIRS_BEGIN + letter * 7_919 % PAIR_PLANES for letter in letters}
    pairs = {
        PAIRS_BEGIN + (first * 7_919 + second * 104_729) % PAIR_PLANES
        for first, second in zip(letters, nexts, strict=False)
    }
    threes = {
        TEXT_BEGINS + (first * 7_919 + second * 104_729 + third * 1_299_709) % TEXT_PLANES
        for first, second, third in zip(letters, nexts, nexts[1:], strict=False)
    }
    return frozenset(singles | pairs | threes)


def _of_field(field: str, value: str) -> tuple[int, ...]:
    values = planes_of_value(field, value) if field in EQUAL_FIELDS else ()
    texts = planes_of_text(fold(value)) if field in _READ else ()
    return *values, *texts


def _of_attribute(name: str, value: str) -> tuple[int, ...]:
    attribute = name.removeprefix("\n"), value
    return *planes_of_value("", mark(attribute)), *planes_of_text(fold(value))


def _strips(degrees: float, begins: int) -> list[int]:
    return [
        begins + level * STRIP_PLANES + floor(degrees * strips) % STRIP_PLANES
        for level, strips in enumerate(STRIPS_A_DEGREE)
    ]


def _in_box(box: Box) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The choices of strips that a box lies in; none for a side that is wider than helps."""
    columns = [(box.west, box.east)]
    if box.west > box.east:  # it crosses the 180th meridian
        columns = [(box.west, 180.0), (-180.0, box.east)]
    for spans, begins in (([(box.south, box.north)], LATITUDE_BEGINS), (columns, LONGITUDE_BEGINS)):
        for level, strips in enumerate(STRIPS_A_DEGREE):
            ranges = [range(floor(low * strips), floor(high * strips) + 1) for low, high in spans]
            if sum(map(len, ranges)) <= STRIPS_READ_MAX:
                base = begins + level * STRIP_PLANES
                numbers = {strip % STRIP_PLANES for strips_of in ranges for strip in strips_of}
                yield tuple((base + number,) for number in sorted(numbers))
                break
