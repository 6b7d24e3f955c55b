"""The presence of a device as a table: what moves it between online and offline."""

from __future__ import annotations

from enum import Enum
from typing import Final


class PresenceState(Enum):
    """Whether a device's MQTT connection stands."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    OFFLINE = "offline"


class Occurrence(Enum):
    """What is heard of a connection, in the past tense."""

    BORN = "born"
    SAID_GOOD_BYE = "said_good_bye"
    LOST = "lost"
    BROKER_CONNECTED = "broker_connected"
    BROKER_DISCONNECTED = "broker_disconnected"


_S, _O = PresenceState, Occurrence
_HEARD: Final[dict[Occurrence, PresenceState]] = {
    _O.BORN: _S.ONLINE,
    _O.BROKER_CONNECTED: _S.ONLINE,
    _O.SAID_GOOD_BYE: _S.OFFLINE,
    _O.LOST: _S.OFFLINE,
    _O.BROKER_DISCONNECTED: _S.OFFLINE,
}

# Whatever is heard of the newest connection counts; which one that is, `following` decides.
TRANSITIONS: Final[dict[PresenceState, dict[Occurrence, PresenceState]]] = {
    _S.UNKNOWN: dict(_HEARD),
    _S.ONLINE: dict(_HEARD),
    _S.OFFLINE: dict(_HEARD),
}
