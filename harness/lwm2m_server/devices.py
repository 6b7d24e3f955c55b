"""A registered device as the rest of the server sees it: its registration and where it is."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

import msgspec

from contracts.data_interface import Registration, Security
from lwm2m import registration as rd
from lwm2m.transport.peers import SecurePeer, address_of

Address = tuple[str, int]


class Device(msgspec.Struct, gc=False, eq=False):
    """One registration, as its table holds it, with what is told of it beside. `peer` is where
    requests to the device go.

    It is None after a restart for a device that had a security session, until it has a new one:
    the registration's own peer is then the address it had, as text.
    """

    held: rd.Registration
    peer: Hashable | None
    security: Security
    object_links: msgspec.Raw
    registered_at_us: int
    # What a whole model's devices have in common, as an event tells it: see `TurnWriter`.
    told_middle: str | None = None

    @property
    def registration(self) -> Registration:
        """As the data interface tells it; made anew each time, because few are asked for."""
        held = self.held
        return Registration(
            registration_id=held.registration_id,
            endpoint=held.endpoint_name,
            lifetime_s=held.lifetime_s,
            lwm2m_version=held.lwm2m_version,
            binding=held.binding,
            queue_mode=held.queue_mode,
            object_links=self.object_links,
            address=peer_text(held.peer),
            security=self.security,
            registered_at_us=self.registered_at_us,
        )

    @property
    def endpoint(self) -> str:
        """Its endpoint name."""
        return self.held.endpoint_name

    @property
    def registration_id(self) -> str:
        """The id of its registration."""
        return self.held.registration_id

    @property
    def objects(self) -> rd.RegisteredObjects:
        """What it registered."""
        return self.held.objects


class Devices(Protocol):
    """Who is registered."""

    def find(self, endpoint: str) -> Device | None:
        """The device with this endpoint name."""


def peer_text(peer: Hashable) -> str:
    """The address of any peer as text, of one that is gone as well."""
    if type(peer) is tuple and len(peer) == 2:
        host, port = peer  # what a UDP socket hands out, a registration each
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if type(peer) is str:
        return peer
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
    return isinstance(peer, tuple) and not isinstance(peer, SecurePeer)
