"""A made-up city of any size, in the form that the dashboard's interface tells of one."""

from __future__ import annotations

import random
from typing import Any

MODELS = ["street_lamp", "parking_spot", "water_meter", "air_monitor", "waste_bin"]
MODEL_WEIGHTS = [60, 15, 12, 5, 8]
STREETS = [
    "Lantern Quay", "Pilot Street", "Ropewalk", "Harbour Road", "Mast Lane", "Customs Row",
    "Beacon Way", "Anchor Street", "Tide Walk", "Compass Road", "Salt Market", "Signal Hill",
]  # fmt: skip
WEST, SOUTH = 8.560, 53.535
WIDTH, HEIGHT = 0.060, 0.030
EPOCH = "5f2c9a0e"
NOW_US = 1_795_286_400_000_000

LAMP_RESOURCES: list[dict[str, Any]] = [
    {"path": "3416/0/3", "object": "Outdoor lamp controller", "instance": 0,
     "resource": "Dimming level", "type": "integer", "operations": "R", "unit": "/100",
     "value": 0.8, "reading_unit": "/", "shown": 80},
    {"path": "3416/0/5", "object": "Outdoor lamp controller", "instance": 0,
     "resource": "Lamp failure", "type": "boolean", "operations": "R", "unit": "",
     "value": False, "reading_unit": None, "shown": None},
    {"path": "3416/0/46", "object": "Outdoor lamp controller", "instance": 0,
     "resource": "Active power", "type": "float", "operations": "R", "unit": "W",
     "value": 61.4, "reading_unit": "W", "shown": 61.4},
    {"path": "3416/0/15", "object": "Outdoor lamp controller", "instance": 0,
     "resource": "Lamp operating hours", "type": "integer", "operations": "R", "unit": "h",
     "value": 44_200_800, "reading_unit": "s", "shown": 12278},
    {"path": "3417/0/1", "object": "Luminaire asset", "instance": 0, "resource": "Manufacturer",
     "type": "string", "operations": "R", "unit": "", "value": "Merrow Lighting",
     "reading_unit": None, "shown": None},
    {"path": "3/0/9", "object": "Device", "instance": 0, "resource": "Battery level",
     "type": "integer", "operations": "R", "unit": "/100", "value": 0.97, "reading_unit": "/",
     "shown": 97},
]  # fmt: skip

WRITABLE: list[dict[str, Any]] = [
    {"path": "3416/0/1", "object": "Outdoor lamp controller", "resource": "Command",
     "type": "integer", "operations": "RW", "unit": "/100", "range": "0..100",
     "description": "The level that is asked for."},
    {"path": "3416/0/53", "object": "Outdoor lamp controller", "resource": "Override duration",
     "type": "integer", "operations": "RW", "unit": "s", "range": None, "description": ""},
    {"path": "3/0/4", "object": "Device", "resource": "Reboot", "type": "none", "operations": "E",
     "unit": None, "range": None, "description": "Start the device again."},
]  # fmt: skip


def city_columns(devices: int, seed: int = 7) -> dict[str, Any]:
    """The answer of `GET /api/map` for a city of so many devices."""
    chance = random.Random(seed)
    columns: dict[str, Any] = {
        "epoch": EPOCH, "revision": 1, "count": devices, "models": MODELS,
        "tenants": ["port_of_merrow"], "sites": ["harbour_district"],
        "streets": [f"{name} {number}" if number else name for number in range(4)
                    for name in STREETS],
        "endpoint": [], "longitude": [], "latitude": [], "model": [],
        "tenant": [0] * devices, "site": [0] * devices, "street": [], "presence": [],
        "alarm": [], "at_us": [], "values": {},
    }  # fmt: skip
    counts = [0] * len(MODELS)
    for number in range(devices):
        model = chance.choices(range(len(MODELS)), MODEL_WEIGHTS)[0] if number else 0
        counts[model] += 1
        street = number % len(columns["streets"])
        longitude, latitude = _place(street, chance)
        columns["endpoint"].append(f"{MODELS[model].split('_')[-1]}-{counts[model]:05d}")
        columns["longitude"].append(round(longitude, 7))
        columns["latitude"].append(round(latitude, 7))
        columns["model"].append(model)
        columns["street"].append(street)
        columns["presence"].append(chance.choices([2, 1, 0], [93, 5, 2])[0])
        columns["alarm"].append(chance.choices([0, 1, 2], [965, 25, 10])[0])
        columns["at_us"].append(NOW_US - chance.randrange(3_600_000_000))
    return columns


def _place(street: int, chance: random.Random) -> tuple[float, float]:
    """A place on one of the streets: half of them run east, half north, none of them straight."""
    along, lane = chance.random(), (street // 2 + 0.5) / 24
    aside = chance.choice([-1, 1]) * 0.00008
    bend = 0.0016 * (along - 0.5) * (1 if street % 4 < 2 else -1)
    if street % 2:
        return WEST + WIDTH * along, SOUTH + HEIGHT * lane + bend + aside
    return WEST + WIDTH * lane + bend * 1.7, SOUTH + HEIGHT * along + aside
