"""Things that happen now and then, with a daily rhythm: a car parks, a tap runs, a bag is thrown.

Time is cut into slots; a hash of the slot's number says whether something happens in it, when and
how much. What happens in a slot ends within it, so any moment is found without its past.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import floor
from typing import NamedTuple

from fake_devices.behaviours.noise import uniform
from fake_devices.behaviours.rhythm import Profile, at_hour, local_hour


class Pattern(NamedTuple):
    """How often and how long: `likelihood` per slot by hour, lengths in seconds.

    `gap_s` is kept free at the beginning of each slot; `longest_s + gap_s` must fit into a slot.
    """

    slot_s: float
    gap_s: float
    shortest_s: float
    longest_s: float
    likelihood: Profile


class Occasion(NamedTuple):
    """Something that lasted from `begins_s` to `ends_s`; `size` is 0 to 1, to be scaled."""

    begins_s: float
    ends_s: float
    size: float


def in_slot(key: int, pattern: Pattern, longitude: float, slot: int) -> Occasion | None:
    """What happens in slot number `slot`, None when nothing does."""
    opens_s = slot * pattern.slot_s
    likelihood = at_hour(pattern.likelihood, local_hour(longitude, opens_s))
    if uniform(key, 4 * slot) >= likelihood:
        return None
    share = uniform(key, 4 * slot + 1)
    lasts_s = pattern.shortest_s + (pattern.longest_s - pattern.shortest_s) * share
    slack_s = pattern.slot_s - pattern.gap_s - lasts_s
    begins_s = opens_s + pattern.gap_s + slack_s * uniform(key, 4 * slot + 2)
    return Occasion(begins_s, begins_s + lasts_s, uniform(key, 4 * slot + 3))


def at_time(key: int, pattern: Pattern, longitude: float, t_s: float) -> Occasion | None:
    """What goes on at `t_s`, None when nothing does."""
    found = in_slot(key, pattern, longitude, floor(t_s / pattern.slot_s))
    return found if found is not None and found.begins_s <= t_s < found.ends_s else None


def overlapping(
    key: int, pattern: Pattern, longitude: float, from_s: float, until_s: float
) -> Iterator[Occasion]:
    """What goes on at any time of `from_s` to `until_s`, in order."""
    for slot in range(floor(from_s / pattern.slot_s), floor(until_s / pattern.slot_s) + 1):
        found = in_slot(key, pattern, longitude, slot)
        if found is not None and found.begins_s < until_s and found.ends_s > from_s:
            yield found
