"""Many devices in one process: staggered start, one CoAP endpoint, an MQTT connection each."""

from fake_devices.fleet.config import DeviceLine, FleetConfig, IncidentConfig
from fake_devices.fleet.fleet import Fleet
from fake_devices.fleet.process import run, run_fleet

__all__ = ["DeviceLine", "Fleet", "FleetConfig", "IncidentConfig", "run", "run_fleet"]
