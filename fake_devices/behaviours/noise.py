"""Chance without state: every number is a hash of a key and a counter, so that order never matters.

A generator object per device would cost kilobytes and would make values depend on the order in
which devices were asked.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from math import floor

_MASK = (1 << 64) - 1
_2_TO_MINUS_53 = 2.0**-53
# Weather and mains: a few signals, each asked for the present and for a little while ago.
_STEPS_KEPT = 256
_KEYS_KEPT = 64


def stream_key(seed: int, *names: str) -> int:
    """A 64-bit key for one purpose, such as `stream_key(seed, endpoint, "traffic")`."""
    text = "\x1f".join((str(seed), *names))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def mix(key: int, counter: int) -> int:
    """64 well-mixed bits of (key, counter): the output function of splitmix64."""
    bits = (key + (counter + 1) * 0x9E3779B97F4A7C15) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
    return bits ^ (bits >> 31)


def uniform(key: int, counter: int) -> float:
    """A number from 0 (included) to 1 (excluded)."""
    return (mix(key, counter) >> 11) * _2_TO_MINUS_53


def between(key: int, counter: int, low: float, high: float) -> float:
    """A number from `low` to `high`."""
    return low + (high - low) * uniform(key, counter)


def smooth(key: int, t_s: float, period_s: float) -> float:
    """A continuous signal from -1 to 1 that changes its mind about every `period_s` seconds."""
    position = t_s / period_s
    step = floor(position)
    before, after = uniform(key, step), uniform(key, step + 1)
    return _between_steps(before, after, position - step)


def shared_smooth(key: int, t_s: float, period_s: float) -> float:
    """The same as `smooth`, for a key that many devices have in common."""
    position = t_s / period_s
    step = floor(position)
    before, after = _step_ends(key, step)
    return _between_steps(before, after, position - step)


def _between_steps(before: float, after: float, share: float) -> float:
    share *= share * (3.0 - 2.0 * share)
    return 2.0 * (before + (after - before) * share) - 1.0


@lru_cache(_STEPS_KEPT)
def _step_ends(key: int, step: int) -> tuple[float, float]:
    return uniform(key, step), uniform(key, step + 1)


@lru_cache(_KEYS_KEPT)
def shared_key(key: int, purpose: int) -> int:
    """The same as `mix`, for a key that many devices have in common."""
    return mix(key, purpose)
