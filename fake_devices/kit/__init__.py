"""The device kit: make a device of your own that bootstraps, obeys and reports.

from fake_devices import kit

device = kit.Device("my-thermometer-1")
device.add("/3303/0", {5700: read_temperature, 5701: "Cel"}, reports=[5700])
device.run("coaps://127.0.0.1:5684", psk_identity="my-thermometer-1", psk=key)
"""

from fake_devices.kit.declaring import IllegalDeclaration
from fake_devices.kit.device import Device, NotRunning
from lwm2m.firmware import FirmwareSettings

__all__ = ["Device", "FirmwareSettings", "IllegalDeclaration", "NotRunning"]
