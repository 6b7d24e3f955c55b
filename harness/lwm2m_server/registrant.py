"""What a peer that registers proves, and where it is."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from contracts.data_interface import Security
from lwm2m.transport.peers import NOSEC as PLAIN
from lwm2m.transport.peers import SecurePeer, address_of

# What a datagram that came without security proves: nothing.
NOSEC: Final = Security("nosec")


def security_of(peer: Hashable) -> Security:
    """How its datagrams are protected, and who they prove it to be."""
    if type(peer) is not tuple and isinstance(peer, SecurePeer) and peer.security != PLAIN:
        return Security(peer.security.mode, peer.security.identity)
    return NOSEC


def proven_endpoint_name(peer: Hashable) -> str | None:
    """The endpoint that its credentials are of; None when they name none."""
    if type(peer) is tuple:
        return None  # what a UDP socket hands out, a registration each
    return peer.endpoint_name if isinstance(peer, SecurePeer) else None


def host_of(peer: Hashable) -> str:
    """The host that it is at."""
    return peer[0] if type(peer) is tuple and len(peer) == 2 else address_of(peer)[0]
