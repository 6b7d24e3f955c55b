"""The client's side of DTLS: sessions to any number of peers, each made when it is first needed.

Peers stay the plain addresses of the link beneath. What is sent before a session stands waits, up
to a bound; a session that ended is made anew by the next datagram, from its ticket when it has one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

from lwm2m.transport.dtls.bindings import offer_session
from lwm2m.transport.dtls.certificates import is_key_of, read_certificate
from lwm2m.transport.dtls.channel import Channel
from lwm2m.transport.dtls.contexts import (
    ClientContext,
    set_verification_time,
    use_client_certificate,
)
from lwm2m.transport.dtls.credentials import PskCredentials, X509Credentials
from lwm2m.transport.dtls.endpoint import Attempt, DtlsEndpoint
from lwm2m.transport.dtls.errors import UnusableCredentials
from lwm2m.transport.dtls.events import HandshakeFailed, SessionClosed, SessionEstablished
from lwm2m.transport.dtls.failures import BAD_CERTIFICATE, CLOSE_NOTIFY
from lwm2m.transport.dtls.handshake import Handshake
from lwm2m.transport.dtls.openssl_handshake import OpensslHandshake
from lwm2m.transport.dtls.psk import PskClientHandshake, PskOffer
from lwm2m.transport.dtls.records import (
    APPLICATION_DATA,
    EPOCH_0,
    PLAINTEXT_BYTES_MAX,
    WARNING,
    is_one_data_record,
    split_records,
)
from lwm2m.transport.dtls.resumption import ticket_bytes
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.peers import PeerSecurity

Credentials = PskCredentials | X509Credentials
CredentialsOf = Callable[[Hashable], Credentials | None]
"""The credentials to use for a peer, asked before each handshake; None refuses to talk to it."""

# What a ClientHello has besides the ticket; all of it must fit one datagram, as a server does not
# put a ClientHello together before it has seen a cookie.
_CLIENT_HELLO_BYTES = 300
# One for PSK and one for each set of trust anchors and intermediate certificates.
_CONTEXTS_KEPT_MAX = 64


class ClientSession:
    """What is kept of one peer: its channel, or its handshake and what waits for it."""

    __slots__ = ("address", "attempt", "channel", "credentials", "queue", "ticket")

    def __init__(self, address: Hashable) -> None:
        self.address = address
        self.channel: Channel | None = None
        self.attempt: _ClientAttempt | None = None
        self.queue: list[bytes] | None = None
        self.ticket: bytes | None = None
        # Those that the ticket was got with: others must not use it.
        self.credentials: Credentials | None = None


class _ClientAttempt(Attempt):
    """A client's handshake under way and its credentials."""

    __slots__ = ("credentials", "offers_ticket", "session")

    def __init__(
        self, number: int, handshake: Handshake, session: ClientSession, credentials: Credentials
    ) -> None:
        super().__init__(number, handshake)
        self.session = session
        self.credentials = credentials
        self.offers_ticket = session.ticket is not None


class DtlsClient(DtlsEndpoint[_ClientAttempt, ClientSession]):
    """Feed it datagrams and time; take datagrams to send, what was received, and events.

    `random_bytes(n)` gives secrets. `unix_time_s` says at which time certificates are judged; None
    is the system's clock.
    """

    def __init__(
        self,
        credentials_of: CredentialsOf,
        random_bytes: Callable[[int], bytes],
        settings: DtlsSettings | None = None,
        unix_time_s: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(random_bytes, settings, unix_time_s)
        self._credentials_of = credentials_of
        self._contexts: OrderedDict[object, ClientContext] = OrderedDict()
        # What is offered with a pre-shared key, where no ticket is asked for along with it.
        self._psk_offer: PskOffer | None = None
        if not (self.settings.offers_resumption and self.settings.resumes_psk):
            self._psk_offer = PskOffer(self.settings)
        self._sessions: dict[Hashable, ClientSession] = {}
        self._under_way = 0
        # Peers whose handshake waits for a place.
        self._waiting: deque[ClientSession] = deque()

    @property
    def session_count(self) -> int:
        """Established sessions. Counted anew at each call."""
        return sum(session.channel is not None for session in self._sessions.values())

    @property
    def handshake_count(self) -> int:
        """Handshakes under way."""
        return self._under_way

    def is_established(self, peer: Hashable) -> bool:
        """Whether there is a session with the peer."""
        session = self._sessions.get(peer)
        return session is not None and session.channel is not None

    def connect(self, peer: Hashable, now: float) -> None:
        """Begin a handshake unless there is a session or a handshake."""
        session = self._session(peer)
        if session.channel is None and session.queue is None:
            session.queue = []
            self._begin(session, now)

    def send(self, peer: Hashable, data: bytes, now: float) -> None:
        """Send application data; makes a session first when there is none."""
        session = self._sessions.get(peer) or self._session(peer)
        if len(data) > PLAINTEXT_BYTES_MAX:
            self.counters.unsent_datagrams += 1
        elif session.channel is not None:
            self._outgoing.append((session.channel.seal(APPLICATION_DATA, data), peer))
        elif session.queue is None:
            session.queue = [data]
            self._begin(session, now)
        elif len(session.queue) < self.settings.queue_per_peer_max:
            session.queue.append(data)
        else:
            self.counters.unsent_datagrams += 1

    def receive_datagram(self, data: bytes, peer: Hashable, now: float) -> None:
        """Take one datagram. Nothing that comes raises or disturbs another session."""
        session = self._sessions.get(peer)
        if session is not None and session.channel is not None and is_one_data_record(data):
            content = session.channel.open(data)
            if content is not None:
                self._received.append((content, peer))
                return
        records = split_records(data)
        if not records:
            self.counters.refused_datagrams += 1
        elif session is None:
            self.counters.discarded_records += len(records)
        elif session.channel is not None:
            self._receive_records(session, records, now)
        elif session.attempt is not None:
            session.attempt.handshake.receive(records, now)
            self._settle(session.attempt, now)
        else:
            self.counters.discarded_records += len(records)

    def restart(self, peer: Hashable, now: float) -> None:
        """Forget a session that the server seems to have lost; the next datagram makes a new one.

        A handshake that is under way goes on.
        """
        session = self._sessions.get(peer)
        if session is not None and session.channel is not None:
            session.channel = None
            self._events.append(SessionClosed(peer, "restarted"))

    def close_peer(self, peer: Hashable, now: float) -> None:
        """End a peer's session with close_notify, drop its handshake, forget all of it."""
        session = self._sessions.pop(peer, None)
        if session is None:
            return
        if session.channel is not None:
            self._send_alert(session, WARNING, CLOSE_NOTIFY)
            self._events.append(SessionClosed(peer, "closed_here"))
        session.queue = None
        self._end_attempt(session)
        self._begin_waiting(now)

    def close(self, now: float) -> None:
        """End everything: `close_peer` for all."""
        self._waiting.clear()
        for peer in list(self._sessions):
            self.close_peer(peer, now)

    def _session(self, peer: Hashable) -> ClientSession:
        session = self._sessions.get(peer)
        if session is None:
            session = self._sessions[peer] = ClientSession(peer)
        return session

    def _begin(self, session: ClientSession, now: float) -> None:
        if self._under_way >= self.settings.handshakes_max:
            self._waiting.append(session)
            return
        credentials = self._credentials_of(session.address)
        if credentials is None:
            self._fail(session, "no_credentials")
            return
        if credentials != session.credentials:
            session.ticket, session.credentials = None, credentials
        try:
            handshake = self._prepare(session, credentials, now)
        except UnusableCredentials:
            self._fail(session, "unusable_credentials")
            return
        self._number += 1
        attempt = _ClientAttempt(self._number, handshake, session, credentials)
        session.attempt = attempt
        self._under_way += 1
        handshake.start(now)
        self._settle(attempt, now)

    def _prepare(
        self, session: ClientSession, credentials: Credentials, now: float
    ) -> PskClientHandshake | OpensslHandshake:
        if isinstance(credentials, PskCredentials) and self._psk_offer is not None:
            return PskClientHandshake(
                self._psk_offer, credentials, self.settings, self._random_bytes, now
            )
        kind = ClientContext.kind_of(credentials)
        context = self._contexts.get(kind)
        if context is None:
            if len(self._contexts) >= _CONTEXTS_KEPT_MAX:
                del self._contexts[next(iter(self._contexts))]
            context = self._contexts[kind] = ClientContext(credentials, self.settings)
        handshake = OpensslHandshake(context, self.settings, self._random_bytes, now)
        if isinstance(credentials, PskCredentials):
            handshake.psk = credentials
        else:
            use_client_certificate(handshake.ssl, credentials)
            if self._unix_time_s is not None:
                set_verification_time(handshake.ssl, self._unix_time_s())
        if session.ticket is not None:
            offer_session(handshake.ssl, session.ticket)
        return handshake

    def _settle(self, attempt: _ClientAttempt, now: float) -> None:
        session, handshake = attempt.session, attempt.handshake
        if handshake.state == "complete" and not _is_expected_server(attempt):
            handshake.refuse("certificate_not_pinned", BAD_CERTIFICATE)
        for datagram in handshake.take_datagrams():
            self._outgoing.append((datagram, session.address))
        if handshake.state == "under_way":
            self._watch(attempt)
        elif handshake.state == "complete":
            self._establish(session, attempt, now)
            self._begin_waiting(now)
        else:
            self._handle_failure(session, attempt, now)
            self._begin_waiting(now)

    def _establish(self, session: ClientSession, attempt: _ClientAttempt, now: float) -> None:
        handshake = attempt.handshake
        session.channel = handshake.channel
        session.ticket = self._ticket_of(handshake)
        held = handshake.held
        queue, session.queue = session.queue or [], None
        self._end_attempt(session)
        self.counters.established += 1
        self.counters.resumed += handshake.is_resumed
        self._events.append(
            SessionEstablished(session.address, _security_of(attempt), handshake.is_resumed)
        )
        if session.channel is not None:
            seal = session.channel.seal
            self._outgoing += [(seal(APPLICATION_DATA, data), session.address) for data in queue]
        if held:
            self._receive_records(session, held, now)

    def _ticket_of(self, handshake: Handshake) -> bytes | None:
        der = handshake.session_der()
        size = ticket_bytes(der) if der else 0
        fits = size + _CLIENT_HELLO_BYTES <= self.settings.datagram_bytes_max
        return der if size and fits else None

    def _handle_failure(self, session: ClientSession, attempt: _ClientAttempt, now: float) -> None:
        reason = attempt.handshake.failure or "protocol_error"
        self._end_attempt(session)
        session.ticket = None
        if attempt.offers_ticket and reason != "timeout":
            # Perhaps only the ticket was not welcome: once more without.
            self.counters.failed[reason] += 1
            self._begin(session, now)
        else:
            self._fail(session, reason)

    def _fail(self, session: ClientSession, reason: str) -> None:
        self.counters.failed[reason] += 1
        self.counters.unsent_datagrams += len(session.queue or ())
        session.queue = None
        self._events.append(HandshakeFailed(session.address, reason))

    def _end_attempt(self, session: ClientSession) -> None:
        attempt, session.attempt = session.attempt, None
        if attempt is not None:
            self._under_way -= 1
            self._unwatch(attempt)
            attempt.handshake.close()

    def _begin_waiting(self, now: float) -> None:
        while self._waiting and self._under_way < self.settings.handshakes_max:
            session = self._waiting.popleft()
            if self._sessions.get(session.address) is session and session.queue is not None:
                self._begin(session, now)

    def _receive_records(self, session: ClientSession, records: list[bytes], now: float) -> None:
        for record in records:
            channel = session.channel
            # One of those before may have ended the session.
            if channel is None or record[3:5] == EPOCH_0:
                self.counters.discarded_records += 1
            elif not self._receive_protected(session, channel, record, now):
                self._count_unopened(channel, record)

    def _deliver(self, session: ClientSession, content: bytes, now: float) -> None:
        self._received.append((content, session.address))

    def _forget(self, session: ClientSession, reason: str) -> None:
        session.channel = None
        if reason != "close_notify":
            # RFC 5246 §7.2.2: a session that ended by a fatal alert is not resumed.
            session.ticket = None
        self._events.append(SessionClosed(session.address, reason))


def _is_expected_server(attempt: _ClientAttempt) -> bool:
    credentials = attempt.credentials
    if isinstance(credentials, PskCredentials) or credentials.server_key is None:
        return True
    der = attempt.handshake.peer_certificate()
    certificate = None if der is None else read_certificate(der)
    return (
        der is not None
        and certificate is not None
        and is_key_of(credentials.server_key, der, certificate)
    )


def _security_of(attempt: _ClientAttempt) -> PeerSecurity:
    if isinstance(attempt.credentials, PskCredentials):
        return PeerSecurity("psk", attempt.credentials.identity)
    return PeerSecurity("x509", attempt.credentials.server_name)
