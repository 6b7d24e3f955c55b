"""What repeats every day: the hour at a place, and profiles with one value per hour."""

from __future__ import annotations

from math import floor

Profile = tuple[float, ...]
"""24 values, for 00:00, 01:00 … 23:00 local solar time."""

DAY_S = 86_400.0


def local_time_s(longitude: float, t_s: float) -> float:
    """Seconds since 1970 in local mean solar time: 240 s per degree east of Greenwich."""
    return t_s + longitude * 240.0


def local_hour(longitude: float, t_s: float) -> float:
    """Hours since local midnight, 0 (included) to 24 (excluded)."""
    return (local_time_s(longitude, t_s) % DAY_S) / 3600.0


def local_day(longitude: float, t_s: float) -> int:
    """The number of the local day."""
    return floor(local_time_s(longitude, t_s) / DAY_S)


def at_hour(profile: Profile, hour: float) -> float:
    """The profile's value at `hour`, straight between its points, midnight joined to midnight."""
    before = int(hour)
    share = hour - before
    return profile[before % 24] * (1.0 - share) + profile[(before + 1) % 24] * share
