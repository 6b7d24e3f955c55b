"""The only part of the protocol that touches the world: sockets, loop, a simulated network.

`EndpointDriver` joins a pure endpoint with a link; `open_udp` and `open_many_addresses` make links.
"""

from lwm2m.transport.driver import EndpointDriver, HandleEvents
from lwm2m.transport.link import Link
from lwm2m.transport.many_addresses import (
    LocalAndRemote,
    ManyAddressesLink,
    NotLoopback,
    open_many_addresses,
)
from lwm2m.transport.udp import SocketLink, UdpAddress, UdpLink, open_udp

__all__ = [
    "EndpointDriver",
    "HandleEvents",
    "Link",
    "LocalAndRemote",
    "ManyAddressesLink",
    "NotLoopback",
    "SocketLink",
    "UdpAddress",
    "UdpLink",
    "open_many_addresses",
    "open_udp",
]
