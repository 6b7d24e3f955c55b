"""Packets as bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from mqtt.packets.types import (
    REMAINING_LENGTH_MAX,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
)

_U16 = struct.Struct(">H")
_ACK = struct.Struct(">BBH")
# As _ACK, with a remaining length of two bytes.
_HEAD = struct.Struct(">BBBH")
_pack_u16 = _U16.pack
_pack_ack = _ACK.pack
_pack_head = _HEAD.pack


def encode(packet: Packet) -> bytes:
    """One packet as bytes. Raises `ValueError` for values that MQTT cannot carry."""
    return _ENCODERS[type(packet)](packet)


def encode_puback(packet_id: int) -> bytes:
    """A PUBACK."""
    return _pack_ack(0x40, 2, packet_id)


def publish_head(topic: str, payload_bytes: int, qos: int, retain: bool = False) -> bytes:
    """A PUBLISH up to and including its topic; packet id (at QoS 1 and 2) and payload follow.

    What goes to many subscribers shares this part; only the packet id differs.
    """
    name = topic.encode()
    length = len(name)
    remaining = 2 + length + payload_bytes + (2 if qos else 0)
    first = 0x30 | qos << 1 | retain
    if remaining < 128 and length < 126:
        return _pack_ack(first, remaining, length) + name
    if remaining < 16_384:  # §2.2.3
        return _pack_head(first, remaining & 0x7F | 0x80, remaining >> 7, length) + name
    return b"%c%b%b" % (first, _remaining_length(remaining), _text_bytes(name))


def encode_publish(
    topic: str,
    payload: bytes,
    qos: int = 0,
    packet_id: int = 0,
    duplicate: bool = False,
    retain: bool = False,
) -> bytes:
    """A PUBLISH. Raises `ValueError` when the topic or the whole is too long."""
    head = publish_head(topic, len(payload), qos, retain)
    data = head + _pack_u16(packet_id) + payload if qos else head + payload
    return as_duplicate(data) if duplicate else data


def as_duplicate(publish: bytes) -> bytes:
    """An encoded PUBLISH with its DUP flag set (§3.3.1.1)."""
    return bytes((publish[0] | 0x08,)) + publish[1:]


def _remaining_length(value: int) -> bytes:
    if value > REMAINING_LENGTH_MAX:
        raise ValueError(f"a packet of {value} bytes: MQTT carries at most {REMAINING_LENGTH_MAX}")
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _text(value: str) -> bytes:
    return _text_bytes(value.encode())


def _text_bytes(value: bytes) -> bytes:
    if len(value) > 65_535:
        raise ValueError(f"a text or field of {len(value)} bytes: MQTT carries at most 65535")
    return _pack_u16(len(value)) + value


def _packet(first: int, body: bytes) -> bytes:
    return b"%c%b%b" % (first, _remaining_length(len(body)), body)


def _encode_connect(packet: Connect) -> bytes:
    will = packet.will
    flags = packet.clean_session << 1
    payload = _text(packet.client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload += _text(will.topic) + _text_bytes(will.payload)
    if packet.user_name is not None:
        flags |= 0x80
        payload += _text(packet.user_name)
    if packet.password is not None:
        flags |= 0x40
        payload += _text_bytes(packet.password)
    fixed = bytes((packet.protocol_level, flags)) + _pack_u16(packet.keep_alive_s)
    return _packet(0x10, _text(packet.protocol_name) + fixed + payload)


def _encode_connack(packet: ConnAck) -> bytes:
    return bytes((0x20, 2, packet.session_present, packet.return_code))


def _encode_publish(packet: Publish) -> bytes:
    return encode_publish(
        packet.topic,
        packet.payload,
        packet.qos,
        packet.packet_id,
        packet.duplicate,
        packet.retain,
    )


def _encode_subscribe(packet: Subscribe) -> bytes:
    filters = b"".join(_text(name) + bytes((qos,)) for name, qos in packet.filters)
    return _packet(0x82, _pack_u16(packet.packet_id) + filters)


def _encode_suback(packet: SubAck) -> bytes:
    return _packet(0x90, _pack_u16(packet.packet_id) + bytes(packet.return_codes))


def _encode_unsubscribe(packet: Unsubscribe) -> bytes:
    filters = b"".join(map(_text, packet.filters))
    return _packet(0xA2, _pack_u16(packet.packet_id) + filters)


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    Connect: _encode_connect,
    ConnAck: _encode_connack,
    Publish: _encode_publish,
    PubAck: lambda packet: _pack_ack(0x40, 2, packet.packet_id),
    PubRec: lambda packet: _pack_ack(0x50, 2, packet.packet_id),
    PubRel: lambda packet: _pack_ack(0x62, 2, packet.packet_id),
    PubComp: lambda packet: _pack_ack(0x70, 2, packet.packet_id),
    Subscribe: _encode_subscribe,
    SubAck: _encode_suback,
    Unsubscribe: _encode_unsubscribe,
    UnsubAck: lambda packet: _pack_ack(0xB0, 2, packet.packet_id),
    PingReq: lambda packet: b"\xc0\x00",
    PingResp: lambda packet: b"\xd0\x00",
    Disconnect: lambda packet: b"\xe0\x00",
}
