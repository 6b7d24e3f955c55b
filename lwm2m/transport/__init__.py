"""The only part of the protocol that touches the world: sockets, loop, a simulated network.

`EndpointDriver` joins a pure endpoint with a link; `open_udp` and `open_many_addresses` make links.
DTLS is in `lwm2m.transport.dtls`, which is not imported here: it takes OpenSSL into the process.
"""

from lwm2m.transport.driver import EndpointDriver, HandleEvents
from lwm2m.transport.link import Link
from lwm2m.transport.many_addresses import (
    LocalAndRemote,
    ManyAddressesLink,
    NotLoopback,
    open_many_addresses,
)
from lwm2m.transport.peers import NOSEC, PeerSecurity, SecurePeer, address_of, security_of
from lwm2m.transport.udp import SocketLink, UdpAddress, UdpLink, open_udp

__all__ = [
    "NOSEC",
    "EndpointDriver",
    "HandleEvents",
    "Link",
    "LocalAndRemote",
    "ManyAddressesLink",
    "NotLoopback",
    "PeerSecurity",
    "SecurePeer",
    "SocketLink",
    "UdpAddress",
    "UdpLink",
    "address_of",
    "open_many_addresses",
    "open_udp",
    "security_of",
]
