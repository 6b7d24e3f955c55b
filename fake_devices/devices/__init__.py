"""The device types: one model a file, each a table of objects and a pure function that senses."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fake_devices.devices.air_monitor import AIR_MONITOR
from fake_devices.devices.model import (
    AlarmRule,
    Changes,
    DeviceIdentity,
    DeviceModel,
    Incident,
    Memory,
    Values,
)
from fake_devices.devices.parking_spot import PARKING_SPOT
from fake_devices.devices.street_lamp import STREET_LAMP
from fake_devices.devices.waste_bin import WASTE_BIN
from fake_devices.devices.water_meter import WATER_METER
from lwm2m.objects import Value

MODELS: Mapping[str, DeviceModel] = MappingProxyType(
    {
        model.name: model
        for model in (STREET_LAMP, PARKING_SPOT, WATER_METER, AIR_MONITOR, WASTE_BIN)
    }
)

__all__ = [
    "MODELS",
    "AlarmRule",
    "Changes",
    "DeviceIdentity",
    "DeviceModel",
    "Incident",
    "Memory",
    "Value",
    "Values",
]
