"""Who is at the other end: a plain address, or one security session with what it proved.

CoAP takes any hashable as a peer. A `SecurePeer` is equal to nothing but itself, so that messages
of one session never match those of another (RFC 7252 §9.1).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal

import msgspec

SecurityMode = Literal["nosec", "psk", "x509", "oscore"]


class PeerSecurity(msgspec.Struct, frozen=True):
    """How a peer is authenticated, and as whom: a PSK identity, a certificate's subject name."""

    mode: SecurityMode
    identity: str | None = None


NOSEC = PeerSecurity("nosec")


class SecurePeer:
    """One security session; compared and hashed by identity.

    `local` is our own address where the link has many. `endpoint_name` is the LwM2M endpoint that
    the credential is bound to; None binds none.
    """

    __slots__ = ("endpoint_name", "host", "local", "port", "security")

    def __init__(
        self,
        host: str,
        port: int,
        security: PeerSecurity,
        *,
        local: str | None = None,
        endpoint_name: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.local = local
        self.security = security
        self.endpoint_name = endpoint_name

    def __repr__(self) -> str:
        return f"SecurePeer({self.host!r}, {self.port}, {self.security!r}, {self.endpoint_name!r})"


def security_of(peer: Hashable) -> PeerSecurity:
    """How `peer` is authenticated; NOSEC for the plain addresses that links hand out."""
    return peer.security if isinstance(peer, SecurePeer) else NOSEC


def address_of(peer: Hashable) -> tuple[str, int]:
    """The peer's (host, port), of a session or of a link's plain address.

    Raises `TypeError` for what is no peer of our links.
    """
    if isinstance(peer, SecurePeer):
        return peer.host, peer.port
    if isinstance(peer, tuple) and len(peer) >= 2:
        # (host, port) of a UdpLink, (local, host, port) of a ManyAddressesLink.
        host, port = peer[-2:]
        if isinstance(host, str) and isinstance(port, int):
            return host, port
    raise TypeError(f"{peer!r} is no peer of our links")
