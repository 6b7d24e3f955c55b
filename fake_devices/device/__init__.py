"""One simulated device as a state machine without I/O; see `Device`."""

from fake_devices.device.account import BrokerAccount, Stream
from fake_devices.device.actions import (
    Action,
    CloseUplink,
    OpenUplink,
    PublishPack,
    SendRequest,
)
from fake_devices.device.environment import Environment, IncidentPlan
from fake_devices.device.machine import Device
from fake_devices.device.moment import Moment
from fake_devices.device.outbox import Outbox, Pack
from fake_devices.device.settings import DeviceSettings
from fake_devices.device.templates import device_models, make_template
from fake_devices.device.tree import ModelTemplate, ObjectTree

__all__ = [
    "Action",
    "BrokerAccount",
    "CloseUplink",
    "Device",
    "DeviceSettings",
    "Environment",
    "IncidentPlan",
    "ModelTemplate",
    "Moment",
    "ObjectTree",
    "OpenUplink",
    "Outbox",
    "Pack",
    "PublishPack",
    "SendRequest",
    "Stream",
    "device_models",
    "make_template",
]
