"""What the broker does with packets, without I/O: sessions, policy, fan-out, flow control.

A connection is anything with `send`, `end`, `pause` and `resume`. Nothing is retained, QoS is 0 or
1 (as on AWS IoT Core), and nothing that was acknowledged is dropped: when a subscriber's queue is
full, publishers to it are made to wait, their PUBACK included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec

from contracts.names import IllegalName, Principal, principal_of
from contracts.policy import Policy, policy_for
from contracts.topics import Topics
from harness.mqtt_broker.session import Message, Session
from harness.mqtt_broker.subscriptions import Subscriptions
from mqtt.packets import (
    ACCEPTED,
    PROTOCOL_LEVEL,
    PROTOCOL_NAME,
    REFUSED_NOT_AUTHORIZED,
    REFUSED_PROTOCOL_LEVEL,
    SUBSCRIPTION_REFUSED,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    encode,
    encode_puback,
)

_PING_RESPONSE = encode(PingResp())


class BrokerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of everything that a client can make grow."""

    # One packet; a larger one ends the connection.
    packet_bytes_max: int = 262_144
    # Filters of one session; more are refused in the SUBACK.
    subscriptions_max: int = 50
    # QoS 1 messages sent to one client and not acknowledged.
    in_flight_max: int = 10_000
    # Messages and bytes waiting for one client; beyond either, its publishers wait.
    waiting_max: int = 100_000
    waiting_bytes_max: int = 64 * 1024 * 1024
    # Seconds from the TCP connection to CONNECT, TLS included.
    connect_within_s: float = 10.0
    # Bytes handed to one connection that its client has not read; beyond it messages wait.
    write_buffer_bytes: int = 1_048_576
    # Connections at one time.
    connections_max: int = 20_000


class Connection(Protocol):
    """One client's connection, as the core sees it."""

    session: Session | None

    def send(self, data: bytes) -> None:
        """Write bytes, joined with what else this turn of the loop writes."""

    def room(self) -> int:
        """How many bytes may be handed over now."""

    def end(self, reason: str) -> None:
        """Flush and close; `reason` is told in the journal."""

    def pause(self) -> None:
        """Read no more from this client."""

    def resume(self) -> None:
        """Read again."""

    def hold(self) -> None:
        """Stand still: read nothing, keep what is to be written."""

    def unhold(self) -> None:
        """Go on after `hold`."""


class Steps(Protocol):
    """Where a gate or a planted defect may step in; `NoSteps` does nothing."""

    def admit(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """Whether the broker processes this PUBLISH now; False: somebody has taken it over."""

    def acknowledges(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """Whether a processed PUBLISH gets its PUBACK."""


class NoSteps:
    """An honest broker."""

    def admit(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        return True

    def acknowledges(self, broker: Broker, connection: Connection, publish: Publish) -> bool:
        """See `Steps`."""
        return True


class Broker:
    """All sessions of one broker. `seen(identity, event, reason)` is told who came and went."""

    def __init__(
        self,
        topics: Topics,
        limits: BrokerLimits,
        seen: Callable[[str, str, str], None],
        steps: Steps | None = None,
    ) -> None:
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self._topics = topics
        self._seen = seen
        self._steps: Steps = steps or NoSteps()
        self._sessions: dict[str, Session] = {}
        self._subscriptions: Subscriptions[Session] = Subscriptions()
        self._held_back: dict[Connection, list[Publish]] = {}

    # ---- coming and going ----

    def connect(self, connection: Connection, packet: Connect, identity: str | None) -> bool:
        """Let a client in whose certificate proves `identity`, or refuse it.

        All is decided before any session is touched: whoever is refused disturbs nobody.
        """
        if packet.protocol_name != PROTOCOL_NAME or packet.protocol_level != PROTOCOL_LEVEL:
            return self._refuse(connection, packet, REFUSED_PROTOCOL_LEVEL, "another protocol")
        principal = _principal(identity)
        if principal is None:
            return self._refuse(connection, packet, REFUSED_NOT_AUTHORIZED, "no known identity")
        if packet.client_id != principal.identity:
            return self._refuse(
                connection, packet, REFUSED_NOT_AUTHORIZED, "client id is not the certificate's"
            )
        policy = policy_for(principal, self._topics)
        if packet.will and not policy.may_publish(packet.will.topic):
            return self._refuse(connection, packet, REFUSED_NOT_AUTHORIZED, "will beyond policy")
        self._let_in(connection, packet, principal, policy)
        return True

    def lost(self, connection: Connection, reason: str) -> None:
        """The connection is gone. A clean session goes with it."""
        self._held_back.pop(connection, None)
        session = connection.session
        connection.session = None
        if session is None or session.connection is not connection:
            return
        session.connection = None
        self._seen(session.identity, "disconnected", reason)
        if session.is_clean:
            self._forget(session)

    def publish_will(self, session: Session, packet: Connect) -> None:
        """Publish the will of a client that went without DISCONNECT (§3.1.2.5)."""
        will = packet.will
        if will and session.policy.may_publish(will.topic):
            self.distribute(Message(will.topic, will.payload, min(will.qos, 1)))

    # ---- packets ----

    def receive(self, connection: Connection, packet: Packet) -> None:
        """Take one packet of a client that was let in."""
        session = connection.session
        assert session is not None
        if isinstance(packet, Publish):
            self._receive_publish(connection, session, packet)
        elif isinstance(packet, PubAck):
            if session.acknowledge(packet.packet_id):
                self._deliver(session)
        elif isinstance(packet, PingReq):
            connection.send(_PING_RESPONSE)
        elif isinstance(packet, Subscribe):
            self._subscribe(connection, session, packet)
        elif isinstance(packet, Unsubscribe):
            for topic_filter in packet.filters:
                session.filters.pop(topic_filter, None)
                self._subscriptions.remove(topic_filter, session)
            connection.send(encode(UnsubAck(packet.packet_id)))
        elif isinstance(packet, Disconnect):
            connection.end("client disconnected")
        else:
            self._violated(connection, f"{type(packet).__name__} may not come here")

    def distribute(self, message: Message) -> None:
        """Give one message to everybody who wants it and may read it."""
        for session, qos in self._subscriptions.match(message.topic):
            if session.connection is None and (session.is_clean or not qos):
                continue
            session.put(message if qos >= message.qos else message._replace(qos=qos))
            self._deliver(session)

    def room_again(self, connection: Connection) -> None:
        """The client has read what filled its buffer."""
        if connection.session is not None:
            self._deliver(connection.session)

    # ---- inside ----

    def _refuse(self, connection: Connection, packet: Connect, code: int, reason: str) -> bool:
        self.counts["refused"] += 1
        self._seen(packet.client_id[:128], "refused", reason)
        connection.send(encode(ConnAck(session_present=False, return_code=code)))
        connection.end(reason)
        return False

    def _let_in(
        self, connection: Connection, packet: Connect, principal: Principal, policy: Policy
    ) -> None:
        old = self._sessions.get(principal.identity)
        if old is not None and old.connection is not None:
            self._take_over(old)
        if old is not None and (packet.clean_session or old.is_clean):
            self._forget(old)
            old = None
        session = old or Session(principal, policy, self.limits.in_flight_max)
        self._sessions[principal.identity] = session
        session.is_clean = packet.clean_session
        session.connection = connection
        connection.session = session
        self._seen(principal.identity, "connected", "")
        connection.send(encode(ConnAck(old is not None, ACCEPTED)))
        for repeated in session.packets_to_repeat():
            connection.send(repeated)
        self._deliver(session)

    def _take_over(self, session: Session) -> None:
        # §3.1.4: the second connection of a client ends its first.
        old: Connection = session.connection  # type: ignore[assignment]  # only we set it
        session.connection = None
        old.session = None
        self._held_back.pop(old, None)
        self._seen(session.identity, "disconnected", "taken over")
        old.end("taken over")

    def _forget(self, session: Session) -> None:
        for topic_filter in session.filters:
            self._subscriptions.remove(topic_filter, session)
        self._sessions.pop(session.identity, None)
        self._release_publishers()

    def _violated(self, connection: Connection, reason: str) -> None:
        self.counts["violations"] += 1
        connection.end(reason)

    def _receive_publish(self, connection: Connection, session: Session, packet: Publish) -> None:
        held = self._held_back.get(connection)
        if held is not None:
            held.append(packet)
            return
        if packet.qos > 1:
            # As on AWS IoT Core: there is no QoS 2.
            self._violated(connection, "QoS 2 is not offered")
        elif packet.retain and packet.payload:
            self._violated(connection, "nothing is retained here")
        elif not session.policy.may_publish(packet.topic):
            self._violated(connection, f"may not publish to {packet.topic[:128]}")
        elif self._is_full_for(packet.topic):
            self.counts["held_back"] += 1
            self._held_back[connection] = [packet]
            connection.pause()
        elif self._steps.admit(self, connection, packet):
            self.process(connection, packet)

    def process(self, connection: Connection, packet: Publish) -> None:
        """Distribute an allowed message and acknowledge it."""
        self.distribute(Message(packet.topic, packet.payload, packet.qos))
        if packet.qos and self._steps.acknowledges(self, connection, packet):
            connection.send(encode_puback(packet.packet_id))

    def _is_full_for(self, topic: str) -> bool:
        limits = self.limits
        return any(
            session.waiting >= limits.waiting_max
            or session.waiting_bytes >= limits.waiting_bytes_max
            for session, _ in self._subscriptions.match(topic)
        )

    def _release_publishers(self) -> None:
        """Take up again what waited for a queue to have room."""
        waiting, self._held_back = self._held_back, {}
        for connection, packets in waiting.items():
            session = connection.session
            if session is None:
                continue
            connection.resume()
            for packet in packets:
                self._receive_publish(connection, session, packet)

    def _subscribe(self, connection: Connection, session: Session, packet: Subscribe) -> None:
        codes = tuple(self._grant(session, *wanted) for wanted in packet.filters)
        connection.send(encode(SubAck(packet.packet_id, codes)))

    def _grant(self, session: Session, topic_filter: str, qos: int) -> int:
        known = topic_filter in session.filters
        if not session.policy.may_subscribe(topic_filter) or (
            not known and len(session.filters) >= self.limits.subscriptions_max
        ):
            self.counts["subscriptions_refused"] += 1
            return SUBSCRIPTION_REFUSED
        granted = min(qos, 1)
        session.filters[topic_filter] = granted
        self._subscriptions.add(topic_filter, session, granted)
        return granted

    def _deliver(self, session: Session) -> None:
        connection: Connection | None = session.connection  # type: ignore[assignment]
        if connection is not None:
            room = connection.room()
            if room > 0:
                for packet in session.take_to_send(room):
                    connection.send(packet)
        if self._held_back and session.waiting * 2 < self.limits.waiting_max:
            self._release_publishers()


def _principal(identity: str | None) -> Principal | None:
    try:
        return principal_of(identity) if identity else None
    except IllegalName:
        return None
