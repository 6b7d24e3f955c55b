"""The values of the MQTT 3.1.1 packets, and what is wrong with bytes that are none."""

from __future__ import annotations

from typing import Final

import msgspec

PROTOCOL_NAME: Final = "MQTT"
PROTOCOL_LEVEL: Final = 4
REMAINING_LENGTH_MAX: Final = 268_435_455  # §2.2.3
PACKET_ID_MAX: Final = 65_535
SUBSCRIPTION_REFUSED: Final = 0x80

# §3.2.2.3
ACCEPTED: Final = 0
REFUSED_PROTOCOL_LEVEL: Final = 1
REFUSED_CLIENT_ID: Final = 2
REFUSED_SERVER_UNAVAILABLE: Final = 3
REFUSED_USER_NAME_OR_PASSWORD: Final = 4
REFUSED_NOT_AUTHORIZED: Final = 5


class MalformedPacket(ValueError):
    """The other side sent bytes that are no MQTT 3.1.1 packet; the connection must be closed.

    `clause` is the broken one; `packets` are the whole ones that came before in the same bytes.
    """

    def __init__(self, reason: str, clause: str) -> None:
        super().__init__(f"{reason} (MQTT 3.1.1 §{clause})")
        self.clause = clause
        self.packets: tuple[Packet, ...] = ()


class Will(msgspec.Struct, frozen=True):
    """The message that the broker publishes when the connection ends without DISCONNECT."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """§3.1. Of another protocol level only `protocol_name` and `protocol_level` are read."""

    client_id: str
    clean_session: bool = True
    keep_alive_s: int = 60
    will: Will | None = None
    user_name: str | None = None
    password: bytes | None = None
    protocol_name: str = PROTOCOL_NAME
    protocol_level: int = PROTOCOL_LEVEL

    def __repr__(self) -> str:
        return f"Connect(client_id={self.client_id!r}, …)"


class ConnAck(msgspec.Struct, frozen=True, gc=False):
    """§3.2."""

    session_present: bool
    return_code: int


class Publish(msgspec.Struct, frozen=True, gc=False):
    """§3.3. `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int = 0
    duplicate: bool = False
    retain: bool = False


class PubAck(msgspec.Struct, frozen=True, gc=False):
    """§3.4."""

    packet_id: int


class PubRec(msgspec.Struct, frozen=True, gc=False):
    """§3.5."""

    packet_id: int


class PubRel(msgspec.Struct, frozen=True, gc=False):
    """§3.6."""

    packet_id: int


class PubComp(msgspec.Struct, frozen=True, gc=False):
    """§3.7."""

    packet_id: int


class Subscribe(msgspec.Struct, frozen=True, gc=False):
    """§3.8. (topic filter, QoS) each."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


class SubAck(msgspec.Struct, frozen=True, gc=False):
    """§3.9. Granted QoS, or 0x80, per filter."""

    packet_id: int
    return_codes: tuple[int, ...]


class Unsubscribe(msgspec.Struct, frozen=True, gc=False):
    """§3.10."""

    packet_id: int
    filters: tuple[str, ...]


class UnsubAck(msgspec.Struct, frozen=True, gc=False):
    """§3.11."""

    packet_id: int


class PingReq(msgspec.Struct, frozen=True, gc=False):
    """§3.12."""


class PingResp(msgspec.Struct, frozen=True, gc=False):
    """§3.13."""


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """§3.14."""


Packet = (
    Connect
    | ConnAck
    | Publish
    | PubAck
    | PubRec
    | PubRel
    | PubComp
    | Subscribe
    | SubAck
    | Unsubscribe
    | UnsubAck
    | PingReq
    | PingResp
    | Disconnect
)
