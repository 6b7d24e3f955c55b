"""Firmware update (object 5): states, packages and downloads, without the device around them."""

from lwm2m.firmware.download import PROTOCOLS, Download, FirmwareUri
from lwm2m.firmware.package import FirmwarePackage, decode_package, encode_package
from lwm2m.firmware.states import (
    FIRMWARE_TRANSITIONS,
    STATE_NUMBERS,
    FirmwareEvent,
    FirmwareResult,
    FirmwareState,
    FirmwareStep,
    firmware_diagram,
)
from lwm2m.firmware.update import (
    FirmwareAction,
    FirmwareFault,
    FirmwareSettings,
    FirmwareUpdate,
)

__all__ = [
    "FIRMWARE_TRANSITIONS",
    "PROTOCOLS",
    "STATE_NUMBERS",
    "Download",
    "FirmwareAction",
    "FirmwareEvent",
    "FirmwareFault",
    "FirmwarePackage",
    "FirmwareResult",
    "FirmwareSettings",
    "FirmwareState",
    "FirmwareStep",
    "FirmwareUpdate",
    "FirmwareUri",
    "decode_package",
    "encode_package",
    "firmware_diagram",
]
