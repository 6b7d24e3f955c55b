"""What master and workers of a load say to each other on Locust's wire, beside shares."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from harness.load.config import Figures
from harness.load.shares import IllegalMessage

READY: Final = "lamplighter_ready"
"""Worker to master: its devices are built."""
SETTLE: Final = "lamplighter_settle"
"""Master to all workers: come to rest, count everything, and say `SETTLED`."""
SETTLED: Final = "lamplighter_settled"
FAILED: Final = "lamplighter_failed"
"""Worker to master: its fleet cannot go on."""
FIGURES: Final = "lamplighter"
"""The field of Locust's own report of a worker that holds its `Figures`."""

_M = TypeVar("_M")


class Ready(msgspec.Struct, frozen=True):
    """So many devices of these models can be switched on."""

    devices: int
    models: list[str] = []


class Settle(msgspec.Struct, frozen=True):
    """`again`: another test may follow, so that a fresh fleet is wanted afterwards."""

    again: bool


class Settled(msgspec.Struct, frozen=True):
    """Everything is counted; these are the final figures of the worker's fleet."""

    figures: Figures


class Failed(msgspec.Struct, frozen=True):
    """Why, for people."""

    reason: str


def parse_message(data: object, kind: type[_M]) -> _M:
    """What another node sent, as Locust hands it over. Raises `IllegalMessage`."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise IllegalMessage(f"not a {kind.__name__}: {error}") from None
