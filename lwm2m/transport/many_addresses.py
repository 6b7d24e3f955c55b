"""One socket that is any 127.0.0.0/8 address: thousands of devices on one descriptor.

Bound to the wildcard, with the local address of each datagram told and chosen by IP_PKTINFO. It
refuses what did not come to, or would not leave from, the loopback network.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, cast

from lwm2m.errors import LwM2mError
from lwm2m.transport import batches
from lwm2m.transport.link import Receive
from lwm2m.transport.udp import OCTETS, BatchedLink, make_name, make_udp_socket, read_place

LocalAndRemote = tuple[str, str, int]

# Not in the socket module before Python 3.14; from Linux <bits/in.h>.
_IP_PKTINFO = 8
# struct cmsghdr, then struct in_pktinfo: interface index, local address to send from, destination
# in the header; and what rounds it up.
_PKTINFO_BYTES = 28
_PKTINFO_HEAD = struct.pack("=QiiI", _PKTINFO_BYTES, socket.IPPROTO_IP, _IP_PKTINFO, 0)
_BEHIND_LOCAL = bytes(8)
PLACES_KEPT = 256
# Of what comes: the sender's port and host, and the octets of the destination in the header.
_ENVELOPE = struct.Struct("=2x6s8x24x4B4x")
_UNSPECIFIED = b"\0\0\0\0"
_LOOPBACK_FIRST_BYTE = 127


class NotLoopback(LwM2mError, ValueError):
    """A local address outside 127.0.0.0/8 was asked for."""


class ManyAddressesLink(BatchedLink):
    """A wildcard socket; peers are (local_ip, remote_host, remote_port), both hosts in figures.

    `send` raises `NotLoopback` for a local address that is not ours to use.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive[LocalAndRemote],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(sock, receive, loop, _ENVELOPE)
        # Of who is spoken with, who are few, both ways: what comes before the local address in an
        # envelope, and the address.
        self._heads: dict[tuple[str, int], bytes] = {}
        self._places: dict[bytes, tuple[str, int]] = {}

    @property
    def port(self) -> int:
        """The one port of all its addresses."""
        return cast(int, self._socket.getsockname()[1])

    def _make_envelope(self, peer: LocalAndRemote) -> bytes:
        place = peer[1:]
        head = self._heads.get(place) or self._make_head(*place)
        return head + _loopback(peer[0]) + _BEHIND_LOCAL

    def _make_peer(self, *envelope: Any) -> LocalAndRemote | None:
        place, a, b, c, d = envelope
        if a != _LOOPBACK_FIRST_BYTE:
            return None  # it did not come over the loopback network
        host, port = self._places.get(place) or self._read_place(place)
        return f"{OCTETS[a]}.{OCTETS[b]}.{OCTETS[c]}.{OCTETS[d]}", host, port

    def _make_head(self, host: str, port: int) -> bytes:
        if len(self._heads) >= PLACES_KEPT:
            self._heads.clear()
        head = make_name(host, port) + _PKTINFO_HEAD
        self._heads[host, port] = head
        return head

    def _read_place(self, place: bytes) -> tuple[str, int]:
        if len(self._places) >= PLACES_KEPT:
            self._places.clear()
        found = self._places[place] = read_place(place)
        return found


def _loopback(local: str) -> bytes:
    try:
        packed = socket.inet_aton(local)
    except OSError:
        packed = _UNSPECIFIED
    if packed[0] != _LOOPBACK_FIRST_BYTE:
        raise NotLoopback(f"{local!r} is not one of 127.0.0.0/8")
    return packed


async def open_many_addresses(receive: Receive[LocalAndRemote], port: int = 0) -> ManyAddressesLink:
    """Open the socket; `receive` gets lists of (datagram, (local_ip, remote_host, remote_port)).

    Raises `OSError` when the port is taken, or where there is no such thing (not 64-bit Linux).
    """
    if not batches.AVAILABLE:
        raise OSError("many addresses on one socket need the IP_PKTINFO of 64-bit Linux")
    sock = make_udp_socket("0.0.0.0", port)
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return ManyAddressesLink(sock, receive, asyncio.get_running_loop())
