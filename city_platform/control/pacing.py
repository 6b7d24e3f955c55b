"""How many devices of a group command have their turn now. Without I/O; times are nanoseconds."""

from __future__ import annotations

from typing import Final

_NS: Final = 1_000_000_000
# The least time between two turns of one group: at 1,000 a second twenty go together.
STEP_NS: Final = 20_000_000


class Pace:
    """Turns at a rate. What was not taken while nothing could go is not made up for."""

    def __init__(self, rate_per_s: float, now_ns: int) -> None:
        self._each_ns = _NS / rate_per_s
        self._next_ns = float(now_ns)

    def due(self, now_ns: int) -> int:
        """How many may go now."""
        # At most one step's worth and one: a pause must not end in a burst.
        earliest = now_ns - STEP_NS
        self._next_ns = max(self._next_ns, earliest)
        return max(0, int((now_ns - self._next_ns) // self._each_ns) + 1)

    def take(self, count: int) -> None:
        """So many went."""
        self._next_ns += count * self._each_ns

    def next_ns(self, now_ns: int) -> int:
        """When the next may go, at the earliest a step from now."""
        return max(int(self._next_ns), now_ns + STEP_NS)
