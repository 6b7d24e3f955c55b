"""One socket that is any 127.0.0.0/8 address: thousands of devices on one descriptor.

Bound to the wildcard, with the local address of each datagram told and chosen by IP_PKTINFO. It
refuses what did not come to, or would not leave from, the loopback network.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import cast

from lwm2m.errors import LwM2mError
from lwm2m.transport.link import Receive
from lwm2m.transport.udp import SocketLink, make_udp_socket

LocalAndRemote = tuple[str, str, int]
Ancillary = tuple[tuple[int, int, bytes]]

# Not in the socket module before Python 3.14; from Linux <bits/in.h>.
_IP_PKTINFO = 8
# struct in_pktinfo: interface index, local address to send from, destination in the header.
_PKTINFO = struct.Struct("=I4s4s")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size)
_DATAGRAM_BYTES_MAX = 65_535
_LOCAL_ADDRESSES_KEPT = 131_072
_UNSPECIFIED = b"\0\0\0\0"
_LOOPBACK_FIRST_BYTE = 127


class NotLoopback(LwM2mError, ValueError):
    """A local address outside 127.0.0.0/8 was asked for."""


class ManyAddressesLink(SocketLink):
    """A wildcard socket; peers are (local_ip, remote_host, remote_port), both hosts in figures.

    `send` raises `NotLoopback` for a local address that is not ours to use.
    """

    def __init__(
        self,
        sock: socket.socket,
        receive: Receive[LocalAndRemote],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(sock, receive, loop)
        self._recvmsg = sock.recvmsg
        self._sendmsg = sock.sendmsg
        # What sendmsg is told of each local address, and whom it last talked with as one tuple:
        # made once, since an address costs more to make and to compare than to find.
        self._ancillary: dict[str, Ancillary] = {}
        self._peers: dict[bytes, LocalAndRemote] = {}

    @property
    def port(self) -> int:
        """The one port of all its addresses."""
        return cast(int, self._socket.getsockname()[1])

    def _send_one(self, data: bytes, peer: LocalAndRemote) -> None:
        local, host, port = peer
        ancillary = self._ancillary.get(local) or self._make_ancillary(peer)
        self._sendmsg((data,), ancillary, 0, (host, port))

    def _make_ancillary(self, peer: LocalAndRemote) -> Ancillary:
        if len(self._ancillary) >= _LOCAL_ADDRESSES_KEPT:
            self._ancillary.clear()
        local = _loopback(peer[0])
        self._keep_peer(local, peer)
        chosen = _PKTINFO.pack(0, local, _UNSPECIFIED)
        made = self._ancillary[peer[0]] = ((socket.IPPROTO_IP, _IP_PKTINFO, chosen),)
        return made

    def _keep_peer(self, local: bytes, peer: LocalAndRemote) -> None:
        if len(self._peers) >= _LOCAL_ADDRESSES_KEPT:
            self._peers.clear()
        self._peers[local] = peer

    def _receive_one(self) -> tuple[bytes, LocalAndRemote]:
        data, ancillary, _, remote = self._recvmsg(_DATAGRAM_BYTES_MAX, _ANCILLARY_BYTES)
        # in_pktinfo ends with the address that the datagram was sent to.
        local = ancillary[0][2][8:12] if ancillary else _UNSPECIFIED
        host, port = remote
        peer = self._peers.get(local)
        if peer is None or peer[1] != host or peer[2] != port:
            if local[0] != _LOOPBACK_FIRST_BYTE:
                raise OSError(f"a datagram from {host} did not come over the loopback network")
            peer = (socket.inet_ntoa(local), host, port)
            self._keep_peer(local, peer)
        return data, peer


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

    Raises `OSError` when the port is taken, or where there is no IP_PKTINFO (not Linux).
    """
    if sys.platform != "linux":
        raise OSError("many addresses on one socket need Linux's IP_PKTINFO")
    sock = make_udp_socket("0.0.0.0", port)
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return ManyAddressesLink(sock, receive, asyncio.get_running_loop())
