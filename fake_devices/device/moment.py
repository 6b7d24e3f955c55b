"""A point in time as a device sees it; handed in, never asked for."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """The same instant on both clocks: monotonic nanoseconds, and Unix time in microseconds."""

    at_ns: int
    unix_us: int

    @property
    def now(self) -> float:
        """Monotonic seconds, the scale of every timer."""
        return self.at_ns / 1e9
