"""Which address each device has: all of 127.0.0.0/8 on one socket, or a socket each.

`CountingLink` stands between endpoint and socket and counts what a `LoopSample` tells.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, overload

from fake_devices.fleet.config import AddressMode, ServerAddress
from lwm2m.transport import Link, SocketLink, UdpLink, open_many_addresses, open_udp
from lwm2m.transport.udp import UdpAddress
from runtime.component import ConfigError

Receive = Callable[[Iterable[tuple[bytes, Hashable]]], None]

# 127.0.x.y is left to servers; .0 and .255 to nobody, as on a real network.
_FIRST_SECOND_BYTE: Final = 16
_HOSTS: Final = 254
# Some hundred kilobytes; of those who are set up at a time there are fewer.
_NUMBERS_KEPT: Final = 8_192
SHARED_DEVICES_MAX: Final = (256 - _FIRST_SECOND_BYTE) * _HOSTS * _HOSTS


def address_of(position: int) -> str:
    """The loopback address of the device at `position`."""
    rest, host = divmod(position, _HOSTS)
    second, third = divmod(rest, _HOSTS)
    return f"127.{_FIRST_SECOND_BYTE + second}.{third + 1}.{host + 1}"


class Peers(Sequence[Hashable], ABC):
    """What the devices' one server is to the link, by device number: worked out, not kept."""

    def __init__(self, host: str, port: int, devices: int, first: int = 0) -> None:
        """`first` is the position that device 0 has among all addresses."""
        self._host = host
        self._port = port
        self._devices = devices
        self._first = first
        # Of those who spoke lately: they are likely to go on.
        self._numbers: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return self._devices

    @overload
    def __getitem__(self, number: int) -> Hashable: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Hashable]: ...
    def __getitem__(self, number: int | slice) -> Hashable | Sequence[Hashable]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._devices))]
        if not 0 <= number < self._devices:
            raise IndexError(number)
        return (self._local(number), self._host, self._port)

    def number_of(self, peer: Hashable) -> int | None:
        """The device that this peer is the server of; None for another peer."""
        number = self._numbers.get(peer)
        if number is not None:
            return number
        match peer:
            case (local, host, port) if port == self._port and host == self._host:
                number = self._number(local)
                if not 0 <= number < self._devices:
                    return None
                if len(self._numbers) >= _NUMBERS_KEPT:
                    self._numbers.clear()
                self._numbers[peer] = number
                return number
            case _:
                return None

    @abstractmethod
    def _local(self, number: int) -> Hashable:
        """What tells a device from others."""

    @abstractmethod
    def _number(self, local: Any) -> int:
        """The device; of a stranger any number that none has."""


class SharedPeers(Peers):
    """Peers of `open_shared`: (the device's address, host, port)."""

    def _local(self, number: int) -> Hashable:
        return address_of(self._first + number)

    def _number(self, local: Any) -> int:
        _, second, third, fourth = socket.inet_aton(local)
        if not (0 < third <= _HOSTS and 0 < fourth <= _HOSTS):
            return -1
        position = ((second - _FIRST_SECOND_BYTE) * _HOSTS + third - 1) * _HOSTS + fourth - 1
        return position - self._first


class OwnPeers(Peers):
    """Peers of `open_own`: (the device's number, host, port)."""

    def _local(self, number: int) -> Hashable:
        return number

    def _number(self, local: Any) -> int:
        return local if type(local) is int else -1


def choose_mode(mode: AddressMode, server: ServerAddress, devices: int) -> Literal["shared", "own"]:
    """Whether devices share a socket. Raises `ConfigError` when what is asked for cannot be."""
    if mode == "auto":
        return "shared" if server.is_loopback else "own"
    if mode == "shared" and not server.is_loopback:
        raise ConfigError(f"addresses = shared needs a server on 127.0.0.0/8, not {server.host}")
    if mode == "shared" and devices > SHARED_DEVICES_MAX:
        raise ConfigError(f"addresses = shared is for up to {SHARED_DEVICES_MAX} devices")
    return mode


class CountingLink:
    """Passes datagrams on, and counts retransmissions and what the socket dropped."""

    def __init__(self, link: Link, sockets: Sequence[SocketLink], peers: Peers) -> None:
        self._link = link
        self._sockets = sockets
        self._peers = peers
        # The latest message id towards each device's server, -1 before the first; towards others.
        self._latest = array("i", [-1]) * len(peers)
        self._latest_of_others: dict[Hashable, int] = {}
        self._retransmissions = 0
        self._told_drops = 0

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        """See `Link`."""
        for data, peer in datagrams:
            # RFC 7252 §3: type 0 in bits 4 and 5 is CON, bytes 2 and 3 are the message id.
            if not data[0] & 0x30:
                self._retransmissions += self._is_repeated(peer, data[2] << 8 | data[3])
        self._link.send(datagrams)

    def close(self) -> None:
        """See `Link`."""
        self._link.close()

    def _is_repeated(self, peer: Hashable, message_id: int) -> bool:
        number = self._peers.number_of(peer)
        if number is None:
            before = self._latest_of_others.get(peer)
            self._latest_of_others[peer] = message_id
        else:
            before = self._latest[number]
            self._latest[number] = message_id
        return before == message_id

    def take_counts(self) -> tuple[int, int]:
        """Datagrams dropped at the sockets, and retransmissions, since the last call."""
        drops = sum(each.dropped_by_kernel + each.dropped_unsent for each in self._sockets)
        counts = drops - self._told_drops, self._retransmissions
        self._told_drops, self._retransmissions = drops, 0
        return counts


class _OwnSockets:
    """A socket each; peers are (device number, host, port)."""

    def __init__(self, links: Sequence[UdpLink]) -> None:
        self._links = links

    def send(self, datagrams: Sequence[tuple[bytes, Hashable]]) -> None:
        for data, peer in datagrams:
            assert isinstance(peer, tuple)
            number, host, port = peer
            self._links[number].send([(data, (host, port))])

    def close(self) -> None:
        for link in self._links:
            link.close()


class Opened(NamedTuple):
    """The link of a fleet, the sockets beneath it, what each device's server is to it, and the
    server's host in figures."""

    link: Link
    sockets: Sequence[SocketLink]
    peers: Peers
    host: str


async def open_shared(
    server: ServerAddress, devices: int, receive: Receive, first_address: int = 0
) -> Opened:
    """One socket for all devices, which have the addresses from position `first_address` on.

    Raises `ConfigError` when there are not so many.
    """
    if first_address < 0 or first_address + devices > SHARED_DEVICES_MAX:
        raise ConfigError(f"first_address {first_address}: addresses end at {SHARED_DEVICES_MAX}")
    link = await open_many_addresses(receive)
    peers = SharedPeers(server.host, server.port, devices, first_address)
    return Opened(link, [link], peers, server.host)


async def open_own(server: ServerAddress, devices: int, receive: Receive) -> Opened:
    """A socket for each device. Raises `ConfigError`."""
    host = await _resolve(server)
    local = "::" if ":" in host else "127.0.0.1" if server.is_loopback else "0.0.0.0"
    links: list[UdpLink] = []
    try:
        for number in range(devices):
            links.append(await open_udp(local, 0, partial(_receive_as, number, receive)))
    except OSError as error:
        for link in links:
            link.close()
        raise ConfigError(
            f"cannot open socket {len(links) + 1} of {devices} ({error.strerror}): "
            "fewer devices, a higher limit of open files, or addresses = shared"
        ) from error
    peers = OwnPeers(host, server.port, devices)
    return Opened(_OwnSockets(links), links, peers, host)


def _receive_as(
    number: int, receive: Receive, datagrams: Iterable[tuple[bytes, UdpAddress]]
) -> None:
    receive((data, (number, *peer[:2])) for data, peer in datagrams)


async def _resolve(server: ServerAddress) -> str:
    try:
        return await resolve_host(server.host)
    except OSError as error:
        raise ConfigError(f"the server {server.host!r} is not known: {error.strerror}") from error


async def resolve_host(host: str) -> str:
    """The first address of a host, in figures. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return str(found[0][4][0])
