"""Puts devices along the streets: lamps every 30 m, bays at kerbs, meters in houses, bins, corners.

A device is a pure function of (place, seed, its number). A block of street holds twenty: eleven
lamps, three parking spots, three water meters, one air monitor, two waste bins.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from math import cos, radians, sin
from typing import NamedTuple

from contracts.manifest import ManifestRow, Model
from fake_devices.behaviours.noise import between, mix, stream_key
from fake_devices.city.streets import BLOCK_M, Spot, Street, along, pick, street_of_block

DEVICES_PER_BLOCK = 20
_METRES_PER_DEGREE = 111_320.0
_OLDEST, _NEWEST = date(2019, 3, 1), date(2026, 6, 30)


class Place(NamedTuple):
    """Where a district lies and whose it is. `bearing_deg`: how far the water's edge is turned."""

    tenant: str
    site: str
    latitude: float
    longitude: float
    bearing_deg: float = 21.0


HARBOUR = Place("port_of_merrow", "harbour_district", 53.5446, 8.5701)


class _Site(NamedTuple):
    """A device's place on its street: down the street, aside of its middle, and its attributes."""

    down_m: float
    aside_m: float
    attributes: dict[str, str]


class _Kind(NamedTuple):
    """How devices of one model are named and placed, `per_block` of them in each block.

    `site` takes the device's key, its street, and its number on that street among its kind.
    """

    model: Model
    per_block: int
    endpoint: str
    serial: str
    site: Callable[[int, Street, int], _Site]


def _lamp(key: int, street: Street, place: int) -> _Site:
    side = 1 if place % 2 else -1
    attributes = {
        "pole": f"{street.number:03d}-{place + 1:02d}",
        "side": "left" if side > 0 else "right",
        "height_m": pick(key, 10, ("6", "8", "10")),
    }
    return _Site(15.0 + 30.0 * place + between(key, 11, -1.5, 1.5), 5.2 * side, attributes)


def _bay(key: int, street: Street, place: int) -> _Site:
    row_begins_m = between(stream_key(0, "bays", street.name), 0, 30.0, 220.0)
    kind = pick(key, 10, ("short stay", "short stay", "residents", "loading", "disabled"))
    return _Site(row_begins_m + 6.0 * place, 3.4, {"bay": str(place + 1), "kind": kind})


def _meter(key: int, street: Street, place: int) -> _Site:
    house = 1 + 2 * (mix(key, 10) % 9 + 9 * place)
    attributes = {"house": str(house), "pipe": pick(key, 11, ("DN15", "DN20", "DN25"))}
    return _Site(6.0 * house, 9.5 if house % 4 == 1 else -9.5, attributes)


def _corner(key: int, street: Street, place: int) -> _Site:
    return _Site(
        2.0 + BLOCK_M * place,
        6.5,
        {"mount": pick(key, 10, ("mast", "signal post")), "height_m": "3.5"},
    )


def _bin(key: int, street: Street, place: int) -> _Site:
    attributes = {"volume_l": pick(key, 10, ("90", "120", "240")), "lid": pick(key, 11, _LIDS)}
    return _Site(70.0 + 165.0 * place + between(key, 12, -20.0, 20.0), -4.4, attributes)


_LIDS = ("flap", "drum", "open")
_KINDS = (
    _Kind("street_lamp", 11, "lamp", "SL", _lamp),
    _Kind("parking_spot", 3, "spot", "PS", _bay),
    _Kind("water_meter", 3, "meter", "WM", _meter),
    _Kind("air_monitor", 1, "air", "AM", _corner),
    _Kind("waste_bin", 2, "bin", "WB", _bin),
)
# Per place in a block: the kind, and which of the block's devices of that kind it is.
_BLOCK = tuple((kind, place) for kind in _KINDS for place in range(kind.per_block))


def generate(place: Place, seed: int, first: int, count: int) -> list[ManifestRow]:
    """Devices number `first` to `first + count - 1` of a district, in the order of its streets."""
    return [_device(place, seed, number) for number in range(first, first + count)]


def _device(place: Place, seed: int, number: int) -> ManifestRow:
    block, within = divmod(number, DEVICES_PER_BLOCK)
    kind, in_block = _BLOCK[within]
    street, part = street_of_block(seed, block)
    endpoint = f"{kind.endpoint}-{block * kind.per_block + in_block + 1:04d}"
    key = stream_key(seed, "device", endpoint)
    site = kind.site(key, street, part * kind.per_block + in_block)
    latitude, longitude = _position(place, along(street, site.down_m, site.aside_m))
    installed_on = _OLDEST + timedelta(days=mix(key, 0) % (_NEWEST - _OLDEST).days)
    serial = f"{kind.serial}{installed_on:%y%m}-{mix(key, 1) % 16**6:06X}-{number:05d}"
    return ManifestRow(
        endpoint=endpoint,
        serial=serial,
        model=kind.model,
        tenant=place.tenant,
        site=place.site,
        group=f"{place.site}/{kind.model}",
        street=street.name,
        latitude=latitude,
        longitude=longitude,
        installed_on=installed_on,
        psk_identity=serial,
        attributes=site.attributes,
    )


def _position(place: Place, spot: Spot) -> tuple[float, float]:
    """WGS 84 degrees, to the centimetre or so, on a plane that touches the earth at the place."""
    turn = radians(place.bearing_deg)
    east_m = spot.x_m * cos(turn) - spot.y_m * sin(turn)
    north_m = spot.x_m * sin(turn) + spot.y_m * cos(turn)
    degrees_east = east_m / (_METRES_PER_DEGREE * cos(radians(place.latitude)))
    latitude = place.latitude + north_m / _METRES_PER_DEGREE
    return round(latitude, 7), round(place.longitude + degrees_east, 7)
