"""One client's session: its subscriptions, what waits for it, and what it has not acknowledged."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from contracts.names import Principal
from contracts.policy import Policy
from mqtt.packets import PACKET_ID_MAX, as_duplicate, encode_publish


class Message(NamedTuple):
    """One message on its way to subscribers."""

    topic: str
    payload: bytes
    qos: int


class Session:
    """What outlives a connection (MQTT 3.1.1 §3.1.2.4). Messages leave in the order they came.

    A message of QoS 1 is kept until its PUBACK: on a new connection all that are unacknowledged go
    again, with DUP, before anything new.
    """

    __slots__ = (
        "_in_flight",
        "_next_id",
        "_waiting",
        "_waiting_bytes",
        "connection",
        "filters",
        "in_flight_max",
        "is_clean",
        "policy",
        "principal",
    )

    def __init__(self, principal: Principal, policy: Policy, in_flight_max: int) -> None:
        self.principal = principal
        self.policy = policy
        self.in_flight_max = in_flight_max
        self.is_clean = True
        self.filters: dict[str, int] = {}
        self.connection: object | None = None
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        self._in_flight: dict[int, bytes] = {}
        self._next_id = 1

    @property
    def identity(self) -> str:
        """The client id, which is the certificate's identity."""
        return self.principal.identity

    @property
    def waiting(self) -> int:
        """Messages that have not been sent on this connection yet."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """Their payloads' size."""
        return self._waiting_bytes

    @property
    def in_flight(self) -> int:
        """Messages sent and not acknowledged."""
        return len(self._in_flight)

    def put(self, message: Message) -> None:
        """Queue one message."""
        self._waiting.append(message)
        self._waiting_bytes += len(message.payload)

    def take_to_send(self, bytes_max: int) -> list[bytes]:
        """PUBLISH packets that may go out now, as many as the window and `bytes_max` allow."""
        packets: list[bytes] = []
        size = 0
        while self._waiting and size < bytes_max:
            if self._waiting[0].qos and len(self._in_flight) >= self.in_flight_max:
                break
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message.payload)
            packet = self._encode(message)
            size += len(packet)
            packets.append(packet)
        return packets

    def packets_to_repeat(self) -> list[bytes]:
        """What was sent before and never acknowledged, with DUP (§4.4)."""
        return [as_duplicate(packet) for packet in self._in_flight.values()]

    def acknowledge(self, packet_id: int) -> bool:
        """A PUBACK came. False when nothing has this id."""
        return self._in_flight.pop(packet_id, None) is not None

    def _encode(self, message: Message) -> bytes:
        if not message.qos:
            return encode_publish(message.topic, message.payload)
        packet_id = self._take_id()
        packet = encode_publish(message.topic, message.payload, 1, packet_id)
        self._in_flight[packet_id] = packet
        return packet

    def _take_id(self) -> int:
        while self._next_id in self._in_flight:
            self._next_id = self._next_id % PACKET_ID_MAX + 1
        taken = self._next_id
        self._next_id = taken % PACKET_ID_MAX + 1
        return taken
