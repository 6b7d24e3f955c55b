"""The server's side of DTLS: one endpoint, any number of peers; no sockets, no clock.

Nothing is kept of an address before it has shown a cookie. A handshake beside a session leaves the
session as it is until it is complete (RFC 6347 §4.2.8).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Hashable

from lwm2m.transport.dtls.admission import Admission, Refusal, admit
from lwm2m.transport.dtls.channel import Channel
from lwm2m.transport.dtls.contexts import ServerContext
from lwm2m.transport.dtls.credentials import ServerCredentials
from lwm2m.transport.dtls.endpoint import Attempt, DtlsEndpoint
from lwm2m.transport.dtls.events import HandshakeFailed, SessionClosed, SessionEstablished
from lwm2m.transport.dtls.failures import CLOSE_NOTIFY
from lwm2m.transport.dtls.handshake import Handshake
from lwm2m.transport.dtls.hellos import (
    ClientHello,
    CookieJar,
    encode_hello_verify_request,
    parse_client_hello,
)
from lwm2m.transport.dtls.openssl_handshake import OpensslHandshake
from lwm2m.transport.dtls.psk import PskChooser, PskServerHandshake
from lwm2m.transport.dtls.records import (
    APPLICATION_DATA,
    EPOCH_0,
    HANDSHAKE,
    PLAINTEXT_BYTES_MAX,
    WARNING,
    is_one_data_record,
    split_records,
)
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.peers import SecurePeer, address_of

_RANDOM_KEPT_BYTES = 8
_ENDED_KEPT_MAX = 64


class ServerSession(SecurePeer):
    """An established session, as the peer that applications see."""

    __slots__ = ("address", "channel", "last_used", "started_by")

    address: Hashable
    channel: Channel
    last_used: float
    started_by: bytes


class _Pending(Attempt):
    """A server's handshake under way and the random of its ClientHello."""

    __slots__ = ("address", "random")

    def __init__(self, number: int, address: Hashable, random: bytes, handshake: Handshake) -> None:
        super().__init__(number, handshake)
        self.address = address
        self.random = random


class DtlsServer(DtlsEndpoint[_Pending, ServerSession]):
    """Feed it datagrams and time; take datagrams to send, what was received, and events.

    `random_bytes(n)` gives secrets. `unix_time_s` says at which time certificates are judged; None
    is the system's clock. Raises `UnusableCredentials`.
    """

    def __init__(
        self,
        credentials: ServerCredentials,
        random_bytes: Callable[[int], bytes],
        settings: DtlsSettings | None = None,
        unix_time_s: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(random_bytes, settings, unix_time_s)
        self._context = ServerContext(credentials, self.settings, random_bytes)
        self._chooser = PskChooser(self._context)
        self._admission = Admission(self._context, self.settings.sessions_max, unix_time_s)
        self._cookies = CookieJar(random_bytes, self.settings.cookie_lifetime_s)
        self._sessions: dict[Hashable, ServerSession] = {}
        # In the order in which they last got on, and of each host in the order in which they began.
        self._pending: OrderedDict[Hashable, _Pending] = OrderedDict()
        self._by_host: dict[str, dict[int, _Pending]] = {}
        # (when it was last used as far as is known, tie-break, session): looked at again when due.
        self._by_use: list[tuple[float, int, ServerSession]] = []

    @property
    def session_count(self) -> int:
        """Established sessions."""
        return len(self._sessions)

    @property
    def handshake_count(self) -> int:
        """Handshakes under way."""
        return len(self._pending)

    def receive_datagram(self, data: bytes, address: Hashable, now: float) -> None:
        """Take one datagram. Nothing that comes raises or disturbs another session."""
        session = self._sessions.get(address)
        if session is not None and is_one_data_record(data):
            content = session.channel.open(data)
            if content is not None:
                session.last_used = now
                self._received.append((content, session))
                return
        rest: list[bytes] = []
        records = split_records(data)
        if not records:
            self.counters.refused_datagrams += 1
        for record in records:
            if session is not None and self._sessions.get(address) is not session:
                session = None  # the record before has ended it
            if (
                session is None
                or record[3:5] == EPOCH_0
                or not self._receive_record(session, record, now)
            ):
                rest.append(record)
        if rest:
            self._receive_unprotected(rest, address, now)

    def send(self, peer: Hashable, data: bytes, now: float) -> None:
        """Send application data on a session; counted and dropped when it is gone or too long."""
        if (
            not isinstance(peer, ServerSession)
            or self._sessions.get(peer.address) is not peer
            or len(data) > PLAINTEXT_BYTES_MAX
        ):
            self.counters.unsent_datagrams += 1
            return
        peer.last_used = now
        self._outgoing.append((peer.channel.seal(APPLICATION_DATA, data), peer.address))

    def close_peer(self, peer: Hashable, now: float, reason: str = "closed_here") -> None:
        """End a session with close_notify; nothing happens when it is gone."""
        if isinstance(peer, ServerSession) and self._sessions.get(peer.address) is peer:
            self._send_alert(peer, WARNING, CLOSE_NOTIFY)
            self._forget(peer, reason)

    def close(self, now: float) -> None:
        """End all sessions with close_notify and drop all handshakes."""
        for session in list(self._sessions.values()):
            self.close_peer(session, now)
        for pending in list(self._pending.values()):
            self._drop(pending)

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do, or None."""
        due = super().next_timer()
        if not self._by_use:
            return due
        idle = self._by_use[0][0] + self.settings.session_idle_s
        return idle if due is None else min(idle, due)

    def handle_timer(self, now: float) -> None:
        """Repeat flights, give handshakes up, close sessions that were silent for long."""
        super().handle_timer(now)
        while (oldest := self._oldest_session()) is not None:
            if now < oldest.last_used + self.settings.session_idle_s:
                break
            self.close_peer(oldest, now, "idle")

    def _receive_record(self, session: ServerSession, record: bytes, now: float) -> bool:
        """Take a record of a session; False when it is none of its own: perhaps a handshake's."""
        if self._receive_protected(session, session.channel, record, now):
            return True
        if record[0] == HANDSHAKE or session.address in self._pending:
            return False
        self._count_unopened(session.channel, record)
        return True

    def _deliver(self, session: ServerSession, content: bytes, now: float) -> None:
        session.last_used = now
        self._received.append((content, session))

    def _receive_unprotected(self, records: list[bytes], address: Hashable, now: float) -> None:
        hello = parse_client_hello(records[0]) if records[0][3:5] == EPOCH_0 else None
        if hello is not None:
            self._receive_hello(records[0], hello, address, now)
            return
        pending = self._pending.get(address)
        if pending is None:
            self.counters.discarded_records += len(records)
            return
        before = pending.handshake.last_progress
        pending.handshake.receive(records, now)
        if pending.handshake.last_progress != before:
            self._pending[address] = self._pending.pop(address)
        self._settle(pending, now)

    def _receive_hello(
        self, record: bytes, hello: ClientHello, address: Hashable, now: float
    ) -> None:
        if not self._cookies.is_valid(address, hello, now):
            self.counters.cookies_sent += 1
            cookie = self._cookies.make(address, hello, now)
            self._outgoing.append((encode_hello_verify_request(hello, cookie), address))
            return
        pending = self._pending.get(address)
        if pending is not None:
            if pending.random == hello.random:
                # The client repeats it: our flight may be lost.
                pending.handshake.repeat(now)
                self._settle(pending, now)
                return
            self._drop(pending)
        session = self._sessions.get(address)
        if session is not None and hello.random.startswith(session.started_by):
            return  # a late copy of the one that this session began with
        if not self._has_room(address, now):
            self.counters.hellos_ignored += 1
            return
        self._begin(record, hello, address, now)

    def _has_room(self, address: Hashable, now: float) -> bool:
        if len(self._pending) < self.settings.handshakes_max:
            return True
        oldest = next(iter(self._pending.values()))
        if now - oldest.handshake.last_progress < self.settings.handshake_idle_s:
            # Its client is at work. Who is ignored comes again; who is thrown out half-way in
            # favour of a newcomer does not, and in a storm nobody would get through.
            crowd = max(self._by_host.values(), key=len)
            if len(crowd) <= len(self._by_host.get(address_of(address)[0], ())) + 1:
                return False
            # But no host keeps places that another has fewer of.
            oldest = next(iter(crowd.values()))
        self._fail(oldest, "crowded_out")
        return True

    def _begin(self, record: bytes, hello: ClientHello, address: Hashable, now: float) -> None:
        handshake: Handshake
        choice = self._chooser.choose(hello)
        if choice is not None:
            handshake = PskServerHandshake(self._context, self.settings, self._random_bytes, now)
            handshake.accept(record, hello, choice, now)
        else:
            handshake = OpensslHandshake(self._context, self.settings, self._random_bytes, now)
            self._admission.prepare(handshake)
            if not handshake.accept(record, hello, now):
                handshake.close()
                self.counters.discarded_records += 1
                return
        self._number += 1
        pending = self._pending[address] = _Pending(self._number, address, hello.random, handshake)
        self._by_host.setdefault(address_of(address)[0], {})[pending.number] = pending
        self._settle(pending, now)

    def _settle(self, pending: _Pending, now: float) -> None:
        handshake = pending.handshake
        admitted = admit(self._admission, handshake) if handshake.state == "complete" else None
        if isinstance(admitted, Refusal):
            handshake.refuse(admitted.reason, admitted.alert)
        for datagram in handshake.take_datagrams():
            self._outgoing.append((datagram, pending.address))
        if handshake.state == "under_way":
            self._watch(pending)
        elif admitted is None or isinstance(admitted, Refusal):
            self._fail(pending, handshake.failure or "protocol_error")
        else:
            host, port = address_of(pending.address)
            session = ServerSession(
                host,
                port,
                admitted.security,
                local=_local_of(pending.address),
                endpoint_name=admitted.endpoint_name,
            )
            self._establish(session, pending, now)

    def _establish(self, session: ServerSession, pending: _Pending, now: float) -> None:
        handshake = pending.handshake
        assert handshake.channel is not None, "a complete handshake has a channel"
        session.address = pending.address
        session.channel = handshake.channel
        session.last_used = now
        session.started_by = pending.random[:_RANDOM_KEPT_BYTES]
        replaced = self._sessions.get(pending.address)
        if replaced is not None:
            self._forget(replaced, "replaced")
        elif len(self._sessions) >= self.settings.sessions_max:
            oldest = self._oldest_session()
            if oldest is not None:
                self.close_peer(oldest, now, "crowded_out")
        self._note_use(now, pending.number, session)
        self._sessions[pending.address] = session
        self.counters.established += 1
        self.counters.resumed += handshake.is_resumed
        self._events.append(SessionEstablished(session, session.security, handshake.is_resumed))
        held = handshake.held
        self._drop(pending)
        for record in held:
            if self._sessions.get(session.address) is session:
                self._receive_record(session, record, now)

    def _note_use(self, now: float, number: int, session: ServerSession) -> None:
        if len(self._by_use) > 2 * len(self._sessions) + _ENDED_KEPT_MAX:
            # Sessions that ended would stay until they were the oldest.
            self._by_use = [
                entry for entry in self._by_use if self._sessions.get(entry[2].address) is entry[2]
            ]
            heapq.heapify(self._by_use)
        heapq.heappush(self._by_use, (now, number, session))

    def _oldest_session(self) -> ServerSession | None:
        """The session that was not used for longest."""
        while self._by_use:
            seen, number, session = self._by_use[0]
            if self._sessions.get(session.address) is not session:
                heapq.heappop(self._by_use)
            elif session.last_used > seen:
                heapq.heapreplace(self._by_use, (session.last_used, number, session))
            else:
                return session
        return None

    def _fail(self, pending: _Pending, reason: str) -> None:
        self.counters.failed[reason] += 1
        identity = self._admission.claimed_identity(pending.handshake)
        self._events.append(HandshakeFailed(pending.address, reason, identity))
        self._drop(pending)

    def _drop(self, pending: _Pending) -> None:
        self._unwatch(pending)
        if self._pending.get(pending.address) is pending:
            del self._pending[pending.address]
            host = address_of(pending.address)[0]
            del self._by_host[host][pending.number]
            if not self._by_host[host]:
                del self._by_host[host]
        pending.handshake.close()

    def _forget(self, session: ServerSession, reason: str) -> None:
        del self._sessions[session.address]
        self._events.append(SessionClosed(session, reason))


def _local_of(address: Hashable) -> str | None:
    """Our own address in the peers of a link with many: (local, host, port)."""
    if isinstance(address, tuple) and len(address) == 3 and isinstance(address[0], str):
        return address[0]
    return None
