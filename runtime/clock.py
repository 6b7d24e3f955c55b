"""The clock that is handed to every component, and the live one."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where all stamps come from; virtual in the lab."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds, one clock for all processes of a run; for latencies."""

    def wall_us(self) -> int:
        """Unix time in microseconds; for stamps that leave the run."""


class SystemClock:
    """CLOCK_MONOTONIC and the machine's wall clock."""

    def now_ns(self) -> int:
        """See `Clock`."""
        return time.monotonic_ns()

    def wall_us(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1000
