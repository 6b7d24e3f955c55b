"""MQTT 3.1.1 without I/O: packet codec, incremental parser and the client's side of a connection.

`mqtt.transport` is the only part that touches the world.
"""

from mqtt.connection import (
    ClientConnection,
    ConnectionAccepted,
    ConnectionFailed,
    ConnectionRefused,
    InboundMessage,
    PublishAcknowledged,
    QueueFull,
    SubscriptionsAnswered,
    UnsubscriptionAcknowledged,
)
from mqtt.packets import MalformedPacket, Parser, Will

__all__ = [
    "ClientConnection",
    "ConnectionAccepted",
    "ConnectionFailed",
    "ConnectionRefused",
    "InboundMessage",
    "MalformedPacket",
    "Parser",
    "PublishAcknowledged",
    "QueueFull",
    "SubscriptionsAnswered",
    "UnsubscriptionAcknowledged",
    "Will",
]
