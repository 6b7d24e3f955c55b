"""One simulated device as a state machine without I/O; see `Device`."""

from fake_devices.device.account import BrokerAccount, Stream
from fake_devices.device.actions import (
    Action,
    CloseUplink,
    EndExchange,
    Notify,
    OpenUplink,
    PublishPack,
    Purpose,
    SendRequest,
)
from fake_devices.device.downlink import Served
from fake_devices.device.environment import Environment, IncidentPlan
from fake_devices.device.lot import Lot
from fake_devices.device.machine import Device
from fake_devices.device.moment import Moment
from fake_devices.device.outbox import Outbox, Pack
from fake_devices.device.servers import DEFAULT_ACCOUNT, ServerAccount
from fake_devices.device.settings import DeviceSettings, LwM2mVersion
from fake_devices.device.templates import device_models, make_template
from fake_devices.device.tree import ModelTemplate, ObjectTree

__all__ = [
    "DEFAULT_ACCOUNT",
    "Action",
    "BrokerAccount",
    "CloseUplink",
    "Device",
    "DeviceSettings",
    "EndExchange",
    "Environment",
    "IncidentPlan",
    "Lot",
    "LwM2mVersion",
    "ModelTemplate",
    "Moment",
    "Notify",
    "ObjectTree",
    "OpenUplink",
    "Outbox",
    "Pack",
    "PublishPack",
    "Purpose",
    "SendRequest",
    "Served",
    "ServerAccount",
    "Stream",
    "device_models",
    "make_template",
]
