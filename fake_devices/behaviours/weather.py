"""The weather that a whole district shares: clouds, haze and air temperature."""

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, radians

from fake_devices.behaviours.noise import shared_key, shared_smooth
from fake_devices.behaviours.rhythm import local_hour

_CLOUDS, _HAZE, _FRONTS = 1, 2, 3
_YEAR_S = 365.2425 * 86_400.0
# The coldest time of the northern year, about 20 January.
_COLDEST_S = 19.5 * 86_400.0


# A device asks more than once about the same moment.
@lru_cache(4)
def cloud_cover(city: int, t_s: float) -> float:
    """Covered share of the sky, 0 to 1. `city` is the key that the district shares."""
    key = shared_key(city, _CLOUDS)
    weather = (
        0.5 + 0.45 * shared_smooth(key, t_s, 7 * 3600.0) + 0.25 * shared_smooth(key, -t_s, 1500.0)
    )
    return min(1.0, max(0.0, weather))


def haze(city: int, t_s: float) -> float:
    """How much dust hangs over the district, 0 to 1; changes over days."""
    return 0.5 + 0.5 * shared_smooth(shared_key(city, _HAZE), t_s, 40 * 3600.0)


def air_temperature_cel(city: int, latitude: float, longitude: float, t_s: float) -> float:
    """Air temperature: latitude, season, hour (warmest at 15:00) and passing fronts."""
    mean = 27.0 - 25.0 * (1.0 - cos(radians(latitude))) * 1.6
    season = -cos(2.0 * pi * (t_s - _COLDEST_S) / _YEAR_S) * latitude * 0.19
    daily = 4.5 * cos(2.0 * pi * (local_hour(longitude, t_s) - 15.0) / 24.0)
    front = 3.0 * shared_smooth(shared_key(city, _FRONTS), t_s, 60 * 3600.0)
    return mean + season + daily * (1.0 - 0.5 * cloud_cover(city, t_s)) + front
