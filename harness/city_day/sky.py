"""How light it is above the city, and when a photocell sees it: the sun and clouds of the devices.

Only twilight has to be searched: by day and by night no cloud takes a photocell across its
thresholds. Which hours those are is found once for all places near each other.
"""

from __future__ import annotations

from math import floor
from typing import NamedTuple

from fake_devices.behaviours.sun import (
    clear_sky_illuminance_lx,
    daylight_lx,
    solar_elevation_deg,
)
from fake_devices.behaviours.weather import cloud_cover

# Thresholds that photocells have: they age and get dirty, so each says night at its own level, and
# day at twice that.
ON_LX_MIN, ON_LX_MAX = 14.0, 28.0
OFF_TO_ON_RATIO = 2.0
# What passes through a closed cover of clouds (Kasten and Czeplak, as in `daylight_lx`).
_OVERCAST_RATIO = 0.25
_STEP_S = 120.0
_PRECISION_S = 0.5
# Twilight is looked for once for a tile of this size, in which the sun differs by less than that.
_TILE_DEG = 0.1
_CELL_S = 300.0


class Photocell(NamedTuple):
    """Where it is, and below and above which daylight it says night and day."""

    latitude: float
    longitude: float
    on_lx: float
    off_lx: float


class Sky:
    """The sky from `from_s` to `until_s`; `weather` is the key that the city's devices share."""

    def __init__(self, weather: int, from_s: float, until_s: float) -> None:
        self._weather = weather
        self._from_s = from_s
        self._until_s = until_s
        self._covers: dict[float, float] = {}
        self._twilights: dict[tuple[int, int], list[tuple[float, float]]] = {}

    def daylight_lx(self, latitude: float, longitude: float, t_s: float) -> float:
        """Lux at a place."""
        return daylight_lx(solar_elevation_deg(latitude, longitude, t_s), self.cloud_cover(t_s))

    def cloud_cover(self, t_s: float) -> float:
        """Covered part of the sky."""
        cover = self._covers.get(t_s)
        if cover is None:
            cover = self._covers[t_s] = cloud_cover(self._weather, t_s)
        return cover

    def says_night(self, cell: Photocell, t_s: float) -> bool:
        """What a photocell says that has just been switched on."""
        return self.daylight_lx(cell.latitude, cell.longitude, t_s) < cell.on_lx

    def next_change_s(self, cell: Photocell, t_s: float, *, is_night: bool) -> float | None:
        """When a photocell that says night or day at `t_s` says the other next; None: never."""
        for begins_s, ends_s in self._twilights_at(cell):
            if ends_s <= t_s:
                continue
            found_s = self._change_within(cell, max(t_s, begins_s), ends_s, is_night)
            if found_s is not None:
                return found_s
        return None

    def _change_within(
        self, cell: Photocell, from_s: float, until_s: float, is_night: bool
    ) -> float | None:
        if from_s > self._from_s and self._has_changed(cell, from_s, is_night):
            return from_s
        # Steps lie on one grid for all photocells, so that the clouds are asked for once.
        step = floor(from_s / _STEP_S) + 1
        before_s = from_s
        while before_s < until_s:
            at_s = step * _STEP_S
            if self._has_changed(cell, at_s, is_night):
                return self._between(cell, before_s, at_s, is_night)
            before_s, step = at_s, step + 1
        return None

    def _between(self, cell: Photocell, before_s: float, after_s: float, is_night: bool) -> float:
        """The change between two moments, by halving."""
        while after_s - before_s > _PRECISION_S:
            middle_s = (before_s + after_s) / 2.0
            lux = daylight_lx(
                solar_elevation_deg(cell.latitude, cell.longitude, middle_s),
                cloud_cover(self._weather, middle_s),
            )
            if lux > cell.off_lx if is_night else lux < cell.on_lx:
                after_s = middle_s
            else:
                before_s = middle_s
        return after_s

    def _has_changed(self, cell: Photocell, t_s: float, is_night: bool) -> bool:
        lux = self.daylight_lx(cell.latitude, cell.longitude, t_s)
        return lux > cell.off_lx if is_night else lux < cell.on_lx

    def _twilights_at(self, cell: Photocell) -> list[tuple[float, float]]:
        tile = (floor(cell.latitude / _TILE_DEG), floor(cell.longitude / _TILE_DEG))
        found = self._twilights.get(tile)
        if found is None:
            found = self._twilights[tile] = self._find_twilights(*tile)
        return found

    def _find_twilights(self, tile_north: int, tile_east: int) -> list[tuple[float, float]]:
        """When daylight may lie between the thresholds anywhere in a tile, from and until."""
        latitude, longitude = (tile_north + 0.5) * _TILE_DEG, (tile_east + 0.5) * _TILE_DEG
        found: list[tuple[float, float]] = []
        for cell in range(floor(self._from_s / _CELL_S) - 1, floor(self._until_s / _CELL_S) + 2):
            elevation = solar_elevation_deg(latitude, longitude, cell * _CELL_S)
            darkest = _OVERCAST_RATIO * clear_sky_illuminance_lx(elevation - _TILE_DEG)
            brightest = clear_sky_illuminance_lx(elevation + _TILE_DEG)
            if darkest <= OFF_TO_ON_RATIO * ON_LX_MAX and brightest >= ON_LX_MIN:
                # The neighbours' half cells belong to it: the sun moves on between two looks.
                begins_s, ends_s = (cell - 1) * _CELL_S, (cell + 1) * _CELL_S
                if found and found[-1][1] >= begins_s:
                    found[-1] = (found[-1][0], ends_s)
                else:
                    found.append((begins_s, ends_s))
        return found
