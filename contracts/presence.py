"""Whether a device is connected, in its own words: birth, last will and good-bye on its topic.

The three are made when a connection is begun, and carry which one it is, so that a will that comes
late says nothing of the connection that followed. What a broker tells of connections itself, as AWS
IoT Core does on `$aws/events/presence/…`, is read here too.
"""

from __future__ import annotations

from typing import Final, Literal, TypeVar

import msgspec

from contracts.errors import ContractError, UnsupportedVersion

VERSION: Final = 1
# In credentials, a publication of the connection itself has this source and this encoding (the
# CoAP content format of JSON). Who does not know it leaves it out.
PRESENCE_SOURCE: Final = "</18830/0>"
ENCODING_JSON: Final = 50

PresenceCause = Literal["birth", "good_bye", "will"]


class PresenceMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a presence topic, QoS 1, never retained.

    `boot` and `connection` (from 1 on in each boot) name the connection; `began_us` is when the
    device began it, in its own time. `cause`: `birth` after CONNACK 0, `good_bye` before a
    DISCONNECT, `will` when the broker lost the device.
    """

    cause: PresenceCause
    boot: str
    connection: int
    began_us: int
    v: int = VERSION


class LifecycleMessage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What AWS IoT Core tells of one client's connection; other fields are ignored.

    `timestamp` is in milliseconds; `version_number` grows with each connection of the client, and
    tells the order, which delivery does not keep.
    """

    client_id: str
    event_type: Literal["connected", "disconnected"]
    timestamp: int
    version_number: int = 0
    disconnect_reason: str | None = None


_M = TypeVar("_M", PresenceMessage, LifecycleMessage)

_presence = msgspec.json.Decoder(PresenceMessage)
_lifecycle = msgspec.json.Decoder(LifecycleMessage)


def encode_presence(message: PresenceMessage) -> bytes:
    """The payload of a presence topic."""
    return msgspec.json.encode(message)


def decode_presence(data: bytes) -> PresenceMessage:
    """The payload of a presence topic. Raises `ContractError`."""
    found = _read(_presence, data, "a presence message")
    if found.v > VERSION:
        raise UnsupportedVersion("this presence message", found.v, VERSION)
    return found


def decode_lifecycle(data: bytes) -> LifecycleMessage:
    """The payload of a broker's lifecycle topic. Raises `ContractError`."""
    return _read(_lifecycle, data, "a lifecycle message")


def _read(decoder: msgspec.json.Decoder[_M], data: bytes, what: str) -> _M:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"not {what}: {error}") from None
