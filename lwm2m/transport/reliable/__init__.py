"""CoAP over TCP and TLS (RFC 8323): connections that carry exchanges in both directions.

`ReliableEndpoint` is the pure state machine; `TcpDriver` with `open_tcp_server` and
`open_tcp_client` joins it with sockets.
"""

from lwm2m.transport.reliable.connection import ReliablePeer
from lwm2m.transport.reliable.endpoint import ReliableEndpoint
from lwm2m.transport.reliable.exchanges import ConnectionGone
from lwm2m.transport.reliable.framing import Frame, FrameReader, MalformedFrame, encode_frame
from lwm2m.transport.reliable.shell import (
    BindName,
    ConnectionLimits,
    TcpDriver,
    TcpServer,
    open_tcp_client,
    open_tcp_server,
)
from lwm2m.transport.reliable.tls import TlsFiles

__all__ = [
    "BindName",
    "ConnectionGone",
    "ConnectionLimits",
    "Frame",
    "FrameReader",
    "MalformedFrame",
    "ReliableEndpoint",
    "ReliablePeer",
    "TcpDriver",
    "TcpServer",
    "TlsFiles",
    "encode_frame",
    "open_tcp_client",
    "open_tcp_server",
]
