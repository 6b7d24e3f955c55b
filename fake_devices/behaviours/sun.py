"""Where the sun stands and how much light it sends, for any place and time."""

from __future__ import annotations

from bisect import bisect_right
from math import asin, atan2, cos, degrees, log10, radians, sin

# 2000-01-01 12:00 UTC, from which the almanac's formulas count days.
_J2000_UNIX_S = 946_728_000.0

# Illuminance of a clear sky on level ground, log10 of lux by solar elevation in degrees: full
# night, the ends of astronomical, nautical and civil twilight, sunrise, then the day.
_CLEAR_SKY = (
    (-18.0, log10(0.001)),
    (-12.0, log10(0.01)),
    (-6.0, log10(3.4)),
    (-0.8, log10(400.0)),
    (5.0, log10(4_500.0)),
    (10.0, log10(10_500.0)),
    (20.0, log10(28_000.0)),
    (40.0, log10(67_000.0)),
    (60.0, log10(98_000.0)),
    (90.0, log10(120_000.0)),
)
_ELEVATIONS = tuple(elevation for elevation, _ in _CLEAR_SKY)


def solar_elevation_deg(latitude: float, longitude: float, t_s: float) -> float:
    """Degrees of the sun's centre above the horizon, without refraction; good to 0.05 degrees.

    The low-precision solar coordinates of the Astronomical Almanac (1950 to 2050).
    """
    days = (t_s - _J2000_UNIX_S) / 86_400.0
    anomaly = radians(357.529 + 0.98560028 * days)
    mean_longitude = 280.459 + 0.98564736 * days
    ecliptic = radians(mean_longitude + 1.915 * sin(anomaly) + 0.020 * sin(2.0 * anomaly))
    obliquity = radians(23.439 - 0.00000036 * days)
    right_ascension = atan2(cos(obliquity) * sin(ecliptic), cos(ecliptic))
    declination = asin(sin(obliquity) * sin(ecliptic))
    sidereal_deg = 280.46061837 + 360.98564736629 * days
    hour_angle = radians((sidereal_deg + longitude) % 360.0) - right_ascension
    north = radians(latitude)
    return degrees(
        asin(sin(north) * sin(declination) + cos(north) * cos(declination) * cos(hour_angle))
    )


def clear_sky_illuminance_lx(elevation_deg: float) -> float:
    """Lux on level ground under a clear sky; grows with the sun's elevation."""
    position = bisect_right(_ELEVATIONS, elevation_deg)
    if position == 0:
        return float(10.0 ** _CLEAR_SKY[0][1])
    if position == len(_CLEAR_SKY):
        return float(10.0 ** _CLEAR_SKY[-1][1])
    (low, dim), (high, bright) = _CLEAR_SKY[position - 1], _CLEAR_SKY[position]
    return float(10.0 ** (dim + (bright - dim) * (elevation_deg - low) / (high - low)))


def daylight_lx(elevation_deg: float, cloud_cover: float) -> float:
    """Lux on level ground under clouds that cover 0 to 1 of the sky (Kasten and Czeplak)."""
    return clear_sky_illuminance_lx(elevation_deg) * (1.0 - 0.75 * float(cloud_cover**3.4))
