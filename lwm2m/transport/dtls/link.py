"""DTLS over any datagram link, on the event loop: many datagrams a wake-up, one flush.

Both links are made first, then given the link beneath: `receive_datagrams` is what that one's
opener wants, `attach` takes what it opened. `open_dtls_server` and `open_dtls_client` do both.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from lwm2m.transport.dtls.client import CredentialsOf, DtlsClient
from lwm2m.transport.dtls.credentials import ServerCredentials
from lwm2m.transport.dtls.events import (
    DtlsCounters,
    DtlsEvent,
    HandshakeFailed,
    SessionClosed,
    SessionEstablished,
)
from lwm2m.transport.dtls.server import DtlsServer
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.link import Link, Receive
from lwm2m.transport.peers import SecurePeer
from lwm2m.transport.udp import UdpLink, open_udp

Beneath = TypeVar("Beneath", bound=Link)
Endpoint = TypeVar("Endpoint", DtlsServer, DtlsClient)
OpenLink = Callable[[Receive[Any]], Awaitable[Beneath]]


class _DtlsLink(ABC, Generic[Endpoint]):
    """What both sides' links do alike."""

    def __init__(
        self, endpoint: Endpoint, receive: Receive[Any], loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.endpoint: Endpoint = endpoint
        self._receive = receive
        self._loop = loop or asyncio.get_running_loop()
        self._link: Link | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def counters(self) -> DtlsCounters:
        """What the endpoint has seen."""
        return self.endpoint.counters

    @property
    def beneath(self) -> Link:
        """The link that carries the records. Raises `RuntimeError` before `attach`."""
        if self._link is None:
            raise RuntimeError("no link is attached")
        return self._link

    def attach(self, link: Link) -> None:
        """Carry the records over this link from now on."""
        self._link = link
        self._flush()

    def receive_datagrams(self, datagrams: Iterable[tuple[bytes, Hashable]]) -> None:
        """The callback of the link beneath."""
        now = self._loop.time()
        receive = self.endpoint.receive_datagram
        failure: Exception | None = None
        for data, address in datagrams:
            try:
                receive(data, address, now)
            except Exception as error:
                # The application's tables failed for one: the others' datagrams are taken all
                # the same, and what is to be sent leaves.
                failure = failure or error
        self._flush()
        if failure is not None:
            raise failure

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """See `Link.send`."""
        now = self._loop.time()
        send = self.endpoint.send
        for data, peer in datagrams:
            send(peer, data, now)
        self._flush()

    def close_peer(self, peer: Hashable) -> None:
        """End one peer's session with close_notify."""
        self.endpoint.close_peer(peer, self._loop.time())
        self._flush()

    def close(self) -> None:
        """End all sessions with close_notify and close the link beneath. Safe to call twice."""
        if self._link is not None:
            self.endpoint.close(self._loop.time())
            self._flush()
            self._link.close()
            self._link = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @abstractmethod
    def _tell(self, event: DtlsEvent) -> None:
        """Call the application back."""

    def _flush(self) -> None:
        if self._link is None:
            return
        datagrams = self.endpoint.datagrams_to_send()
        if datagrams:
            self._link.send(datagrams)
        self._set_timer()
        # Last, as they may call back into this link: who it is from comes before what it says.
        for event in self.endpoint.events():
            self._tell(event)
        received = self.endpoint.datagrams_received()
        if received:
            self._receive(received)

    def _set_timer(self) -> None:
        due = self.endpoint.next_timer()
        if due is None or (self._timer is not None and self._timer_at <= due):
            return  # firing early is harmless
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        try:
            self.endpoint.handle_timer(self._loop.time())
        finally:
            self._flush()


class DtlsServerLink(_DtlsLink[DtlsServer]):
    """A server's link: its peers are `SecurePeer`s, one per session.

    Callbacks: `established(peer)`; `closed(peer, reason)`; `refused(address, reason, identity)` for
    a handshake that failed, with the identity that a PSK client claimed.
    Raises `UnusableCredentials`.
    """

    def __init__(
        self,
        receive: Receive[SecurePeer],
        credentials: ServerCredentials,
        *,
        settings: DtlsSettings | None = None,
        established: Callable[[SecurePeer], None] | None = None,
        closed: Callable[[SecurePeer, str], None] | None = None,
        refused: Callable[[Hashable, str, str | None], None] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        unix_time_s: Callable[[], float] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        endpoint = DtlsServer(credentials, random_bytes, settings, unix_time_s)
        super().__init__(endpoint, receive, loop)
        self._established = established
        self._closed = closed
        self._refused = refused

    @classmethod
    async def over(
        cls,
        open_link: OpenLink[Any],
        receive: Receive[SecurePeer],
        credentials: ServerCredentials,
        **options: Any,
    ) -> DtlsServerLink:
        """A server's link over what `open_link(receive)` opens; `options` as for the class."""
        made = cls(receive, credentials, **options)
        made.attach(await open_link(made.receive_datagrams))
        return made

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound, over a `UdpLink`."""
        beneath = self.beneath
        if not isinstance(beneath, UdpLink):
            raise TypeError(f"{type(beneath).__name__} has no one address")
        return beneath.address

    def _tell(self, event: DtlsEvent) -> None:
        if isinstance(event, HandshakeFailed):
            if self._refused is not None:
                self._refused(event.address, event.reason, event.identity)
        elif not isinstance(event.peer, SecurePeer):
            raise TypeError("a server's peers are sessions")
        elif isinstance(event, SessionClosed):
            if self._closed is not None:
                self._closed(event.peer, event.reason)
        elif self._established is not None:
            self._established(event.peer)


class DtlsClientLink(_DtlsLink[DtlsClient]):
    """A client's link: its peers are those of the link beneath, a session is made for each.

    `credentials_of(peer)` is asked before each handshake. Callbacks: `established(peer,
    is_resumed)`; `closed(peer, reason)`, after which the next datagram makes a new session;
    `failed(peer, reason)`: a handshake came to nothing and what waited for it was dropped.
    """

    def __init__(
        self,
        receive: Receive[Any],
        credentials_of: CredentialsOf,
        *,
        failed: Callable[[Any, str], None] | None = None,
        established: Callable[[Any, bool], None] | None = None,
        closed: Callable[[Any, str], None] | None = None,
        settings: DtlsSettings | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        unix_time_s: Callable[[], float] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        endpoint = DtlsClient(credentials_of, random_bytes, settings, unix_time_s)
        super().__init__(endpoint, receive, loop)
        self._failed = failed
        self._established = established
        self._closed = closed

    @classmethod
    async def over(
        cls,
        open_link: OpenLink[Any],
        receive: Receive[Any],
        credentials_of: CredentialsOf,
        **options: Any,
    ) -> DtlsClientLink:
        """A client's link over what `open_link(receive)` opens; `options` as for the class."""
        made = cls(receive, credentials_of, **options)
        made.attach(await open_link(made.receive_datagrams))
        return made

    def connect(self, peer: Hashable) -> None:
        """Make a session now, before there is anything to send."""
        self.endpoint.connect(peer, self._loop.time())
        self._flush()

    def restart(self, peer: Hashable) -> None:
        """Give a session up that the server seems to have lost: requests are not answered.

        The next datagram makes a new one, from the ticket when there is one.
        """
        self.endpoint.restart(peer, self._loop.time())
        self._flush()

    def _tell(self, event: DtlsEvent) -> None:
        if isinstance(event, HandshakeFailed):
            if self._failed is not None:
                self._failed(event.address, event.reason)
        elif isinstance(event, SessionEstablished):
            if self._established is not None:
                self._established(event.peer, event.is_resumed)
        elif self._closed is not None:
            self._closed(event.peer, event.reason)


async def open_dtls_server(
    host: str,
    port: int,
    receive: Receive[SecurePeer],
    credentials: ServerCredentials,
    **options: Any,
) -> DtlsServerLink:
    """Open a DTLS server on a UDP socket; `options` as for `DtlsServerLink`.

    `receive` gets lists of (datagram, `SecurePeer`). Raises `OSError` when the address cannot be
    bound, `UnusableCredentials`.
    """

    async def open_link(receive_datagrams: Receive[Any]) -> UdpLink:
        return await open_udp(host, port, receive_datagrams)

    return await DtlsServerLink.over(open_link, receive, credentials, **options)
