"""Finds, beside a graph in memory, the few devices that a search has to ask the graph for.

Devices stand in blocks in the order of their endpoint names, a thousand or fewer in each; in a
block each has a place in no order. A block keeps for every plane (`signatures`) the places of the
devices in it, as the bits of one number: the conditions of a question are a few dozen ANDs a block,
a page begins at the block of its cursor, and ends where it is full.

It holds no more than it needs to be fast: what it says is candidates, never too few.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from city_platform.graph.devices import fold, searched_texts
from city_platform.graph.queries import Circle, GraphQuery, a_little_wider, distance_m
from city_platform.graph.signatures import PLANES, Marker, Signature, signature
from city_platform.stores.device_directory import Box
from contracts.api import FoundDevice

BLOCK_DEVICES: Final = 1_024
# A block clears what is gone when that is an eighth of it; before, it is split.
_WORTH_A_PASS: Final = 8


class SearchIndex:
    """The devices of one graph. Not for several threads at once."""

    def __init__(self, block_devices: int = BLOCK_DEVICES) -> None:
        if not 2 <= block_devices <= BLOCK_DEVICES:
            raise ValueError(f"a block holds 2 to {BLOCK_DEVICES} devices, not {block_devices}")
        self._block_devices = block_devices
        self._marker = Marker()
        self._blocks: list[_Block] = []
        # Where the names of each block begin; those of the first one with nothing.
        self._begins: list[str] = []

    def __len__(self) -> int:
        return sum(len(block.places) for block in self._blocks)

    def clear(self) -> None:
        """Forget all devices."""
        self._blocks.clear()
        self._begins.clear()

    def change(self, put: Iterable[FoundDevice], gone: Iterable[str]) -> None:
        """Forget the devices of `gone`, then put or replace others."""
        news = {device.endpoint: device for device in put}
        for endpoint in (*gone, *news):
            self._remove(endpoint)
        for endpoint in sorted(news):
            self._block_for(endpoint).add(news[endpoint], self._marker)
        self._drop_empty()

    def candidates(self, query: GraphQuery) -> Iterator[list[str]]:
        """Lists of endpoint names behind `query.after`, in order within and between the lists, that
        hold every device that fits. Do not change the index before the last was taken."""
        wanted = signature(query)
        needle = None if query.text is None else fold(query.text)
        for block in self._blocks[self._place_of_block(query.after) :]:
            mask = block.mask(wanted)
            if not mask:
                continue
            places: Iterable[int] = _places(mask)
            if needle is not None:
                places = [place for place in places if needle in block.texts[place]]
            if query.box is not None:
                places = block.inside(places, query.box)
            if query.circle is not None:
                places = block.within(places, query.circle)
            names = [block.names[place] for place in places]
            found = sorted(name for name in names if name > query.after)
            if found:
                yield found

    def _remove(self, endpoint: str) -> None:
        if self._blocks:
            self._blocks[self._place_of_block(endpoint)].remove(endpoint)

    def _place_of_block(self, endpoint: str) -> int:
        return max(0, bisect.bisect_right(self._begins, endpoint) - 1)

    def _block_for(self, endpoint: str) -> _Block:
        """The block that is to have this device; it has room."""
        if not self._blocks:
            return self._insert(0, "", _Block(self._block_devices))
        at = self._place_of_block(endpoint)
        block = self._blocks[at]
        if block.has_room():
            return block
        if at == len(self._blocks) - 1 and endpoint > max(block.places):
            # Filled in order, blocks are full and not halves.
            return self._insert(at + 1, endpoint, _Block(self._block_devices))
        middle, upper = block.split()
        self._insert(at + 1, middle, upper)
        return upper if endpoint >= middle else block

    def _insert(self, at: int, begins: str, block: _Block) -> _Block:
        self._blocks.insert(at, block)
        self._begins.insert(at, begins)
        return block

    def _drop_empty(self) -> None:
        if all(block.places for block in self._blocks):
            return
        kept = [
            (begins, block)
            for begins, block in zip(self._begins, self._blocks, strict=True)
            if block.places
        ]
        self._begins = ["", *(begins for begins, _ in kept[1:])][: len(kept)]
        self._blocks = [block for _, block in kept]


class _Block:
    """Some devices whose names follow each other."""

    def __init__(self, devices_max: int) -> None:
        self.planes = [0] * PLANES
        self.places: dict[str, int] = {}
        self.names = [""] * devices_max
        self.texts = [""] * devices_max
        self.latitudes = array("d", bytes(8 * devices_max))
        self.longitudes = array("d", bytes(8 * devices_max))
        self._free = list(range(devices_max - 1, -1, -1))
        self._alive = 0
        # Places whose devices are gone, and whose bits are still in the planes.
        self._stale: list[int] = []

    def has_room(self) -> bool:
        """Whether a device can be added. Clears what removed devices left, all at once, when there
        is no other room and it is worth a pass over the planes."""
        if not self._free and len(self._stale) * _WORTH_A_PASS >= len(self.names):
            alive = self._alive
            self.planes = [plane & alive for plane in self.planes]
            self._free, self._stale = self._stale, []
        return bool(self._free)

    def add(self, device: FoundDevice, marker: Marker) -> None:
        """Take in a device that is not there; there is room."""
        place = self._free.pop()
        bit = 1 << place
        self._alive |= bit
        planes = self.planes
        for plane in marker.planes(device):
            planes[plane] |= bit
        self.places[device.endpoint] = place
        self.names[place] = device.endpoint
        self.texts[place] = fold("\n".join(searched_texts(device)))
        self.latitudes[place] = device.latitude
        self.longitudes[place] = device.longitude

    def remove(self, endpoint: str) -> None:
        """Forget a device, if it is there."""
        place = self.places.pop(endpoint, None)
        if place is not None:
            self._alive ^= 1 << place
            self._stale.append(place)

    def split(self) -> tuple[str, _Block]:
        """Give the upper half to a new block, whose least name comes along. Each device keeps its
        place: the planes of either are those of both, masked."""
        names = sorted(self.places)
        upper = _Block(len(self.names))
        moved = names[len(names) // 2 :]
        upper.places = {name: self.places.pop(name) for name in moved}
        upper._alive = sum(1 << place for place in upper.places.values())
        self._alive ^= upper._alive
        upper.planes = [plane & upper._alive for plane in self.planes]
        self.planes = [plane & self._alive for plane in self.planes]
        upper.names[:], upper.texts[:] = self.names, self.texts
        upper.latitudes[:], upper.longitudes[:] = self.latitudes, self.longitudes
        for block in (self, upper):
            there = set(block.places.values())
            block._stale = []
            block._free = [place for place in range(len(self.names)) if place not in there]
            for place in block._free:
                block.names[place] = block.texts[place] = ""
        return moved[0], upper

    def mask(self, wanted: Signature) -> int:
        """The places of those that have what a signature wants."""
        mask, planes = self._alive, self.planes
        for plane in wanted.planes:
            mask &= planes[plane]
            if not mask:
                return 0
        for choice in wanted.choices:
            either = 0
            for member in choice:
                one = mask
                for plane in member:
                    one &= planes[plane]
                either |= one
            mask = either
        return mask

    def inside(self, places: Iterable[int], box: Box) -> list[int]:
        """Those of `places` in the box."""
        south, north, west, east = box.south, box.north, box.west, box.east
        latitudes, longitudes, wraps = self.latitudes, self.longitudes, west > east
        return [
            place
            for place in places
            if south <= latitudes[place] <= north
            and (
                (longitudes[place] >= west or longitudes[place] <= east)
                if wraps
                else west <= longitudes[place] <= east
            )
        ]

    def within(self, places: Iterable[int], circle: Circle) -> list[int]:
        """Those of `places` in the circle, and on its edge."""
        reach_m = a_little_wider(circle).within_m
        return [
            place
            for place in places
            if distance_m(circle, self.latitudes[place], self.longitudes[place]) <= reach_m
        ]


def _places(mask: int) -> Iterator[int]:
    """The places of a number's ones, the lowest first."""
    digits = bin(mask)[:1:-1]
    place = digits.find("1")
    while place >= 0:
        yield place
        place = digits.find("1", place + 1)
