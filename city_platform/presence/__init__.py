"""Whether a device is online, told from what devices and brokers say of connections."""

from city_platform.presence.following import (
    UNHEARD,
    DevicePresence,
    Told,
    follow,
    read_told,
    told_by_broker,
    told_by_device,
)
from city_platform.presence.states import TRANSITIONS, Occurrence, PresenceState

__all__ = [
    "TRANSITIONS",
    "UNHEARD",
    "DevicePresence",
    "Occurrence",
    "PresenceState",
    "Told",
    "follow",
    "read_told",
    "told_by_broker",
    "told_by_device",
]
