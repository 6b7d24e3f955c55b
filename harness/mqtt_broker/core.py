"""What the broker does with packets, without I/O: sessions, policy, fan-out, flow control.

Nothing is retained, QoS is 0 or 1 (as on AWS IoT Core), and nothing that was acknowledged is
dropped: when a subscriber's queue is full, publishers to it are made to wait for their PUBACK.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Annotated, Literal, Protocol

import msgspec

from contracts.names import IllegalName, Principal, principal_of
from contracts.policy import Policy, policy_for
from contracts.topics import Topics, is_topic_filter
from harness.mqtt_broker.session import Copy, Message, Session, copy_of
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
    Will,
    encode,
    encode_puback,
)

_PING_RESPONSE = encode(PingResp())

Seen = Literal["connected", "disconnected", "refused"]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class BrokerLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of everything that a client can make grow."""

    # One packet; a larger one ends the connection.
    packet_bytes_max: Positive = 262_144
    # Filters of one session; more are refused in the SUBACK.
    subscriptions_max: Positive = 50
    # QoS 1 messages sent to one client and not acknowledged; there are 65,535 packet ids.
    in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 10_000
    # Messages and bytes waiting for one client; beyond either, its publishers wait.
    waiting_max: Positive = 100_000
    waiting_bytes_max: Positive = 64 * 1024 * 1024
    # Bytes of one waiting publisher that are read on; beyond them it is not read at all.
    held_back_bytes_max: Positive = 1_048_576
    # Seconds from the TCP connection to CONNECT, TLS included.
    connect_within_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    # Bytes handed to one connection that its client has not read; beyond it messages wait.
    write_buffer_bytes: Positive = 1_048_576
    # Connections at one time.
    connections_max: Positive = 20_000


class Connection(Protocol):
    """One client's connection, as the core sees it."""

    session: Session | None
    # Whether a gate made it stand still.
    is_held: bool

    def send(self, data: bytes) -> None:
        """Write bytes, joined with what else this turn of the loop writes."""

    def room(self) -> int:
        """How many bytes may be handed over now."""

    def end(self, reason: str) -> None:
        """Report it lost to the broker, for this reason; flush and close."""

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


class _Backlog:
    """What one publisher sent to queues that are full, in order."""

    __slots__ = ("packets", "size_bytes")

    def __init__(self) -> None:
        self.packets: deque[Publish] = deque()
        self.size_bytes = 0

    def put(self, packet: Publish) -> None:
        self.packets.append(packet)
        self.size_bytes += _kept_bytes(packet)

    def take(self) -> Publish:
        packet = self.packets.popleft()
        self.size_bytes -= _kept_bytes(packet)
        return packet


class Broker:
    """All sessions of one broker. `seen(identity, event, reason)` is told who came and went."""

    def __init__(
        self,
        topics: Topics,
        limits: BrokerLimits,
        seen: Callable[[str, Seen, str], None],
        steps: Steps | None = None,
    ) -> None:
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self._topics = topics
        self._seen = seen
        self._steps: Steps = steps or NoSteps()
        self._sessions: dict[str, Session] = {}
        self._subscriptions: Subscriptions[Session] = Subscriptions()
        # What waits for full queues, by publisher, and whose queues those are.
        self._held_back: dict[Connection, _Backlog] = {}
        self._full: set[Session] = set()
        self._is_releasing = self._has_room_been_found = False

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
        if packet.will and not _may_leave(packet.will, policy):
            return self._refuse(connection, packet, REFUSED_NOT_AUTHORIZED, "will beyond policy")
        self._let_in(connection, packet, principal, policy)
        return True

    def refuse(self, connection: Connection, packet: Connect, reason: str) -> None:
        """Let nobody in, for a reason that only the certificate knows."""
        self._refuse(connection, packet, REFUSED_NOT_AUTHORIZED, reason)

    def lost(self, connection: Connection, reason: str) -> None:
        """The connection is gone, or as good as gone; only the first call for it counts.

        A clean session goes with it, and its will is published (§3.1.2.5).
        """
        self._held_back.pop(connection, None)
        session = connection.session
        if session is None:
            return
        self._detach(session, connection, reason)
        if session.is_clean:
            self._forget(session)

    # ---- packets ----

    def receive(self, connection: Connection, packet: Packet) -> None:
        """Take one packet of a client that was let in; after its end nothing."""
        session = connection.session
        if session is None:
            return
        if isinstance(packet, Publish):
            self._receive_publish(connection, session, packet)
        elif isinstance(packet, PubAck):
            if session.acknowledge(packet.packet_id) and session.has_more:
                self._deliver(session)
        elif isinstance(packet, PingReq):
            connection.send(_PING_RESPONSE)
        elif isinstance(packet, Subscribe):
            self._subscribe(connection, session, packet)
        elif isinstance(packet, Unsubscribe):
            self._unsubscribe(connection, session, packet)
        elif isinstance(packet, Disconnect):
            session.will = None  # §3.14.4
            connection.end("client disconnected")
        else:
            self._violated(connection, f"{type(packet).__name__} may not come here")

    def process(self, connection: Connection, packet: Publish) -> None:
        """Distribute an allowed message and acknowledge it."""
        self.distribute(Message(packet.topic, packet.payload, packet.qos))
        if packet.qos and self._steps.acknowledges(self, connection, packet):
            connection.send(encode_puback(packet.packet_id))

    def distribute(self, message: Message) -> None:
        """Give one message to everybody who wants it.

        That they may read it was decided at SUBSCRIBE: a granted filter matches nothing else.
        """
        copies: list[Copy | None] = [None, None]
        for session, granted in self._subscriptions.match(message.topic):
            qos = granted if granted < message.qos else message.qos
            connection = session.connection
            # QoS 0 is for those who are there.
            if not qos and connection is None:
                continue
            copy = copies[qos] = copies[qos] or copy_of(message, qos)
            packet = None
            if connection is not None and connection.room() > 0:
                packet = session.send_at_once(copy)
            if packet is not None and connection is not None:
                connection.send(packet)
            else:
                session.put(copy)
                self._deliver(session)

    def announce(self, message: Message) -> None:
        """Distribute what the broker itself has to say. Nobody can be made to wait with it: it is
        left out, and counted, where a queue is full."""
        if self._is_full_for(Publish(message.topic, message.payload, message.qos)):
            self.counts["not_announced"] += 1
        else:
            self.distribute(message)

    def room_again(self, connection: Connection) -> None:
        """The client has read what filled its buffer, or may go on after a hold."""
        if connection.session is not None:
            self._deliver(connection.session)
        if connection in self._held_back:
            self._release(connection)

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
            self._take_over(old, old.connection)
        if old is not None and (packet.clean_session or old.is_clean):
            self._forget(old)
            old = None
        session = old or Session(principal, policy, self.limits.in_flight_max)
        self._sessions[principal.identity] = session
        session.is_clean = packet.clean_session
        session.will = packet.will
        session.connection = connection
        connection.session = session
        self._seen(principal.identity, "connected", "")
        connection.send(encode(ConnAck(old is not None, ACCEPTED)))
        session.repeat()
        self._deliver(session)

    def _take_over(self, session: Session, old: Connection) -> None:
        # §3.1.4: the second connection of a client ends its first.
        self._held_back.pop(old, None)
        self._detach(session, old, "taken over")
        old.end("taken over")

    def _detach(self, session: Session, connection: Connection, reason: str) -> None:
        connection.session = session.connection = None
        self._seen(session.identity, "disconnected", reason)
        will, session.will = session.will, None
        if will is not None:
            self.distribute(Message(will.topic, will.payload, will.qos))

    def _forget(self, session: Session) -> None:
        for topic_filter in session.filters:
            self._subscriptions.remove(topic_filter, session)
        self._sessions.pop(session.identity, None)
        if session in self._full:
            self._full.discard(session)
            self._release_publishers()

    def _violated(self, connection: Connection, reason: str) -> None:
        self.counts["violations"] += 1
        connection.end(reason)

    def _receive_publish(self, connection: Connection, session: Session, packet: Publish) -> None:
        if packet.qos > 1:
            # As on AWS IoT Core: there is no QoS 2.
            self._violated(connection, "QoS 2 is not offered")
        elif packet.retain:
            self._violated(connection, "nothing is retained here")
        elif not session.may_publish(packet.topic):
            self._violated(connection, f"may not publish to {packet.topic[:128]}")
        elif connection in self._held_back or self._is_full_for(packet):
            self._hold_back(connection, packet)
        elif self._steps.admit(self, connection, packet):
            self.process(connection, packet)

    # ---- back-pressure ----

    def _hold_back(self, connection: Connection, packet: Publish) -> None:
        """Keep a packet until there is room for it.

        The publisher is read on for a while: its PINGREQs want answers, and its PUBACKs may be
        just what makes room. Its own window of unacknowledged messages stops it soon.
        """
        self.counts["held_back"] += 1
        backlog = self._held_back.setdefault(connection, _Backlog())
        backlog.put(packet)
        if backlog.size_bytes > self.limits.held_back_bytes_max:
            connection.pause()

    def _is_full_for(self, packet: Publish) -> bool:
        is_full = False
        for session, qos in self._subscriptions.match(packet.topic):
            if (
                session.has_more
                and self._is_full(session)
                and (session.connection is not None or (qos and packet.qos))
            ):
                self._full.add(session)
                is_full = True
        return is_full

    def _is_full(self, session: Session) -> bool:
        limits = self.limits
        return (
            session.waiting >= limits.waiting_max
            or session.waiting_bytes >= limits.waiting_bytes_max
        )

    def _has_room(self, session: Session) -> bool:
        # At half and not just below the limit: publishers go on in batches.
        limits = self.limits
        return (
            session.waiting * 2 <= limits.waiting_max
            and session.waiting_bytes * 2 <= limits.waiting_bytes_max
        )

    def _release_publishers(self) -> None:
        """Take up again what waited for a queue to have room.

        Releasing fills and empties queues and so leads back here: then the outer call goes on.
        """
        self._has_room_been_found = True
        if self._is_releasing:
            return
        self._is_releasing = True
        try:
            while self._has_room_been_found:
                self._has_room_been_found = False
                for connection in list(self._held_back):
                    if connection in self._held_back:
                        self._release(connection)
        finally:
            self._is_releasing = False

    def _release(self, connection: Connection) -> None:
        backlog = self._held_back[connection]
        waiting = backlog.packets
        while waiting and not connection.is_held and not self._is_full_for(waiting[0]):
            packet = backlog.take()
            if self._steps.admit(self, connection, packet):
                self.process(connection, packet)
        if not waiting and self._held_back.pop(connection, None) is not None:
            connection.resume()

    # ---- subscriptions and delivery ----

    def _subscribe(self, connection: Connection, session: Session, packet: Subscribe) -> None:
        codes = tuple(self._grant(session, *wanted) for wanted in packet.filters)
        connection.send(encode(SubAck(packet.packet_id, codes)))

    def _grant(self, session: Session, topic_filter: str, qos: int) -> int:
        has_place = (
            topic_filter in session.filters or len(session.filters) < self.limits.subscriptions_max
        )
        if not (
            has_place
            and is_topic_filter(topic_filter)
            and session.policy.may_subscribe(topic_filter)
        ):
            self.counts["subscriptions_refused"] += 1
            return SUBSCRIPTION_REFUSED
        granted = min(qos, 1)
        session.filters[topic_filter] = granted
        self._subscriptions.add(topic_filter, session, granted)
        return granted

    def _unsubscribe(self, connection: Connection, session: Session, packet: Unsubscribe) -> None:
        for topic_filter in packet.filters:
            if session.filters.pop(topic_filter, None) is not None:
                self._subscriptions.remove(topic_filter, session)
        connection.send(encode(UnsubAck(packet.packet_id)))

    def _deliver(self, session: Session) -> None:
        connection = session.connection
        if connection is not None and (room := connection.room()) > 0:
            for packet in session.take_to_send(room):
                connection.send(packet)
        if session in self._full and self._has_room(session):
            self._full.discard(session)
            self._release_publishers()


def _may_leave(will: Will, policy: Policy) -> bool:
    return will.qos < 2 and not will.retain and policy.may_publish(will.topic)


def _kept_bytes(packet: Publish) -> int:
    return len(packet.payload) + len(packet.topic) + 200  # about what Python's objects take


def _principal(identity: str | None) -> Principal | None:
    try:
        return principal_of(identity) if identity else None
    except IllegalName:
        return None
