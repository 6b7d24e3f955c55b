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
from collections.abc import Hashable, Sequence
from typing import Any, cast

from lwm2m.transport.link import Receive

UdpAddress = tuple[str, int]

DATAGRAMS_PER_WAKE = 64
BUFFER_BYTES = 4 * 1024 * 1024
SEND_QUEUE_MAX = 16_384
_DATAGRAM_BYTES_MAX = 65_535
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
        loop.add_reader(sock.fileno(), self._drain)

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """Send datagrams in order; what the kernel does not take yet waits."""
        if self._closed:
            return
        if self._unsent:
            self._hold_back(datagrams)
            return
        send = self._send_one
        for index, (data, peer) in enumerate(datagrams):
            try:
                send(data, peer)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket.fileno(), self._send_unsent)
                self._hold_back(datagrams[index:])
                return
            except OSError:
                # Unreachable, refused earlier, too long: as good as lost on the way.
                self.errors += 1

    def close(self) -> None:
        """Stop receiving and close the socket; what is unsent is dropped."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._unsent.clear()
        self._socket.close()

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
        unsent = self._unsent
        while unsent:
            data, peer = unsent[0]
            try:
                self._send_one(data, peer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self.errors += 1
            unsent.popleft()
        self._loop.remove_writer(self._socket.fileno())

    def _drain(self) -> None:
        received: list[tuple[bytes, Any]] = []
        receive = self._receive_one
        try:
            for _ in range(DATAGRAMS_PER_WAKE):
                received.append(receive())
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            # An ICMP error of an earlier send arrives here; the socket goes on.
            self.errors += 1
        if received:
            self._receive(received)

    @abstractmethod
    def _send_one(self, data: bytes, peer: Any) -> None:
        """Hand one datagram to the kernel."""

    @abstractmethod
    def _receive_one(self) -> tuple[bytes, Any]:
        """Take one datagram from the kernel."""


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

    @property
    def address(self) -> UdpAddress:
        """Where it is bound."""
        return cast(UdpAddress, self._socket.getsockname()[:2])

    def _send_one(self, data: bytes, peer: UdpAddress) -> None:
        self._sendto(data, peer)

    def _receive_one(self) -> tuple[bytes, UdpAddress]:
        return self._recvfrom(_DATAGRAM_BYTES_MAX)


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


def _enlarge(sock: socket.socket, option: int, forced: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
    if sock.getsockopt(socket.SOL_SOCKET, option) < BUFFER_BYTES:
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            return  # not permitted: it stays at the system's limit


async def open_udp(host: str, port: int, receive: Receive[UdpAddress]) -> UdpLink:
    """Open a UDP socket on `host`:`port` (0 takes a free one); `receive` gets lists of datagrams.

    Raises `OSError` when the address cannot be bound.
    """
    loop = asyncio.get_running_loop()
    return UdpLink(make_udp_socket(host, port), receive, loop)
