"""Chance of one purpose in one place: the n-th draw depends on nothing but the key and n.

What happens at one spot therefore never changes what happens by chance at another, whatever the
order in which the model comes to them.
"""

from __future__ import annotations

from math import log

from fake_devices.behaviours.noise import stream_key, uniform


class Chance:
    """A stream of draws, such as `Chance(seed, endpoint, "bags")`."""

    __slots__ = ("_drawn", "_key")

    def __init__(self, seed: int, *names: str) -> None:
        self._key = stream_key(seed, "city day", *names)
        self._drawn = -1

    def share(self) -> float:
        """A number from 0 (included) to 1 (excluded)."""
        self._drawn += 1
        return uniform(self._key, self._drawn)

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.share()

    def happens(self, likelihood: float) -> bool:
        """True in this part of all cases."""
        return self.share() < likelihood

    def pause_s(self, mean_s: float) -> float:
        """The time to the next of events that know nothing of each other (exponential)."""
        return -mean_s * log(1.0 - self.share())
