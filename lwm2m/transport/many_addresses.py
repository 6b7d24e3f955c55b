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
        # What sendmsg is told of each local address, made once.
        self._ancillary: dict[str, list[tuple[int, int, bytes]]] = {}

    @property
    def port(self) -> int:
        """The one port of all its addresses."""
        return cast(int, self._socket.getsockname()[1])

    def _send_one(self, data: bytes, peer: LocalAndRemote) -> None:
        local, host, port = peer
        ancillary = self._ancillary.get(local) or self._make_ancillary(local)
        self._sendmsg((data,), ancillary, 0, (host, port))

    def _make_ancillary(self, local: str) -> list[tuple[int, int, bytes]]:
        if len(self._ancillary) >= _LOCAL_ADDRESSES_KEPT:
            self._ancillary.clear()
        chosen = _PKTINFO.pack(0, _loopback(local), _UNSPECIFIED)
        made = self._ancillary[local] = [(socket.IPPROTO_IP, _IP_PKTINFO, chosen)]
        return made

    def _receive_one(self) -> tuple[bytes, LocalAndRemote]:
        data, ancillary, _, remote = self._recvmsg(_DATAGRAM_BYTES_MAX, _ANCILLARY_BYTES)
        # in_pktinfo ends with the address that the datagram was sent to.
        local = ancillary[0][2][8:12] if ancillary else _UNSPECIFIED
        if local[0] != _LOOPBACK_FIRST_BYTE:
            raise OSError(f"a datagram from {remote[0]} did not come over the loopback network")
        return data, (socket.inet_ntoa(local), remote[0], remote[1])


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
