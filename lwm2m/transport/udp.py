"""One UDP socket on the event loop: drained in batches, sent without a task or a future a datagram.

A raw non-blocking socket under `add_reader` rather than a datagram transport: half of an exchange's
cost is system calls, and the transport's calls per datagram would come on top.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, cast

from lwm2m.transport import batches
from lwm2m.transport.link import Receive

UdpAddress = tuple[str, int]

DATAGRAMS_PER_WAKE = 64
# Answers leave after so many: the other side then works while we do, and few are still cheap.
DATAGRAMS_PER_TURN = 10
BUFFER_BYTES = 4 * 1024 * 1024
SEND_QUEUE_MAX = 16_384
_DATAGRAM_BYTES_MAX = 65_535
# Of senders: port and host. More of them than this are made anew now and then.
_ENVELOPE = struct.Struct("=2x6s8x")
_ADDRESSES_KEPT = 32_768
# Likewise: the port, and the octets of the host.
_unpack_place = struct.Struct(">2xH4B8x").unpack
# Octets of an address as text: `inet_ntoa` costs half as much again.
OCTETS = tuple(map(str, range(256)))
_NO_FAMILY = 0xFFFF
# Fewer leave sooner one by one.
_WORTH_A_BATCH = 3
# Linux: what the kernel knows of a socket's memory; the ninth number counts its drops.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")
# Linux: buffers beyond the system's limit, for who may.
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33


class SocketLink(ABC):
    """A UDP socket whose datagrams go to a callback in lists.

    When the kernel's send buffer is full, up to `SEND_QUEUE_MAX` datagrams wait; further ones are
    dropped and counted in `dropped_unsent`, as a full network would: CoAP sends them again.
    """

    def __init__(
        self, sock: socket.socket, receive: Receive[Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._socket = sock
        self._receive = receive
        self._loop = loop
        self._unsent: deque[tuple[bytes, Any]] = deque()
        self._closed = False
        self.dropped_unsent = 0
        self.errors = 0
        # How many are handed on at once.
        self.datagrams_per_turn = DATAGRAMS_PER_TURN
        loop.add_reader(sock.fileno(), self._drain)

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """Send datagrams in order; what the kernel does not take yet waits."""
        if self._closed:
            return
        if self._unsent:
            self._hold_back(datagrams)
            return
        taken = self._send_some(datagrams)
        if taken < len(datagrams):
            self._loop.add_writer(self._socket.fileno(), self._send_unsent)
            self._hold_back(datagrams[taken:])

    def close(self) -> None:
        """Stop receiving and close the socket; what is unsent is dropped."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._unsent.clear()
        self._socket.close()

    def enlarge_receive_buffer(self, buffer_bytes: int) -> None:
        """Have the kernel keep so much, or as much as the system permits, until we take it."""
        if buffer_bytes > BUFFER_BYTES:
            _enlarge(self._socket, socket.SO_RCVBUF, _SO_RCVBUFFORCE, buffer_bytes)

    @property
    def dropped_by_kernel(self) -> int:
        """Datagrams that met a full receive buffer; 0 where the kernel does not say."""
        if self._closed:
            return 0
        try:
            info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return 0
        return int(_MEMINFO.unpack(info)[8])

    @property
    def unsent(self) -> int:
        """Datagrams that wait for the kernel."""
        return len(self._unsent)

    def _hold_back(self, datagrams: Sequence[tuple[bytes, Any]]) -> None:
        room = SEND_QUEUE_MAX - len(self._unsent)
        self._unsent.extend(datagrams[:room])
        self.dropped_unsent += max(0, len(datagrams) - room)

    def _send_unsent(self) -> None:
        waiting = list(self._unsent)
        taken = self._send_some(waiting)
        self._unsent = deque(waiting[taken:])
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())

    @abstractmethod
    def _send_some(self, datagrams: Sequence[tuple[bytes, Any]]) -> int:
        """Hand them to the kernel in order: how many it took, or refused for good."""

    @abstractmethod
    def _drain(self) -> None:
        """Take about `DATAGRAMS_PER_WAKE` datagrams from the kernel, each as late as can be, and
        hand them on: the first of a burst wakes us, and the others are there once it has been dealt
        with."""


class UdpLink(SocketLink):
    """One UDP socket with one address; peers are (host, port), the host in figures."""

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive[UdpAddress],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(sock, receive, loop)
        # Bound once: these are called per datagram.
        self._recvfrom = sock.recvfrom
        self._sendto = sock.sendto
        self._is_ipv6 = sock.family == socket.AF_INET6

    @property
    def address(self) -> UdpAddress:
        """Where it is bound."""
        return cast(UdpAddress, self._socket.getsockname()[:2])

    def _send_some(self, datagrams: Sequence[tuple[bytes, Any]]) -> int:
        send = self._send_one
        for index, (data, peer) in enumerate(datagrams):
            try:
                send(data, peer)
            except (BlockingIOError, InterruptedError):
                return index
            except OSError:
                # Unreachable, refused earlier, too long: as good as lost on the way.
                self.errors += 1
        return len(datagrams)

    def _drain(self) -> None:
        arrivals = self._arrivals()
        for first in arrivals:
            self._receive(chain((first,), islice(arrivals, self.datagrams_per_turn - 1)))

    def _arrivals(self) -> Iterator[tuple[bytes, UdpAddress]]:
        receive = self._receive_one
        for _ in range(DATAGRAMS_PER_WAKE):
            if self._closed:
                return
            try:
                datagram = receive()
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # An ICMP error of an earlier send arrives here; the socket goes on.
                self.errors += 1
                return
            yield datagram

    def _send_one(self, data: bytes, peer: UdpAddress) -> None:
        self._sendto(data, peer)

    def _receive_one(self) -> tuple[bytes, UdpAddress]:
        data, peer = self._recvfrom(_DATAGRAM_BYTES_MAX)
        # IPv6 tells flow and scope, too.
        return data, peer[:2] if self._is_ipv6 else peer


class BatchedLink(SocketLink):
    """Sends and receives many datagrams by one system call, over IPv4.

    `envelope` is the form of a datagram's name and ancillary data, and what is read of them.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive[Any],
        loop: asyncio.AbstractEventLoop,
        envelope: struct.Struct,
    ) -> None:
        super().__init__(sock, receive, loop)
        self._descriptor = sock.fileno()
        self._outgoing, self._incoming = batches.open_batches(envelope.size - batches.NAME.size)
        # Both ways, since an address costs more to make than to find.
        self._envelopes: dict[Any, bytes] = {}
        self._peers: dict[bytes, Any] = {}
        self._unpack = envelope.unpack

    def _send_some(self, datagrams: Sequence[tuple[bytes, Any]]) -> int:
        known, keep = self._envelopes.get, self._keep_envelope
        bodies = [data for data, _ in datagrams]
        envelopes = [known(peer) or keep(peer) for _, peer in datagrams]
        taken, failed = self._outgoing.send(self._descriptor, bodies, envelopes)
        self.errors += failed
        return taken

    def _drain(self) -> None:
        known, keep = self._peers.get, self._keep_peer
        left = DATAGRAMS_PER_WAKE
        while left > 0 and not self._closed:
            try:
                bodies, envelopes = self._incoming.receive(self._descriptor)
            except OSError:
                # An ICMP error of an earlier send arrives here; the socket goes on.
                self.errors += 1
                return
            if not bodies:
                return
            left -= len(bodies)
            peers = [known(envelope) or keep(envelope) for envelope in envelopes]
            arrivals = list(zip(bodies, peers, strict=True))
            if not all(peers):
                arrivals = [arrival for arrival in arrivals if arrival[1] is not None]
                self.errors += len(peers) - len(arrivals)
            for begin in range(0, len(arrivals), self.datagrams_per_turn):
                if not self._closed:
                    self._receive(arrivals[begin : begin + self.datagrams_per_turn])

    def _keep_envelope(self, peer: Any) -> bytes:
        if len(self._envelopes) >= _ADDRESSES_KEPT:
            self._envelopes.clear()
        envelope = self._envelopes[peer] = self._make_envelope(peer)
        return envelope

    def _keep_peer(self, envelope: bytes) -> Any:
        if len(self._peers) >= _ADDRESSES_KEPT:
            self._peers.clear()
        peer = self._peers[envelope] = self._make_peer(*self._unpack(envelope))
        return peer

    @abstractmethod
    def _make_envelope(self, peer: Any) -> bytes:
        """The name and ancillary data that take a datagram to it."""

    @abstractmethod
    def _make_peer(self, *envelope: Any) -> Any:
        """Whom a datagram is from; None for one that is not for us."""


class BatchedUdpLink(BatchedLink, UdpLink):
    """A `UdpLink` over IPv4 that is cheap with many datagrams."""

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive[UdpAddress],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(sock, receive, loop, _ENVELOPE)

    def _send_some(self, datagrams: Sequence[tuple[bytes, Any]]) -> int:
        if len(datagrams) < _WORTH_A_BATCH:
            return UdpLink._send_some(self, datagrams)
        return super()._send_some(datagrams)

    def _make_envelope(self, peer: UdpAddress) -> bytes:
        return make_name(*peer)

    def _keep_peer(self, envelope: bytes) -> UdpAddress:
        if len(self._peers) >= _ADDRESSES_KEPT:
            self._peers.clear()
            self._envelopes.clear()
        port, a, b, c, d = _unpack_place(envelope)
        peer = f"{OCTETS[a]}.{OCTETS[b]}.{OCTETS[c]}.{OCTETS[d]}", port
        # It is nothing but a name: the answer goes by the same.
        self._peers[envelope] = peer
        self._envelopes[peer] = envelope
        return peer

    def _make_peer(self, *envelope: Any) -> UdpAddress:
        return read_place(*envelope)


def make_name(host: str, port: int) -> bytes:
    """A sockaddr_in; one that the kernel refuses when the host is not IPv4 in figures."""
    try:
        place = port.to_bytes(2, "big") + socket.inet_aton(host)
    except (OSError, OverflowError):
        return batches.NAME.pack(_NO_FAMILY, b"")
    return batches.NAME.pack(socket.AF_INET, place)


def read_place(place: bytes) -> UdpAddress:
    """The address of a port and host as the network writes them."""
    return socket.inet_ntoa(place[2:]), int.from_bytes(place[:2], "big")


def make_udp_socket(host: str, port: int) -> socket.socket:
    """A bound non-blocking UDP socket with large buffers. Raises `OSError`."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        _enlarge(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE)
        _enlarge(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _enlarge(
    sock: socket.socket, option: int, forced: int, buffer_bytes: int = BUFFER_BYTES
) -> None:
    sock.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
    if sock.getsockopt(socket.SOL_SOCKET, option) < buffer_bytes:
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, buffer_bytes)
        except OSError:
            return  # not permitted: it stays at the system's limit


async def open_udp(host: str, port: int, receive: Receive[UdpAddress]) -> UdpLink:
    """Open a UDP socket on `host`:`port` (0 takes a free one); `receive` gets lists of datagrams.

    Raises `OSError` when the address cannot be bound.
    """
    loop = asyncio.get_running_loop()
    sock = make_udp_socket(host, port)
    batched = batches.AVAILABLE and sock.family == socket.AF_INET
    return (BatchedUdpLink if batched else UdpLink)(sock, receive, loop)
