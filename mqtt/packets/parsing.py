"""Packets out of a byte stream, cut anywhere and trusted nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from mqtt.packets.types import (
    PROTOCOL_LEVEL,
    PROTOCOL_NAME,
    SUBSCRIPTION_REFUSED,
    ConnAck,
    Connect,
    Disconnect,
    MalformedPacket,
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
    Will,
)


class _Frame(NamedTuple):
    # Where a packet's body lies in the buffer; `end` may be beyond what has come.
    body: int
    end: int


class Parser:
    """Packets out of a byte stream cut anywhere.

    `packet_bytes_max` bounds one packet as a whole, and with it what is kept of an unfinished one.
    """

    def __init__(self, packet_bytes_max: int = 262_144) -> None:
        self._packet_bytes_max = packet_bytes_max
        # A remaining length below this one has two bytes at most, and its packet is short enough.
        self._short_below = max(0, min(0x4000, packet_bytes_max - 2))
        self._kept: list[bytes] = []
        self._missing = 0

    def receive_bytes(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes. Raises `MalformedPacket`; the stream is then dead."""
        if self._kept:
            self._kept.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._kept)
            self._kept.clear()
        packets: list[Packet] = []
        try:
            self._take_packets(data, packets)
        except MalformedPacket as flaw:
            flaw.packets = tuple(packets)
            raise
        return packets

    def _take_packets(self, data: bytes, packets: list[Packet]) -> None:
        position, available, short_below = 0, len(data), self._short_below
        while position < available:
            decoder = _DECODERS.get(data[position])
            if decoder is None:
                raise MalformedPacket(f"no packet begins with 0x{data[position]:02x}", "2.2")
            body = position + 2
            if body <= available:
                length = data[position + 1]
                # A pack of readings has two bytes of length, an acknowledgement one.
                if length >= 0x80 and body < available:
                    length += (data[body] << 7) - 0x80
                    body += 1
                end = body + length
                if length < short_below and end <= available and data[body - 1] < 0x80:
                    packets.append(decoder(data, body, end))
                    position = end
                    continue
            frame = self._frame(data, position, available)
            if frame is None or frame.end > available:
                self._kept.append(data[position:])
                self._missing = 1 if frame is None else frame.end - available
                return
            packets.append(decoder(data, frame.body, frame.end))
            position = frame.end

    def _frame(self, data: bytes, start: int, available: int) -> _Frame | None:
        length = shift = 0
        for position in range(start + 1, min(available, start + 5)):
            length |= (data[position] & 0x7F) << shift
            if data[position] < 0x80:
                end = position + 1 + length
                if end - start > self._packet_bytes_max:
                    raise MalformedPacket(
                        f"a packet of {end - start} bytes, {self._packet_bytes_max} are taken",
                        "2.2.3",
                    )
                return _Frame(position + 1, end)
            shift += 7
        if available >= start + 5:
            raise MalformedPacket("the remaining length has over four bytes", "2.2.3")
        return None


_Decoder = Callable[[bytes, int, int], Packet]


class _Reader:
    """Reads one packet's body field by field; used for all packets that are not frequent."""

    def __init__(self, data: bytes, start: int, end: int, clause: str) -> None:
        self._data, self._position, self._end, self._clause = data, start, end, clause

    @property
    def left(self) -> int:
        return self._end - self._position

    def flaw(self, reason: str) -> MalformedPacket:
        return MalformedPacket(reason, self._clause)

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise self.flaw(f"{self.left} bytes are left where {count} are needed")
        self._position += count
        return self._data[self._position - count : self._position]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        return self.u16() or _zero_packet_id()

    def field(self) -> bytes:
        return self.take(self.u16())

    def text(self) -> str:
        return _checked_text(self.field())

    def finish(self) -> None:
        if self.left:
            raise self.flaw(f"{self.left} bytes follow the packet's last field")


def _zero_packet_id() -> int:
    raise MalformedPacket("the packet id is zero", "2.3.1")


def _checked_text(data: bytes) -> str:
    try:
        value = str(data, "utf-8")
    except UnicodeDecodeError:
        raise MalformedPacket("a text is not UTF-8", "1.5.3") from None
    if "\0" in value:
        raise MalformedPacket("a text contains U+0000", "1.5.3")
    return value


def _topic_name(data: bytes) -> str:
    topic = _checked_text(data)
    if not topic or "+" in topic or "#" in topic:
        raise MalformedPacket("a topic name is empty or has wildcards", "4.7")
    return topic


def _publish_decoder(flags: int) -> _Decoder:
    qos = flags >> 1 & 3
    duplicate, retain = bool(flags & 8), bool(flags & 1)
    id_length = 2 if qos else 0

    def decode_publish(data: bytes, start: int, end: int) -> Publish:
        topic_at = start + 2
        payload_at = topic_at + id_length
        if payload_at <= end:
            topic_end = topic_at + (data[start] << 8 | data[start + 1])
            payload_at = topic_end + id_length
        if payload_at > end:
            raise MalformedPacket("the topic or the packet id is cut short", "3.3.2")
        topic = _topic_name(data[topic_at:topic_end])
        packet_id = data[topic_end] << 8 | data[topic_end + 1] if qos else 0
        if qos and not packet_id:
            _zero_packet_id()
        return Publish(topic, data[payload_at:end], qos, packet_id, duplicate, retain)

    return decode_publish


_Ack = TypeVar("_Ack", PubAck, PubRec, PubRel, PubComp, UnsubAck)


def _ack_decoder(kind: type[_Ack], clause: str) -> Callable[[bytes, int, int], _Ack]:
    def decode_ack(data: bytes, start: int, end: int) -> _Ack:
        if end - start != 2:
            raise MalformedPacket(f"an acknowledgement of {end - start} bytes", clause)
        return kind(data[start] << 8 | data[start + 1] or _zero_packet_id())

    return decode_ack


_Empty = TypeVar("_Empty", PingReq, PingResp, Disconnect)


def _empty_decoder(kind: type[_Empty], clause: str) -> Callable[[bytes, int, int], _Empty]:
    def decode_empty(data: bytes, start: int, end: int) -> _Empty:
        if end != start:
            raise MalformedPacket("a packet without fields has some", clause)
        return kind()

    return decode_empty


def _decode_connect(data: bytes, start: int, end: int) -> Connect:
    reader = _Reader(data, start, end, "3.1")
    name, level = reader.text(), reader.u8()
    if (name, level) != (PROTOCOL_NAME, PROTOCOL_LEVEL):
        return Connect(client_id="", protocol_name=name, protocol_level=level)
    flags, keep_alive_s = reader.u8(), reader.u16()
    _check_connect_flags(reader, flags)
    client_id = reader.text()
    will = _read_will(reader, flags) if flags & 0x04 else None
    user_name = reader.text() if flags & 0x80 else None
    password = reader.field() if flags & 0x40 else None
    reader.finish()
    return Connect(
        client_id=client_id,
        clean_session=bool(flags & 0x02),
        keep_alive_s=keep_alive_s,
        will=will,
        user_name=user_name,
        password=password,
    )


def _check_connect_flags(reader: _Reader, flags: int) -> None:
    if flags & 0x01:
        raise reader.flaw("the reserved connect flag is set")
    if flags & 0x38 and not flags & 0x04:
        raise reader.flaw("will QoS or retain without a will")
    if flags & 0x18 == 0x18:
        raise reader.flaw("will QoS 3")
    if flags & 0x40 and not flags & 0x80:
        raise reader.flaw("a password without a user name")


def _read_will(reader: _Reader, flags: int) -> Will:
    topic = _topic_name(reader.field())
    return Will(topic, reader.field(), flags >> 3 & 3, bool(flags & 0x20))


def _decode_connack(data: bytes, start: int, end: int) -> ConnAck:
    reader = _Reader(data, start, end, "3.2")
    flags, return_code = reader.u8(), reader.u8()
    reader.finish()
    if flags > 1:
        raise reader.flaw("a reserved acknowledge flag is set")
    return ConnAck(bool(flags), return_code)


def _decode_subscribe(data: bytes, start: int, end: int) -> Subscribe:
    reader = _Reader(data, start, end, "3.8")
    packet_id = reader.packet_id()
    filters: list[tuple[str, int]] = []
    while reader.left or not filters:
        topic_filter, qos = reader.text(), reader.u8()
        if qos > 2 or not topic_filter:
            raise reader.flaw("a QoS above 2 or an empty topic filter")
        filters.append((topic_filter, qos))
    return Subscribe(packet_id, tuple(filters))


def _decode_suback(data: bytes, start: int, end: int) -> SubAck:
    reader = _Reader(data, start, end, "3.9")
    packet_id = reader.packet_id()
    codes = tuple(reader.take(reader.left))
    if not codes or any(code > 2 and code != SUBSCRIPTION_REFUSED for code in codes):
        raise reader.flaw("a reserved SUBACK return code, or none")
    return SubAck(packet_id, codes)


def _decode_unsubscribe(data: bytes, start: int, end: int) -> Unsubscribe:
    reader = _Reader(data, start, end, "3.10")
    packet_id = reader.packet_id()
    filters: list[str] = []
    while reader.left or not filters:
        filters.append(reader.text())
    return Unsubscribe(packet_id, tuple(filters))


# By the first byte, so that reserved types and flags (§2.2.2), QoS 3 and DUP at QoS 0 (§3.3.1)
# have no entry and need no check.
_DECODERS: Final[dict[int, _Decoder]] = {
    0x10: _decode_connect,
    0x20: _decode_connack,
    **{
        0x30 | flags: _publish_decoder(flags)
        for flags in range(16)
        if flags & 6 != 6 and (flags & 6 or not flags & 8)
    },
    0x40: _ack_decoder(PubAck, "3.4"),
    0x50: _ack_decoder(PubRec, "3.5"),
    0x62: _ack_decoder(PubRel, "3.6"),
    0x70: _ack_decoder(PubComp, "3.7"),
    0x82: _decode_subscribe,
    0x90: _decode_suback,
    0xA2: _decode_unsubscribe,
    0xB0: _ack_decoder(UnsubAck, "3.11"),
    0xC0: _empty_decoder(PingReq, "3.12"),
    0xD0: _empty_decoder(PingResp, "3.13"),
    0xE0: _empty_decoder(Disconnect, "3.14"),
}
