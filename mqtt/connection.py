"""The client's side of MQTT 3.1.1: one session over any number of connections, without I/O.

Outbound QoS 1 messages are kept until their PUBACK and sent again with DUP on the next connection;
inbound ones are acknowledged by hand, so that who reads may first make them durable.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from mqtt.packets import (
    PACKET_ID_MAX,
    ConnAck,
    Connect,
    Disconnect,
    MalformedPacket,
    Packet,
    Parser,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    as_duplicate,
    encode,
    encode_puback,
    encode_publish,
)

# One below all packet ids, so that SUBSCRIBE and UNSUBSCRIBE always find a free one.
QUEUE_MAX_LIMIT: Final = PACKET_ID_MAX - 1_000
REFUSALS: Final = {
    1: "refused: protocol version not supported",
    2: "refused: bad client id",
    3: "refused: server unavailable",
    4: "refused: bad user name or password",
    5: "refused: bad identity",
}


class State(enum.Enum):
    """Where a connection is."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    ENDED = "ended"

    # A look into a table by state for every packet: Enum's own hash is computed in Python.
    __hash__ = object.__hash__


class Input(enum.Enum):
    """What moves a connection from state to state."""

    CONNECT_SENT = "connect sent"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"
    DISCONNECT_SENT = "disconnect sent"
    CLOSED = "closed"


# ENDED: the transport is to be closed; what still arrives is ignored.
TRANSITIONS: Final[dict[State, dict[Input, State]]] = {
    State.DISCONNECTED: {Input.CONNECT_SENT: State.CONNECTING, Input.CLOSED: State.DISCONNECTED},
    State.CONNECTING: {
        Input.ACCEPTED: State.CONNECTED,
        Input.REFUSED: State.ENDED,
        Input.FAILED: State.ENDED,
        Input.DISCONNECT_SENT: State.ENDED,
        Input.CLOSED: State.DISCONNECTED,
    },
    State.CONNECTED: {
        Input.FAILED: State.ENDED,
        Input.DISCONNECT_SENT: State.ENDED,
        Input.CLOSED: State.DISCONNECTED,
    },
    State.ENDED: {Input.CLOSED: State.DISCONNECTED},
}


class WrongState(RuntimeError):
    """The caller asked for what this state does not allow."""


class QueueFull(Exception):
    """As many messages wait for their PUBACK as may; this one was not taken."""


class ConnectionAccepted(msgspec.Struct, frozen=True, gc=False):
    """CONNACK 0. Now subscribe, then `resume`."""

    session_present: bool


class ConnectionRefused(msgspec.Struct, frozen=True, gc=False):
    """CONNACK with another code; `reason` is its meaning. Close the transport."""

    return_code: int
    reason: str


class ConnectionFailed(msgspec.Struct, frozen=True, gc=False):
    """The broker broke the protocol or fell silent. Close the transport."""

    reason: str


class InboundMessage(msgspec.Struct, frozen=True, gc=False):
    """A message of a subscription. At QoS 1 it is delivered again, on a later connection, until
    `acknowledge` was called for it; `connection` says on which one this delivery came."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    duplicate: bool
    retain: bool
    connection: int


class PublishAcknowledged(msgspec.Struct, frozen=True, gc=False):
    """PUBACK: the broker has taken the message over."""

    packet_id: int


class SubscriptionsAnswered(msgspec.Struct, frozen=True, gc=False):
    """SUBACK. `refused` are the filters that the broker does not let us read."""

    packet_id: int
    refused: tuple[str, ...]


class UnsubscriptionAcknowledged(msgspec.Struct, frozen=True, gc=False):
    """UNSUBACK."""

    packet_id: int


Event = (
    ConnectionAccepted
    | ConnectionRefused
    | ConnectionFailed
    | InboundMessage
    | PublishAcknowledged
    | SubscriptionsAnswered
    | UnsubscriptionAcknowledged
)
_Handler = Callable[["ClientConnection", Any, list[Event]], None]


class ClientConnection:
    """A client's session. The shell opens a transport, calls `connect`, moves bytes, closes.

    `keep_alive_s` 0 means none. `inflight_max` messages are sent before their PUBACK is waited for;
    up to `queue_max` (at most 64,535) are kept in all, those in flight included.
    `packet_bytes_max` bounds what the broker may send in one packet.
    """

    def __init__(
        self,
        client_id: str,
        *,
        clean_session: bool = True,
        keep_alive_s: int = 60,
        inflight_max: int = 1_000,
        queue_max: int = 20_000,
        packet_bytes_max: int = 1_048_576,
        connect_timeout_s: float = 10.0,
        will: Will | None = None,
        user_name: str | None = None,
        password: bytes | None = None,
    ) -> None:
        if not 0 < inflight_max <= queue_max <= QUEUE_MAX_LIMIT:
            raise ValueError(f"needed: 0 < inflight_max <= queue_max <= {QUEUE_MAX_LIMIT}")
        self._connect_packet = encode(
            Connect(
                client_id=client_id,
                clean_session=clean_session,
                keep_alive_s=keep_alive_s,
                will=will,
                user_name=user_name,
                password=password,
            )
        )
        self._inflight_max = inflight_max
        self._queue_max = queue_max
        self._packet_bytes_max = packet_bytes_max
        self._connect_timeout_s = connect_timeout_s
        # Two timer periods of silence make one keep-alive: no clock is read when a packet is sent.
        self._timer_period_s = keep_alive_s / 2
        self._state = State.DISCONNECTED
        self._parser = Parser(packet_bytes_max)
        self._outgoing: list[bytes] = []
        self._timer_at: float | None = None
        self._has_sent = self._awaits_ping_response = self._is_resumed = False
        self._connection = self._last_packet_id = 0
        # Encoded, as published; what waits for the window follows what is in flight. It and what
        # was received are made when first needed: most devices only publish, within their window.
        self._inflight: dict[int, bytes] = {}
        self._waiting: OrderedDict[int, bytes] | None = None
        self._asked: dict[int, tuple[str, ...]] = {}
        # Of this connection, in the order of receipt: whether the reader has acknowledged it.
        self._received: OrderedDict[int, bool] | None = None

    @property
    def state(self) -> State:
        """Where the connection is."""
        return self._state

    @property
    def outstanding(self) -> int:
        """Messages that no PUBACK came for yet, sent or not."""
        return len(self._inflight) + len(self._waiting or ())

    def introduce_as(self, packet: Connect) -> None:
        """Begin the next connections with this packet: the same client, with another last will."""
        self._connect_packet = encode(packet)

    def connect(self, now: float) -> None:
        """Begin a connection over a transport that has just opened."""
        self._move(Input.CONNECT_SENT)
        self._connection += 1
        self._parser = Parser(self._packet_bytes_max)
        self._outgoing = [self._connect_packet]
        self._received = None
        self._asked.clear()
        self._has_sent = True
        self._awaits_ping_response = self._is_resumed = False
        self._timer_at = now + self._connect_timeout_s

    def closed(self) -> None:
        """The transport is gone. What was not acknowledged is kept for the next connection."""
        self._move(Input.CLOSED)
        self._outgoing.clear()
        self._timer_at = None
        self._is_resumed = False

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> int:
        """Send a message, now or when a connection and the window allow; returns its packet id.

        At QoS 0 the id is 0, and the message is sent now or `WrongState` raised. Raises
        `QueueFull`; `ValueError` for QoS 2, which AWS IoT Core does not speak either.
        """
        if qos == 0:
            self._publish_at_most_once(topic, payload)
            return 0
        if qos != 1:
            raise ValueError("QoS 2 is not supported")
        outstanding = self.outstanding
        if outstanding >= self._queue_max:
            raise QueueFull(f"{outstanding} messages wait for their acknowledgement")
        packet_id = self._next_packet_id()
        data = encode_publish(topic, payload, 1, packet_id)
        if self._is_resumed and outstanding < self._inflight_max:
            self._inflight[packet_id] = data
            self._outgoing.append(data)
            self._has_sent = True
        else:
            if self._waiting is None:
                self._waiting = OrderedDict()
            self._waiting[packet_id] = data
        return packet_id

    def subscribe(self, filters: Iterable[tuple[str, int]]) -> int:
        """Ask for topic filters, each with its QoS (0 or 1); returns the packet id."""
        wanted = tuple(filters)
        packet_id = self._ask(tuple(name for name, _ in wanted))
        self._send(encode(Subscribe(packet_id, wanted)))
        return packet_id

    def unsubscribe(self, filters: Iterable[str]) -> int:
        """Give topic filters up; returns the packet id."""
        packet_id = self._ask(names := tuple(filters))
        self._send(encode(Unsubscribe(packet_id, names)))
        return packet_id

    def resume(self) -> None:
        """Send again, with DUP, what was in flight when the last connection ended; then go on."""
        self._require_connected()
        if self._is_resumed:
            return
        self._is_resumed = True
        for data in self._inflight.values():
            self._send(as_duplicate(data))
        self._fill_window()

    def acknowledge(self, message: InboundMessage) -> None:
        """Send the PUBACK of a message of QoS 1; of QoS 0 there is none.

        PUBACKs leave in the order of receipt (MQTT-4.6.0-2), whatever the order of these calls:
        acknowledge every message in the end. For a message of an earlier connection nothing is
        sent: its packet id may be another's by now, and the broker delivers it again.
        """
        received, packet_id = self._received, message.packet_id
        if received is None or message.connection != self._connection or packet_id not in received:
            return
        received[packet_id] = True
        while received and received[packet_id := next(iter(received))]:
            del received[packet_id]
            self._outgoing.append(encode_puback(packet_id))
            self._has_sent = True

    def disconnect(self) -> None:
        """Say good-bye: the broker drops the will. Close the transport after the last byte."""
        self._move(Input.DISCONNECT_SENT)
        self._send(encode(Disconnect()))
        self._timer_at = None

    def receive_bytes(self, data: bytes) -> list[Event]:
        """What the broker's bytes mean; nothing when the connection is over."""
        events: list[Event] = []
        if self._is_over():
            return events
        try:
            packets: Iterable[Packet] = self._parser.receive_bytes(data)
            flaw = None
        except MalformedPacket as error:
            packets, flaw = error.packets, error
        for packet in packets:
            handler = _HANDLERS[self._state].get(type(packet))
            if handler is not None:
                handler(self, packet, events)
            elif not self._is_over():
                self._fail(
                    f"protocol error: {type(packet).__name__} in {self._state.value}", events
                )
        if flaw is not None and not self._is_over():
            self._fail(f"protocol error: {flaw}", events)
        return events

    def data_to_send(self) -> bytes:
        """All bytes that are due, once."""
        outgoing = self._outgoing
        if not outgoing:
            return b""
        data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
        outgoing.clear()
        return data

    def next_timer(self) -> float | None:
        """When `handle_timer` is due, on the clock that `connect` was given."""
        return self._timer_at

    def handle_timer(self, now: float) -> list[Event]:
        """Send a PINGREQ after silence of ours; fail after silence of the broker's."""
        events: list[Event] = []
        if self._timer_at is None or now < self._timer_at:
            return events
        if self._state is State.CONNECTING:
            self._fail(f"no CONNACK within {self._connect_timeout_s:g} s", events)
        elif self._awaits_ping_response:
            self._fail(f"no answer to a PINGREQ within {self._timer_period_s:g} s", events)
        else:
            if not self._has_sent:
                self._send(encode(PingReq()))
                self._awaits_ping_response = True
            self._has_sent = False
            self._timer_at = now + self._timer_period_s
        return events

    # ---- packets ----

    def _on_connack(self, packet: ConnAck, events: list[Event]) -> None:
        if packet.return_code:
            self._move(Input.REFUSED)
            self._timer_at = None
            reason = REFUSALS.get(packet.return_code, f"refused: code {packet.return_code}")
            events.append(ConnectionRefused(packet.return_code, reason))
            return
        self._move(Input.ACCEPTED)
        # The first period counts from `connect`.
        if self._timer_period_s and self._timer_at is not None:
            self._timer_at += self._timer_period_s - self._connect_timeout_s
        else:
            self._timer_at = None
        events.append(ConnectionAccepted(packet.session_present))

    def _on_publish(self, packet: Publish, events: list[Event]) -> None:
        if packet.qos == 2:
            self._fail("protocol error: a message of QoS 2, which was never asked for", events)
            return
        if packet.qos:
            if self._received is None:
                self._received = OrderedDict()
            self._received[packet.packet_id] = False
        events.append(
            InboundMessage(
                packet.topic,
                packet.payload,
                packet.qos,
                packet.packet_id,
                packet.duplicate,
                packet.retain,
                self._connection,
            )
        )

    def _on_puback(self, packet: PubAck, events: list[Event]) -> None:
        # One that was never sent, or was acknowledged before, changes nothing.
        packet_id = packet.packet_id
        if self._inflight.pop(packet_id, None) is None:
            return
        events.append(PublishAcknowledged(packet_id))
        if self._waiting:
            self._fill_window()

    def _on_suback(self, packet: SubAck, events: list[Event]) -> None:
        asked = self._asked.pop(packet.packet_id, None)
        if asked is None or len(asked) != len(packet.return_codes):
            self._fail("protocol error: a SUBACK that answers no SUBSCRIBE", events)
            return
        refused = tuple(
            name for name, code in zip(asked, packet.return_codes, strict=True) if code > 2
        )
        events.append(SubscriptionsAnswered(packet.packet_id, refused))

    def _on_unsuback(self, packet: UnsubAck, events: list[Event]) -> None:
        if self._asked.pop(packet.packet_id, None) is not None:
            events.append(UnsubscriptionAcknowledged(packet.packet_id))

    def _on_pingresp(self, packet: PingResp, events: list[Event]) -> None:
        self._awaits_ping_response = False

    # ---- helpers ----

    def _move(self, by: Input) -> None:
        found = TRANSITIONS[self._state].get(by)
        if found is None:
            raise WrongState(f"{by.value!r} while {self._state.value}")
        self._state = found

    def _is_over(self) -> bool:
        return self._state is State.ENDED or self._state is State.DISCONNECTED

    def _fail(self, reason: str, events: list[Event]) -> None:
        self._move(Input.FAILED)
        self._timer_at = None
        events.append(ConnectionFailed(reason))

    def _send(self, data: bytes) -> None:
        self._outgoing.append(data)
        self._has_sent = True

    def _publish_at_most_once(self, topic: str, payload: bytes) -> None:
        self._require_connected()
        self._send(encode_publish(topic, payload))

    def _require_connected(self) -> None:
        if self._state is not State.CONNECTED:
            raise WrongState(f"not while {self._state.value}")

    def _ask(self, filters: tuple[str, ...]) -> int:
        self._require_connected()
        packet_id = self._next_packet_id()
        self._asked[packet_id] = filters
        return packet_id

    def _next_packet_id(self) -> int:
        packet_id = self._last_packet_id % PACKET_ID_MAX + 1
        waiting = self._waiting or ()
        while packet_id in self._inflight or packet_id in waiting or packet_id in self._asked:
            packet_id = packet_id % PACKET_ID_MAX + 1
        self._last_packet_id = packet_id
        return packet_id

    def _fill_window(self) -> None:
        waiting, inflight = self._waiting, self._inflight
        while waiting and len(inflight) < self._inflight_max:
            packet_id, data = waiting.popitem(last=False)
            inflight[packet_id] = data
            self._send(data)


_HANDLERS: Final[dict[State, dict[type, _Handler]]] = {
    State.DISCONNECTED: {},
    State.CONNECTING: {ConnAck: ClientConnection._on_connack},
    State.CONNECTED: {
        Publish: ClientConnection._on_publish,
        PubAck: ClientConnection._on_puback,
        SubAck: ClientConnection._on_suback,
        UnsubAck: ClientConnection._on_unsuback,
        PingResp: ClientConnection._on_pingresp,
    },
    State.ENDED: {},
}
