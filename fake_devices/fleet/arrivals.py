"""When each device of a fleet is switched on, and where in the report interval it speaks.

Arrivals are open: the schedule does not wait for anybody, so a slow platform meets the same load.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

_D = TypeVar("_D")

# The golden ratio's fraction: any run of neighbours is spread evenly over the interval.
_GOLDEN = 0.6180339887498949


def arrival_order(devices: Sequence[_D], seed: int) -> list[_D]:
    """The devices in the order in which they are switched on."""
    order = list(devices)
    random.Random(f"arrivals/{seed}").shuffle(order)
    return order


def intended_at_ns(position: int, began_ns: int, rate_per_s: float) -> int:
    """When the device at `position` of the order is meant to start (monotonic nanoseconds)."""
    return began_ns + round(position / rate_per_s * 1e9)


def phase_of(position: int) -> float:
    """The part of the report interval, in [0, 1), after which the device at `position` reports."""
    return position * _GOLDEN % 1.0
