"""The street plan: where streets of a district run, and what they are called.

The plan repeats a cell of two streets along the water and two lanes that climb from it, a little
crooked, four cells wide and as deep as needed. Metres are along the water and away from it.
"""

from __future__ import annotations

from math import cos, radians, sin
from typing import NamedTuple

from fake_devices.behaviours.noise import between, mix, stream_key

BLOCK_M = 330.0
BLOCKS_PER_CELL = 6
STREETS_PER_CELL = 4
_CELLS_WIDE = 4
_CELL_WIDTH_M, _CELL_DEPTH_M = 720.0, 400.0
# What a place name may begin and end with; made up, all of it.
_FIRST = (
    *("Lantern", "Ropewalk", "Herring", "Anchor", "Cooper", "Tar Barrel", "Pilot", "Customs"),
    *("Sailmaker", "Driftwood", "Capstan", "Gannet", "Old Mole", "Whaler", "Fogbell", "Saltpan"),
    *("Drydock", "Cormorant", "Signal", "Chandler", "Netmender", "Quarterdeck", "Eelpot", "Dory"),
)
_ALONG = ("Quay", "Street", "Esplanade", "Row")
_CLIMBING = ("Lane", "Steps", "Rise", "Passage")


class Street(NamedTuple):
    """One street: where it begins, where it leads (degrees, 0 along the water), its blocks."""

    number: int
    name: str
    begins_x_m: float
    begins_y_m: float
    bearing_deg: float


class Spot(NamedTuple):
    """A place in the plan, metres along the water and away from it."""

    x_m: float
    y_m: float


# Per block of a cell: the street of the cell it lies on, and which of that street's blocks it is.
_BLOCKS = ((0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0))
# Per street of a cell: where it begins and its bearing.
_CELL = ((25.0, 0.0, 0.0), (180.0, 22.0, 90.0), (25.0, 205.0, 0.0), (545.0, 22.0, 90.0))


def street_of_block(seed: int, block: int) -> tuple[Street, int]:
    """The street on which block number `block` lies, and which of the street's blocks it is."""
    cell, within = divmod(block, BLOCKS_PER_CELL)
    street, part = _BLOCKS[within]
    return street_number(seed, cell * STREETS_PER_CELL + street), part


def street_number(seed: int, number: int) -> Street:
    """Street number `number` of the plan."""
    cell, kind = divmod(number, STREETS_PER_CELL)
    row, column = divmod(cell, _CELLS_WIDE)
    x_m, y_m, bearing_deg = _CELL[kind]
    key = stream_key(seed, "street", str(number))
    return Street(
        number,
        _name(number, climbs=bearing_deg > 0.0),
        column * _CELL_WIDTH_M + x_m + between(key, 0, -6.0, 6.0),
        row * _CELL_DEPTH_M + y_m + between(key, 1, -4.0, 4.0),
        bearing_deg + between(key, 2, -1.5, 1.5),
    )


def _name(number: int, *, climbs: bool) -> str:
    """Every number has a name of its own: names that run out begin again with `New`."""
    kinds = _CLIMBING if climbs else _ALONG
    ordinal = (number // STREETS_PER_CELL) * 2 + (number % STREETS_PER_CELL >= 2)
    rounds, place = divmod(ordinal, len(_FIRST) * len(kinds))
    first = _FIRST[(place * 7 + place // len(_FIRST)) % len(_FIRST)]
    kind = kinds[(place + place // len(_FIRST)) % len(kinds)]
    return f"{'New ' * min(rounds, 1)}{first} {kind}{f' {rounds}' if rounds > 1 else ''}"


def along(street: Street, distance_m: float, aside_m: float) -> Spot:
    """The spot `distance_m` down the street and `aside_m` to the left of its middle."""
    turn = radians(street.bearing_deg)
    return Spot(
        street.begins_x_m + distance_m * cos(turn) - aside_m * sin(turn),
        street.begins_y_m + distance_m * sin(turn) + aside_m * cos(turn),
    )


def pick(key: int, counter: int, choices: tuple[str, ...]) -> str:
    """One of `choices`."""
    return choices[mix(key, counter) % len(choices)]
