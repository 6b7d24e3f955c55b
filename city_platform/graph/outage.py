"""How long the graph has been away, when to look again, and when somebody should be told. Pure."""

from __future__ import annotations

from typing import Final

# A restart of the database takes seconds: the first tries find it again as soon as it is there, and
# the later ones ask nothing of a machine that has other troubles.
RETRY_S_MIN, RETRY_S_MAX = 0.2, 30.0
# After so long it is no restart, and again after so long each: somebody has to look at it.
NOTICE_AFTER_S: Final = 60.0
NOTICE_EACH_S: Final = 600.0


def retry_s(failures: int, chance: float) -> float:
    """The pause after so many failures in a row (1 or more), `chance` being from [0, 1).

    It doubles up to `RETRY_S_MAX`. Chance takes up to half of it: installations that share a
    database do not come back to it together, and none comes back at once.
    """
    longest = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(failures - 1, 60))
    return longest * (1.0 - chance / 2)


class Outage:
    """From the first failure to the next success. Times are monotonic nanoseconds."""

    def __init__(self) -> None:
        self.failures = 0
        self._began_ns = 0
        self._notice_ns = 0

    def failed(self, now_ns: int) -> None:
        """It failed once more."""
        if not self.failures:
            self._began_ns = now_ns
            self._notice_ns = now_ns + int(NOTICE_AFTER_S * 1e9)
        self.failures += 1

    def ended(self) -> None:
        """It is there."""
        self.failures = 0

    def lasts_s(self, now_ns: int) -> float:
        """For how long it has been away; 0 while it is there."""
        return (now_ns - self._began_ns) / 1e9 if self.failures else 0.0

    def is_notice_due(self, now_ns: int) -> bool:
        """Whether somebody must be told that it is away for long; asked once for each time."""
        if not self.failures or now_ns < self._notice_ns:
            return False
        self._notice_ns = now_ns + int(NOTICE_EACH_S * 1e9)
        return True
