"""One client's session: its subscriptions, what waits for it, and what it has not acknowledged."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from contracts.names import Principal
from contracts.policy import Policy
from mqtt.packets import PACKET_ID_MAX, Will, as_duplicate, encode_publish, publish_head

if TYPE_CHECKING:  # the two know each other
    from harness.mqtt_broker.core import Connection

_WILDCARDS: Final = frozenset("+#")


class Message(NamedTuple):
    """One message on its way to subscribers."""

    topic: str
    payload: bytes
    qos: int


class Copy(NamedTuple):
    """What one subscriber gets of a message. At QoS 0 `begin` is the whole packet, at QoS 1 what
    comes before its packet id; all subscribers of the same QoS share it."""

    begin: bytes
    payload: bytes
    qos: int


def copy_of(message: Message, qos: int) -> Copy:
    """The message for subscribers that get it at `qos`."""
    topic, payload, _ = message
    if qos:
        return Copy(publish_head(topic, len(payload), 1), payload, 1)
    return Copy(encode_publish(topic, payload), payload, 0)


class Session:
    """What outlives a connection (MQTT 3.1.1 §3.1.2.4). Messages leave in the order they came.

    A message of QoS 1 is kept until its PUBACK: on a new connection all that are unacknowledged go
    again, with DUP, before anything new.
    """

    __slots__ = (
        "_allowed",
        "_allowed_form",
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
        # A service's have: one pattern for all of them. To make one costs what a TLS session does
        # that is resumed, so there is none of topics that are whole.
        wild = tuple(one for one in policy.publish if _WILDCARDS.intersection(one))
        self._allowed_form = _form_of(wild) if wild else _matches_nothing
        self.in_flight_max = in_flight_max
        self.is_clean = True
        self.filters: dict[str, int] = {}
        self.connection: Connection | None = None
        self.will: Will | None = None
        self._waiting: deque[Copy] = deque()
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
    def has_more(self) -> bool:
        """Whether anything is still to be sent on this connection."""
        return bool(self._waiting or self._to_repeat)

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
        if topic in self._allowed:
            return True
        form = self._allowed_form
        return self.policy.may_publish(topic) if form is None else form(topic) is not None

    def put(self, copy: Copy) -> None:
        """Queue one message."""
        self._waiting.append(copy)
        self._waiting_bytes += len(copy.payload)

    def send_at_once(self, copy: Copy) -> bytes | None:
        """The packet of a message that nothing goes before and the window has room for, else None:
        then it must be `put`."""
        if self._waiting or self._to_repeat:
            return None
        if copy.qos and len(self._in_flight) >= self.in_flight_max:
            return None
        return self._packet(copy)

    def take_to_send(self, bytes_max: int) -> list[bytes]:
        """PUBLISH packets that may go out now, as many as the window and `bytes_max` allow."""
        packets, size = self._take_repetitions(bytes_max) if self._to_repeat else ([], 0)
        while self._waiting and size < bytes_max:
            if self._waiting[0].qos and len(self._in_flight) >= self.in_flight_max:
                break
            copy = self._waiting.popleft()
            self._waiting_bytes -= len(copy.payload)
            packet = self._packet(copy)
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

    def _packet(self, copy: Copy) -> bytes:
        begin, payload, qos = copy
        if not qos:
            return begin
        packet_id = self._take_id()
        packet = b"".join((begin, packet_id.to_bytes(2, "big"), payload))
        self._in_flight[packet_id] = packet
        return packet

    def _take_id(self) -> int:
        while self._next_id in self._in_flight:
            self._next_id = self._next_id % PACKET_ID_MAX + 1
        taken = self._next_id
        self._next_id = taken % PACKET_ID_MAX + 1
        return taken


def _form_of(filters: tuple[str, ...]) -> Callable[[str], re.Match[str] | None] | None:
    """Matches the topics that the filters cover; None when only `contracts.policy` can say, which
    `#`, and a wildcard before `$` (MQTT 3.1.1 §4.7), leave to it."""
    if any("#" in one or one.startswith("+") for one in filters):
        return None
    forms = ("[^/]*".join(map(re.escape, one.split("+"))) for one in filters)
    return re.compile("|".join(forms), re.DOTALL).fullmatch


def _matches_nothing(_: str) -> None:
    return None
