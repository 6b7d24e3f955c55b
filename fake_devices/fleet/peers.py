"""Which peer of the endpoint is which device's server.

Nearly all devices talk to one server: its peers are made once. Others, from bootstrap or for a
download, are added when they are first needed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable

from fake_devices.device import ServerAccount
from fake_devices.fleet.addresses import Peers, resolve_host
from lwm2m.bootstrap import parse_uri


class UnusableAddress(Exception):
    """The server of an account cannot be talked to from here."""


class PeerBook:
    """Peers by device and server. `peers` are those of the main server, by device."""

    def __init__(self, main_uri: str, main_host: str, peers: Peers, *, is_shared: bool) -> None:
        """`main_host` is in figures; `is_shared`: one socket, for loopback only."""
        self.main_uri = main_uri
        self.peers = peers
        self._main_is_secure = main_uri.startswith("coaps")
        self._is_shared = is_shared
        # Of the peers that are not the main server's.
        self._numbers: dict[Hashable, int] = {}
        self._accounts: dict[Hashable, ServerAccount] = {}
        self._hosts: dict[str, str] = {}
        address = parse_uri(main_uri)
        if address is not None:
            self._hosts[address[1]] = main_host

    @property
    def has_one_server(self) -> bool:
        """Whether no peer but the main server's was ever needed."""
        return not self._accounts

    def number_of(self, peer: Hashable) -> int | None:
        """The device that this peer is a server of."""
        number = self.peers.number_of(peer)
        return self._numbers.get(peer) if number is None and self._numbers else number

    def uri_of(self, peer: Hashable) -> str:
        """The server's URI as the device's account has it."""
        account = self._accounts.get(peer) if self._accounts else None
        return self.main_uri if account is None else account.uri

    def account_of(self, peer: Hashable) -> ServerAccount | None:
        """The account that a peer was added for; None for the main server."""
        return self._accounts.get(peer)

    def is_secure(self, peer: Hashable) -> bool:
        """Whether datagrams to and from this peer go by DTLS."""
        account = self._accounts.get(peer)
        return self._main_is_secure if account is None else account.uri.startswith("coaps")

    def find(self, number: int, account: ServerAccount) -> Hashable | None:
        """The peer of a device's account; None while its host's address is not known (`resolve`).

        Raises `UnusableAddress`.
        """
        if account.uri == self.main_uri:
            return self.peers[number]
        address = parse_uri(account.uri)
        if address is None or address[0] not in ("coap", "coaps"):
            raise UnusableAddress(account.uri)
        host = self._hosts.get(address[1]) or _figures(address[1])
        if host is None:
            return None
        if self._is_shared and not ipaddress.ip_address(host).is_loopback:
            raise UnusableAddress(f"{account.uri}: addresses = shared is for loopback")
        main = self.peers[number]
        assert isinstance(main, tuple)
        peer = (main[0], host, address[2])
        if self.peers.number_of(peer) is None:
            self._numbers[peer] = number
            self._accounts[peer] = account
        return peer

    async def resolve(self, account: ServerAccount) -> None:
        """Find the address of an account's host. Raises `UnusableAddress`."""
        address = parse_uri(account.uri)
        assert address is not None
        try:
            self._hosts[address[1]] = await resolve_host(address[1])
        except OSError as error:
            raise UnusableAddress(f"{account.uri}: {error.strerror}") from error


def _figures(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
