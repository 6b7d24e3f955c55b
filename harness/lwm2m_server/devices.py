"""A registered device as the rest of the server sees it: its registration and where it is."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from contracts.data_interface import Registration
from lwm2m.registration import RegisteredObjects
from lwm2m.transport.peers import SecurePeer, address_of

Address = tuple[str, int]


class Device:
    """One registration. `peer` is where requests to the device go.

    It is None after a restart for a device that had a security session: it has to make a new one.
    """

    __slots__ = ("objects", "peer", "registration", "renewed_at_us")

    def __init__(
        self,
        registration: Registration,
        objects: RegisteredObjects,
        peer: Hashable | None,
        renewed_at_us: int,
    ) -> None:
        self.registration = registration
        self.objects = objects
        self.peer = peer
        self.renewed_at_us = renewed_at_us


class Devices(Protocol):
    """Who is registered."""

    def find(self, endpoint: str) -> Device | None:
        """The device with this endpoint name."""


def peer_text(peer: Hashable) -> str:
    """The address of any peer as text."""
    if type(peer) is tuple and len(peer) == 2:
        return address_text(peer)  # what a UDP socket hands out, a registration each
    return address_text(address_of(peer))


def address_text(address: Address) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> Address:
    """What `address_text` wrote. Raises `ValueError` for another text."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_lasting(peer: Hashable) -> bool:
    """Whether the peer means something to the next incarnation: a plain address does."""
    return not isinstance(peer, SecurePeer) and isinstance(peer, tuple)
