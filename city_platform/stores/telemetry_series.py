"""The series of the telemetry store in memory: their numbers, and how new their readings are."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from city_platform.stores.telemetry_records import PackLayout, UniformPack
from city_platform.stores.telemetry_schema import PLACES

# Devices that are kept in memory; more begin anew and read the tables.
_DEVICES_MAX: Final = 200_000
# A device that sends other readings in each pack is kept reading by reading.
PACK_SERIES_MAX: Final = 16
# How far beyond now readings count for what is new: what lies further ahead was stored for a clock
# that was wrong, and must not make all that comes later look late.
_AHEAD_US: Final = 86_400_000_000
# SQLite's smallest integer: no device time is so early.
BEFORE_ALL_US: Final = -(2**63)
_Description = tuple[str, str | None, str, str]


class Place(NamedTuple):
    """Where in a pack's row the readings of a path are, and of what kind."""

    column: str
    kind: str


class PathSeries:
    """A path of a device among the single readings: its number, a time that none is after."""

    __slots__ = ("newest_us", "number")

    def __init__(self, number: int, newest_us: int) -> None:
        self.number = number
        self.newest_us = newest_us


class PackSeries:
    """The packs of a device that have one layout and tenant."""

    __slots__ = ("newest_us", "number", "places", "tenant")

    def __init__(self, number: int, newest_us: int, places: dict[str, Place], tenant: str) -> None:
        self.number = number
        self.newest_us = newest_us
        self.places = places
        self.tenant = tenant


class DeviceSeries:
    """A device: none of its readings up to `horizon_us` is after `newest_us`; the same holds of
    its series. `of_number` has its series of packs by the layout's number."""

    __slots__ = ("endpoint", "horizon_us", "newest_us", "of_layout", "of_number", "of_path")

    def __init__(self, endpoint: str, horizon_us: int) -> None:
        self.endpoint = endpoint
        self.horizon_us = horizon_us
        self.newest_us = BEFORE_ALL_US
        self.of_path: dict[str, PathSeries] = {}
        self.of_number: dict[int, PackSeries] = {}
        self.of_layout: dict[PackLayout, PackSeries] = {}

    def newest_of(self, path: str) -> int:
        """A time that no reading of the path up to the horizon is after."""
        alone = self.of_path.get(path)
        newest_us = BEFORE_ALL_US if alone is None else alone.newest_us
        for series in self.of_number.values():
            if series.newest_us > newest_us and path in series.places:
                newest_us = series.newest_us
        return newest_us

    def saw(self, path: str, time_us: int) -> None:
        """A single reading is stored; its path's number is known."""
        series = self.of_path[path]
        series.newest_us = max(series.newest_us, time_us)
        self.newest_us = max(self.newest_us, time_us)


class SeriesTable:
    """Names to numbers, in the transaction at hand."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.devices: dict[str, DeviceSeries] = {}
        self._descriptions: dict[_Description, int] = {}
        self._layouts: dict[tuple[PackLayout, str], int] = {}
        self._places: dict[int, tuple[dict[str, Place], str]] = {}

    def forget(self) -> None:
        """Read the tables again."""
        self.devices.clear()
        self._descriptions.clear()
        self._layouts.clear()
        self._places.clear()

    def make_room(self) -> None:
        """Keep memory in its bounds; call it between batches."""
        if max(len(self.devices), len(self._descriptions), len(self._layouts)) > _DEVICES_MAX:
            self.forget()

    def open_device(self, endpoint: str, time_us: int, at_us: int) -> DeviceSeries:
        """What the tables have of a device; `time_us` is within its horizon."""
        device = DeviceSeries(endpoint, max(time_us, at_us) + _AHEAD_US)
        # SQLite's integers end there.
        horizon_us = min(device.horizon_us, 2**63 - 1)
        for number, path, newest in self._connection.execute(
            "SELECT id, path, (SELECT max(time_us) FROM readings WHERE series = id"
            " AND time_us <= ?) FROM series WHERE endpoint = ?",
            (horizon_us, endpoint),
        ):
            device.of_path[path] = PathSeries(number, _time(newest))
        for number, layout, newest in self._connection.execute(
            "SELECT id, layout, (SELECT max(time_us) FROM packs WHERE series = id"
            " AND time_us <= ?) FROM pack_series WHERE endpoint = ?",
            (horizon_us, endpoint),
        ).fetchall():
            places, tenant = self._places_of(layout)
            device.of_number[layout] = PackSeries(number, _time(newest), places, tenant)
        newest = [BEFORE_ALL_US]
        newest += [one.newest_us for one in device.of_path.values()]
        newest += [one.newest_us for one in device.of_number.values()]
        device.newest_us = max(newest)
        self.devices[endpoint] = device
        return device

    def series_of_packs(self, device: DeviceSeries, pack: UniformPack) -> PackSeries | None:
        """The series that a pack belongs to, None when its device has too many."""
        series = device.of_layout.get(pack.layout)
        if series is not None and series.tenant == pack.tenant:
            return series
        layout = self._number_of_layout(pack.layout, pack.tenant)
        series = device.of_number.get(layout)
        if series is None:
            if len(device.of_number) >= PACK_SERIES_MAX:
                return None
            places, tenant = self._places_of(layout)
            cursor = self._connection.execute(
                "INSERT INTO pack_series (endpoint, layout) VALUES (?, ?)",
                (device.endpoint, layout),
            )
            assert cursor.lastrowid is not None
            series = PackSeries(cursor.lastrowid, BEFORE_ALL_US, places, tenant)
            device.of_number[layout] = series
        if len(device.of_layout) >= 2 * PACK_SERIES_MAX:
            device.of_layout.clear()
        device.of_layout[pack.layout] = series
        return series

    def number_of_path(self, device: DeviceSeries, path: str) -> int:
        """The number of a device's path among the single readings."""
        series = device.of_path.get(path)
        if series is None:
            cursor = self._connection.execute(
                "INSERT INTO series (endpoint, path) VALUES (?, ?)", (device.endpoint, path)
            )
            assert cursor.lastrowid is not None
            series = device.of_path[path] = PathSeries(cursor.lastrowid, BEFORE_ALL_US)
        return series.number

    def number_of_description(self, description: _Description) -> int:
        """The number of kind, unit, time source and tenant."""
        known = self._descriptions.get(description)
        if known is not None:
            return known
        kind, unit, time_source, tenant = description
        # Empty for none: SQL's null would be another one each time.
        row = (kind, unit or "", time_source, tenant)
        self._connection.execute(
            "INSERT OR IGNORE INTO descriptions (kind, unit, time_source, tenant)"
            " VALUES (?, ?, ?, ?)",
            row,
        )
        found: int = self._connection.execute(
            "SELECT id FROM descriptions WHERE kind = ? AND unit = ? AND time_source = ?"
            " AND tenant = ?",
            row,
        ).fetchone()[0]
        self._descriptions[description] = found
        return found

    def _number_of_layout(self, layout: PackLayout, tenant: str) -> int:
        known = self._layouts.get((layout, tenant))
        if known is not None:
            return known
        rows = [
            (place, path, self.number_of_description((kind, unit, "device", tenant)))
            for place, (path, kind, unit) in enumerate(layout.fields)
        ]
        content = " ".join(f"{path}={description}" for _, path, description in rows)
        found = self._connection.execute(
            "SELECT id FROM layouts WHERE content = ?", (content,)
        ).fetchone()
        if found is None:
            cursor = self._connection.execute(
                "INSERT INTO layouts (content) VALUES (?)", (content,)
            )
            found = (cursor.lastrowid,)
            self._connection.executemany(
                "INSERT INTO places VALUES (?, ?, ?, ?)", [(*found, *row) for row in rows]
            )
        number = int(found[0])
        self._layouts[layout, tenant] = number
        return number

    def _places_of(self, layout: int) -> tuple[dict[str, Place], str]:
        """Where the paths of a layout are, and whose it is."""
        known = self._places.get(layout)
        if known is None:
            rows = self._connection.execute(
                "SELECT place, path, kind, tenant FROM places"
                " JOIN descriptions ON id = description WHERE layout = ?",
                (layout,),
            ).fetchall()
            places = {path: Place(PLACES[number], kind) for number, path, kind, _ in rows}
            known = self._places[layout] = places, rows[0][3]
        return known


def _time(newest: int | None) -> int:
    return BEFORE_ALL_US if newest is None else newest
