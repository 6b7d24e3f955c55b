"""A broker's core with clients that a test writes and reads for, packet by packet."""

from __future__ import annotations

from typing import Any

from contracts.topics import Topics
from harness.mqtt_broker.core import Broker, BrokerLimits, Steps
from harness.mqtt_broker.session import Session
from mqtt.packets import ConnAck, Connect, Packet, Parser, PubAck, Publish, SubAck, Subscribe, Will

BRIDGE, HANDLER = "svc:bridge:s1", "svc:bootstrap"
CREDENTIALS = "lwm2m/s1/e/credentials"
EVENT = "lwm2m/s1/e/event/registered"


class Wire:
    """A connection whose client reads all at once, unless it is told to be slow."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.is_held = self.is_paused = self.is_slow = False
        self.ended = ""
        self.broker: Broker | None = None
        self._sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self._sent.append(data)

    def room(self) -> int:
        return 0 if self.is_slow or self.is_held else 1_000_000

    def end(self, reason: str) -> None:
        if not self.ended:
            self.ended = reason
            assert self.broker is not None
            self.broker.lost(self, reason)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def hold(self) -> None:
        self.is_held = True

    def unhold(self) -> None:
        self.is_held = False

    def received(self) -> list[Packet]:
        """What the client got since the last call."""
        packets = Parser().receive_bytes(b"".join(self._sent))
        self._sent.clear()
        return packets


class World:
    """A broker with clients."""

    def __init__(self, steps: Steps | None = None, **limits: Any) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.broker = Broker(
            Topics(),
            BrokerLimits(**limits),
            lambda identity, event, reason: self.seen.append((identity, event, reason)),
            steps,
        )

    def client(self, identity: str, *, clean: bool = True, will: Will | None = None) -> Wire:
        wire = Wire()
        wire.broker = self.broker
        packet = Connect(client_id=identity, clean_session=clean, will=will)
        self.broker.connect(wire, packet, identity)
        return wire

    def reader(self, topic_filter: str, identity: str = BRIDGE, *, clean: bool = False) -> Wire:
        wire = self.client(identity, clean=clean)
        self.broker.receive(wire, Subscribe(1, ((topic_filter, 1),)))
        connack, *rest = wire.received()
        assert isinstance(connack, ConnAck)
        assert rest[-1:] == [SubAck(1, (1,))]
        return wire

    def publish(self, wire: Wire, topic: str, *numbers: int, qos: int = 1) -> None:
        for number in numbers:
            self.broker.receive(wire, Publish(topic, b"%d" % number, qos, number if qos else 0))


def payloads(packets: list[Packet]) -> list[int]:
    return [int(packet.payload) for packet in packets if isinstance(packet, Publish)]


def acknowledged(packets: list[Packet]) -> list[int]:
    return [packet.packet_id for packet in packets if isinstance(packet, PubAck)]
