"""One client's session: its subscriptions, what waits for it, and what it has not acknowledged."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from contracts.names import Principal
from contracts.policy import Policy
from mqtt.packets import PACKET_ID_MAX, Will, as_duplicate, encode_publish

if TYPE_CHECKING:  # the two know each other
    from harness.mqtt_broker.core import Connection


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
        "_allowed",
        "_in_flight",
        "_next_id",
        "_to_repeat",
        "_waiting",
        "_waiting_bytes",
        "connection",
        "filters",
        "in_flight_max",
        "is_clean",
        "policy",
        "principal",
        "will",
    )

    def __init__(self, principal: Principal, policy: Policy, in_flight_max: int) -> None:
        self.principal = principal
        self.policy = policy
        # A device's topics have no wildcards: its publishes are decided by one look.
        self._allowed = frozenset(policy.publish)
        self.in_flight_max = in_flight_max
        self.is_clean = True
        self.filters: dict[str, int] = {}
        self.connection: Connection | None = None
        self.will: Will | None = None
        self._waiting: deque[Message] = deque()
        self._waiting_bytes = 0
        # Packets by id, in the order they were first sent.
        self._in_flight: dict[int, bytes] = {}
        self._to_repeat: deque[int] = deque()
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

    def may_publish(self, topic: str) -> bool:
        """Whether the client's policy allows a message to `topic`."""
        return topic in self._allowed or self.policy.may_publish(topic)

    def put(self, message: Message) -> None:
        """Queue one message."""
        self._waiting.append(message)
        self._waiting_bytes += len(message.payload)

    def take_to_send(self, bytes_max: int) -> list[bytes]:
        """PUBLISH packets that may go out now, as many as the window and `bytes_max` allow."""
        packets, size = self._take_repetitions(bytes_max) if self._to_repeat else ([], 0)
        while self._waiting and size < bytes_max:
            if self._waiting[0].qos and len(self._in_flight) >= self.in_flight_max:
                break
            message = self._waiting.popleft()
            self._waiting_bytes -= len(message.payload)
            packet = self._encode(message)
            size += len(packet)
            packets.append(packet)
        return packets

    def repeat(self) -> None:
        """Send first, on a new connection, what was never acknowledged, with DUP (§4.4)."""
        self._to_repeat = deque(self._in_flight)

    def acknowledge(self, packet_id: int) -> bool:
        """A PUBACK came. False when nothing has this id."""
        return self._in_flight.pop(packet_id, None) is not None

    def _take_repetitions(self, bytes_max: int) -> tuple[list[bytes], int]:
        packets: list[bytes] = []
        size = 0
        while self._to_repeat and size < bytes_max:
            packet = self._in_flight.get(self._to_repeat.popleft())
            if packet is not None:  # else it was acknowledged meanwhile
                packets.append(as_duplicate(packet))
                size += len(packet)
        # While some are left, `size` keeps new messages behind them.
        return packets, size

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
