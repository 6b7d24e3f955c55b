"""What every device has: the LwM2M objects 1 (Server), 3 (Device), 4 (Connectivity), 6 (Location).

The device core fills in what only it knows: lifetime, binding and addresses.
"""

from __future__ import annotations

from fake_devices.behaviours.noise import between, stream_key
from fake_devices.devices.model import Changes, DeviceIdentity
from lwm2m.objects import ObjectPath

BASIC_OBJECTS = (ObjectPath(1, 0), ObjectPath(3, 0), ObjectPath(4, 0), ObjectPath(6, 0))

MANUFACTURER = "Lamplighter Simulated Devices"
FIRMWARE_VERSION = "1.4.2"
SHORT_SERVER_ID = 101
LIFETIME_S = 300
# /4/0/0 Network Bearer: 7 is NB-IoT.
_NB_IOT = 7


def basic_values(
    identity: DeviceIdentity, t_s: float, *, model_number: str, device_type: str
) -> Changes:
    """The first values of objects 1, 3, 4 and 6 of a device that is switched on at `t_s`."""
    key = stream_key(identity.seed, identity.endpoint, "radio")
    return {
        ObjectPath(1, 0, 0): SHORT_SERVER_ID,
        ObjectPath(1, 0, 1): LIFETIME_S,
        ObjectPath(1, 0, 6): True,
        ObjectPath(1, 0, 7): "U",
        ObjectPath(3, 0, 0): MANUFACTURER,
        ObjectPath(3, 0, 1): model_number,
        ObjectPath(3, 0, 2): identity.serial,
        ObjectPath(3, 0, 3): FIRMWARE_VERSION,
        ObjectPath(3, 0, 11, 0): 0,
        ObjectPath(3, 0, 13): int(t_s),
        ObjectPath(3, 0, 14): "+00:00",
        ObjectPath(3, 0, 16): "U",
        ObjectPath(3, 0, 17): device_type,
        ObjectPath(4, 0, 0): _NB_IOT,
        ObjectPath(4, 0, 1, 0): _NB_IOT,
        ObjectPath(4, 0, 2): round(between(key, 0, -112.0, -71.0)),
        ObjectPath(4, 0, 3): round(between(key, 1, 40.0, 98.0)),
        ObjectPath(4, 0, 4, 0): "127.0.0.1",
        ObjectPath(6, 0, 0): identity.latitude,
        ObjectPath(6, 0, 1): identity.longitude,
        ObjectPath(6, 0, 5): int(t_s),
    }
