"""Joins a `ReliableEndpoint` with sockets and a loop: connections are made, bounded and ended."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Hashable
from typing import cast

import msgspec

from lwm2m.coap.events import Event
from lwm2m.coap.requests import Request, Response
from lwm2m.transport.peers import NOSEC, PeerSecurity
from lwm2m.transport.reliable.connection import ReliablePeer
from lwm2m.transport.reliable.endpoint import ReliableEndpoint
from lwm2m.transport.reliable.tls import TlsFiles, TlsPipe, certificate_identity

BindName = Callable[[str], str | None]
"""The endpoint name that a certificate's identity is bound to; None binds none."""

Turn = Callable[[], None]

TellPeer = Callable[[ReliablePeer], None]


class ConnectionLimits(msgspec.Struct, frozen=True):
    """How much strangers may hold. All own choices; times are seconds."""

    connections_max: int = 20_000
    """Connections of a server; one more is closed at once."""
    half_open_max: int = 1_000
    """Of these, how many may be without TLS session or CSM; one more is closed at once."""
    opening_s: float = 10.0
    """Until TLS session and CSM are there; for a client, the TCP connection too."""
    unsent_bytes_max: int = 1024 * 1024
    """What a peer may leave unread of what is written to it before it is cut off."""


class TcpDriver:
    """Feeds a `ReliableEndpoint`, and writes what it has to write.

    `turn` is called after something came or was due: it takes `events()`. Then `flush` writes; by
    itself at the end of the loop's turn, unless `flushes_itself` is False: then whoever owns it
    calls `flush` when what the turn decided may leave. `established` and `closed` tell that a
    connection is open (its CSM came) and that one is gone, before the turn that follows.
    """

    def __init__(
        self,
        endpoint: ReliableEndpoint,
        turn: Turn,
        *,
        limits: ConnectionLimits | None = None,
        flushes_itself: bool = True,
        established: TellPeer | None = None,
        closed: TellPeer | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._established = established
        self._closed = closed
        self.endpoint = endpoint
        self.limits = limits or ConnectionLimits()
        self.refused = 0
        self._turn = turn
        self.loop = loop or asyncio.get_running_loop()
        self._flushes_itself = flushes_itself
        self._flush_scheduled = False
        self._behind_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._protocols: dict[ReliablePeer, TcpProtocol] = {}
        self._half_open: set[TcpProtocol] = set()
        self._is_closed = False

    # ---- what a user of the endpoint calls ----

    def now(self) -> float:
        """The time that the endpoint lives in: the loop's, in seconds."""
        return self.loop.time()

    def send_request(self, peer: Hashable, request: Request, now: float | None = None) -> int:
        """See `ReliableEndpoint.send_request`."""
        handle = self.endpoint.send_request(peer, request, self._at(now))
        self.flush_soon()
        return handle

    def respond(self, exchange: int, response: Response, now: float | None = None) -> None:
        """See `CoapEndpoint.respond`."""
        self.endpoint.respond(exchange, response, self._at(now))
        self.flush_soon()

    def notify(
        self,
        exchange: int,
        response: Response,
        now: float | None = None,
        *,
        confirmable: bool = False,
    ) -> None:
        """See `CoapEndpoint.notify`."""
        self.endpoint.notify(exchange, response, self._at(now), confirmable=confirmable)
        self.flush_soon()

    def cancel(self, exchange: int, now: float | None = None) -> None:
        """See `CoapEndpoint.cancel`."""
        self.endpoint.cancel(exchange, self._at(now))
        self.flush_soon()

    def end_observation(self, exchange: int, now: float | None = None) -> int:
        """See `CoapEndpoint.end_observation`."""
        handle = self.endpoint.end_observation(exchange, self._at(now))
        self.flush_soon()
        return handle

    def events(self) -> list[Event]:
        """See `CoapEndpoint.events`."""
        return self.endpoint.events()

    def release(self, peer: ReliablePeer) -> None:
        """End one connection in order."""
        self.endpoint.release(peer, self.now())
        self.flush_soon()

    def flush_soon(self) -> None:
        """Write what there is, and set the timer, at the end of this turn of the loop."""
        if self._flushes_itself and not self._flush_scheduled and not self._is_closed:
            self._flush_scheduled = True
            self.loop.call_soon(self._flush_and_tell)

    def flush(self) -> None:
        """Write what the endpoint has, and close what it is done with."""
        for peer, data in self.endpoint.take_output():
            self._protocols[peer].write(data)
        for peer in self.endpoint.take_closing():
            protocol = self._protocols.get(peer)
            if protocol is not None:
                protocol.close()
        for peer in self.endpoint.take_slowed():
            protocol = self._protocols.get(peer)
            if protocol is not None:
                protocol.read_while(self.endpoint.wants_bytes(peer))
        self._read_behind_soon()
        self._set_timer()

    def close(self) -> None:
        """Cut all connections. Nothing is told to peers: `release` does."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for protocol in (*self._half_open, *self._protocols.values()):
            protocol.cut()

    @property
    def half_open(self) -> int:
        """Connections without TLS session or CSM."""
        return len(self._half_open)

    # ---- what protocols call ----

    def admit(self, protocol: TcpProtocol) -> bool:
        """Whether there is room for one more accepted connection."""
        limits = self.limits
        is_full = (
            len(self._half_open) >= limits.half_open_max
            or len(self._protocols) + len(self._half_open) >= limits.connections_max
        )
        if is_full or self._is_closed:
            self.refused += 1
            return False
        self._half_open.add(protocol)
        return True

    def connected(self, protocol: TcpProtocol, peer: ReliablePeer) -> None:
        """The way to a peer is open: our CSM goes out."""
        self._protocols[peer] = protocol
        self.endpoint.connect(peer, self.now())
        self.flush_soon()
        if not self._flushes_itself:
            self._turn()

    def received(self, peer: ReliablePeer, protocol: TcpProtocol, data: bytes) -> None:
        """Plain bytes came."""
        self.endpoint.receive_bytes(peer, data, self.now())
        if self.endpoint.is_behind:
            # At once: within this turn of the loop more would be read else.
            protocol.read_while(self.endpoint.wants_bytes(peer))
            self._read_behind_soon()
        if self.endpoint.is_open(peer):
            is_new = protocol in self._half_open
            self._half_open.discard(protocol)
            protocol.opened()
            if is_new and self._established is not None:
                self._established(peer)
        self.flush_soon()
        self._turn()

    def writable(self, peer: ReliablePeer, is_writable: bool) -> None:
        """The kernel takes bytes again, or no more."""
        self.endpoint.set_writable(peer, is_writable)
        self.flush_soon()
        if not self._flushes_itself:
            self._turn()

    def lost(self, protocol: TcpProtocol, peer: ReliablePeer | None, detail: str) -> None:
        """A connection is gone."""
        self._half_open.discard(protocol)
        if peer is None or self._protocols.pop(peer, None) is None:
            return
        self.endpoint.disconnect(peer, self.now(), detail)
        if self._closed is not None and not self._is_closed:
            self._closed(peer)
        self.flush_soon()
        if not self._is_closed:
            self._turn()

    # ---- inside ----

    def _read_behind_soon(self) -> None:
        if self.endpoint.is_behind and not self._behind_scheduled and not self._is_closed:
            self._behind_scheduled = True
            self.loop.call_soon(self._read_behind)

    def _read_behind(self) -> None:
        # One connection's share a turn of the loop: sockets and timers come between.
        self._behind_scheduled = False
        if self._is_closed:
            return
        self.endpoint.read_behind(self.now())
        self._read_behind_soon()
        self.flush_soon()
        self._turn()

    def _at(self, now: float | None) -> float:
        return self.loop.time() if now is None else now

    def _flush_and_tell(self) -> None:
        self._flush_scheduled = False
        self.flush()
        # What the user's own calls caused, such as a cancelled exchange.
        self._turn()

    def _set_timer(self) -> None:
        due = self.endpoint.next_timer()
        if due is None or (self._timer is not None and self._timer_at <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self.loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.endpoint.handle_timer(self.now())
        self.flush_soon()
        self._turn()
        self._set_timer()


class TcpProtocol(asyncio.Protocol):
    """One connection: TLS if there is any, then the endpoint."""

    def __init__(
        self,
        driver: TcpDriver,
        make_tls: Callable[[], TlsPipe] | None,
        bind_name: BindName | None,
        *,
        is_accepted: bool,
    ) -> None:
        self._driver = driver
        self._is_accepted = is_accepted
        self._tls = make_tls() if make_tls is not None else None
        self._bind_name = bind_name
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._peer: ReliablePeer | None = None
        self._is_reading = True
        # A client waits for this.
        self.ready: asyncio.Future[ReliablePeer] = driver.loop.create_future()

    # ---- asyncio ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the TCP connection is there."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = found = cast(asyncio.Transport, transport)
        if self._is_accepted and not self._driver.admit(self):
            found.abort()
            return
        limits = self._driver.limits
        self._deadline = self._driver.loop.call_later(limits.opening_s, self.cut)
        found.set_write_buffer_limits(high=limits.unsent_bytes_max // 4)
        if self._tls is None:
            self._connect(NOSEC, None)
        else:
            self._tls.start()
            self._write_ciphertext()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        if self._tls is not None:
            opened = self._open(self._tls, data)
            if opened is None:
                return
            data = opened
        if self._peer is not None and data:
            self._driver.received(self._peer, self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the connection ended while it was opened"))
            # A server has nobody who asks.
            self.ready.exception()
        detail = "the connection is closed" if exc is None else f"the connection is lost: {exc}"
        self._driver.lost(self, self._peer, detail)

    def pause_writing(self) -> None:
        """asyncio: the peer does not read fast enough."""
        if self._peer is not None:
            self._driver.writable(self._peer, False)

    def resume_writing(self) -> None:
        """asyncio: it has caught up."""
        if self._peer is not None:
            self._driver.writable(self._peer, True)

    # ---- the driver ----

    def opened(self) -> None:
        """The peer's CSM came."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if not self.ready.done():
            assert self._peer is not None
            self.ready.set_result(self._peer)

    def write(self, data: bytes) -> None:
        """Write plain bytes; a peer that leaves too much unread is cut off."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._tls is None:
            transport.write(data)
        else:
            try:
                self._tls.write(data)
            except ssl.SSLError:
                # The peer has ended the session; the socket follows.
                return
            self._write_ciphertext()
        if transport.get_write_buffer_size() > self._driver.limits.unsent_bytes_max:
            self.cut()

    def read_while(self, wanted: bool) -> None:
        """Read on, or leave what comes to the kernel, and so to the peer."""
        transport = self._transport
        if transport is None or transport.is_closing() or wanted == self._is_reading:
            return
        self._is_reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def close(self) -> None:
        """Close once what is written has left."""
        if self._transport is not None and not self._transport.is_closing():
            if self._tls is not None:
                self._tls.close()
                self._write_ciphertext()
            self._transport.close()

    def cut(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # ---- inside ----

    def _open(self, tls: TlsPipe, data: bytes) -> bytes | None:
        was_established = tls.is_established
        try:
            opened = tls.receive(data)
        except ssl.SSLError:
            # An alert says why, if there is one to send.
            self._write_ciphertext()
            if self._transport is not None:
                self._transport.close()
            return None
        self._write_ciphertext()
        if tls.is_established and not was_established:
            self._connect(*self._who(tls))
        return opened

    def _who(self, tls: TlsPipe) -> tuple[PeerSecurity, str | None]:
        certificate = tls.peer_certificate()
        if certificate is None:
            return NOSEC, None
        identity = certificate_identity(certificate)
        bound = None
        if identity is not None and self._bind_name is not None:
            bound = self._bind_name(identity)
        return PeerSecurity("x509", identity), bound

    def _write_ciphertext(self) -> None:
        assert self._tls is not None
        if self._transport is not None:
            self._transport.write(self._tls.take())

    def _connect(self, security: PeerSecurity, endpoint_name: str | None) -> None:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("peername")[:2]
        local = self._transport.get_extra_info("sockname")[0]
        peer = ReliablePeer(host, port, security, local=local, endpoint_name=endpoint_name)
        self._peer = peer
        self._driver.connected(self, peer)


class TcpServer:
    """A listening socket; connections outlive it."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Accept no more."""
        self._server.close()


async def open_tcp_server(
    host: str,
    port: int,
    driver: TcpDriver,
    *,
    tls: TlsFiles | None = None,
    bind_name: BindName | None = str,
) -> TcpServer:
    """Listen on `host`:`port` (0 takes a free one), for TLS when there are files for it.

    `bind_name` says which endpoint a client's certificate stands for: by default the one that it
    names. Raises `OSError` when the address cannot be bound, `OSError` or `ssl.SSLError` for files
    that cannot be used.
    """
    make_tls = None
    if tls is not None:
        context = tls.server_context()
        make_tls = lambda: TlsPipe(context, server_side=True)  # noqa: E731 # a name for a thunk
    server = await driver.loop.create_server(
        lambda: TcpProtocol(driver, make_tls, bind_name, is_accepted=True), host, port
    )
    return TcpServer(server)


async def open_tcp_client(
    host: str,
    port: int,
    driver: TcpDriver,
    *,
    tls: TlsFiles | None = None,
    local_host: str | None = None,
) -> ReliablePeer:
    """Connect to `coap+tcp://host:port`, or with `tls` to `coaps+tcp://`; until the CSM is there.

    The peer that comes back is of use until its connection ends; then this is called again, as
    often and as soon as the caller decides. Raises `OSError` (also `ConnectionError` and
    `TimeoutError`) when there is no connection, or none that TLS trusts.
    """
    make_tls = None
    if tls is not None:
        context, name = tls.client_context(), tls.server_name
        make_tls = lambda: TlsPipe(  # noqa: E731 # likewise
            context, server_side=False, server_name=name
        )
    loop = driver.loop
    async with asyncio.timeout(driver.limits.opening_s):
        _, protocol = await loop.create_connection(
            lambda: TcpProtocol(driver, make_tls, None, is_accepted=False),
            host,
            port,
            local_addr=None if local_host is None else (local_host, 0),
            family=socket.AF_UNSPEC,
        )
        try:
            return await protocol.ready
        except BaseException:
            protocol.cut()
            raise
