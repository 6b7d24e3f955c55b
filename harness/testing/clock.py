"""A clock that moves only when a test says so."""

from __future__ import annotations

_NS_PER_S = 1_000_000_000
_US_PER_S = 1_000_000


class HandMovedClock:
    """A `runtime.clock.Clock` of virtual time; monotonic and wall-clock time move together.

    Starts at `now_s` (seconds, monotonic) and `wall_s` (Unix seconds).
    """

    def __init__(self, now_s: float = 1_000.0, wall_s: float = 1_767_225_600.0) -> None:
        self._now_ns = round(now_s * _NS_PER_S)
        self._wall_us = round(wall_s * _US_PER_S)

    @property
    def now_s(self) -> float:
        """Monotonic seconds, for what takes `now`."""
        return self._now_ns / _NS_PER_S

    def now_ns(self) -> int:
        """See `runtime.clock.Clock`."""
        return self._now_ns

    def wall_us(self) -> int:
        """See `runtime.clock.Clock`."""
        return self._wall_us

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises `ValueError` for a step back: monotonic time has none."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        self._now_ns += round(seconds * _NS_PER_S)
        self._wall_us += round(seconds * _US_PER_S)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does; monotonic time stays."""
        self._wall_us += round(seconds * _US_PER_S)
