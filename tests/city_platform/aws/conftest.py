"""moto's server for the entry points' tests."""

from tests.city_platform.stores.conftest import moto

__all__ = ["moto"]
