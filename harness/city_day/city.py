"""The city whose day it is: its devices with their places in metres, by model and by street."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, hypot, radians
from pathlib import Path
from typing import Final

from contracts.manifest import ManifestRow
from fake_devices.behaviours.noise import stream_key
from fake_devices.city import EmptyDistrict, UnusableManifest, district, read_manifest
from fake_devices.devices import DeviceIdentity
from harness.city_day.life import CityLife, read_life
from harness.errors import ScenarioError

CITIES: Final = Path(__file__).parents[2] / "fixtures" / "cities"
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class CityDevice:
    """One device where it stands: metres east and north of the city's middle."""

    identity: DeviceIdentity
    street: str
    east_m: float
    north_m: float
    attributes: dict[str, str]

    @property
    def endpoint(self) -> str:
        """Its name."""
        return self.identity.endpoint

    @property
    def model(self) -> str:
        """Its type."""
        return self.identity.model

    def distance_m(self, other: CityDevice) -> float:
        """Metres to another device, straight."""
        return hypot(self.east_m - other.east_m, self.north_m - other.north_m)


@dataclass(frozen=True, slots=True)
class City:
    """A city: its devices in the order of their names, whatever the manifest's."""

    name: str
    seed: int
    latitude: float
    longitude: float
    devices: tuple[CityDevice, ...]
    life: CityLife

    @property
    def weather(self) -> int:
        """The key of the weather that all devices of this seed share."""
        return stream_key(self.seed, "weather")

    def of_model(self, model: str) -> list[CityDevice]:
        """Its devices of one type, in the order of their names."""
        return [device for device in self.devices if device.model == model]


def load_city(name: str, seed: int, count: int | None = None, life: Path | None = None) -> City:
    """The city `name`: one of `fixtures/cities`, or the path of a manifest.

    `count` devices are a fair sample of it, or all of them and more; None: as many as there are.
    How it lives is in `life`, or beside the manifest in `<its name>.day.toml`, or as usual. Raises
    `ScenarioError`.
    """
    path = _manifest(name)
    try:
        rows = read_manifest(path.read_bytes())
        if count is not None:
            rows = district(rows, count, seed)
    except OSError as error:
        raise ScenarioError(f"cannot read the manifest {path}: {error.strerror}") from error
    except (UnusableManifest, EmptyDistrict) as error:
        raise ScenarioError(f"{path}: {error}") from error
    beside = path.with_name(f"{path.stem}.day.toml")
    chosen = life or (beside if beside.is_file() else None)
    return city_of(rows, seed, CityLife() if chosen is None else read_life(chosen))


def city_of(rows: Sequence[ManifestRow], seed: int, life: CityLife) -> City:
    """The city of these devices, one or more."""
    latitude = sum(row.latitude for row in rows) / len(rows)
    longitude = sum(row.longitude for row in rows) / len(rows)
    metres_east = _METRES_PER_DEGREE * cos(radians(latitude))
    devices = (
        CityDevice(
            DeviceIdentity(row.endpoint, row.serial, row.model, row.latitude, row.longitude, seed),
            row.street,
            (row.longitude - longitude) * metres_east,
            (row.latitude - latitude) * _METRES_PER_DEGREE,
            row.attributes,
        )
        for row in rows
    )
    ordered = tuple(sorted(devices, key=lambda device: device.endpoint))
    return City(rows[0].site, seed, latitude, longitude, ordered, life)


def known_cities() -> list[str]:
    """The names of the cities that come with Lamplighter."""
    return sorted(file.stem for file in CITIES.glob("*.csv"))


def _manifest(name: str) -> Path:
    if (CITIES / f"{name}.csv").is_file() and "/" not in name:
        return CITIES / f"{name}.csv"
    path = Path(name)
    if path.is_file():
        return path
    known = ", ".join(known_cities())
    raise ScenarioError(f"no city {name!r}: name one of {known}, or a manifest's file")
