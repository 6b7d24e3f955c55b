"""DTLS 1.2 with pre-shared keys and certificates, both sides (RFC 6347, LwM2M Transport §5.2).

`DtlsServer` and `DtlsClient` are pure in time and bytes; `DtlsServerLink` and `DtlsClientLink` put
them on the event loop, over any datagram link.
"""

from lwm2m.transport.dtls.certificates import name_of_certificate
from lwm2m.transport.dtls.client import Credentials, CredentialsOf, DtlsClient
from lwm2m.transport.dtls.credentials import (
    IDENTITY_BYTES_MAX,
    KEY_BYTES_MAX,
    KeyOf,
    PskCredentials,
    ServerCredentials,
    X509Credentials,
)
from lwm2m.transport.dtls.errors import DtlsError, MissingBinding, UnusableCredentials
from lwm2m.transport.dtls.events import (
    DtlsCounters,
    DtlsEvent,
    HandshakeFailed,
    SessionClosed,
    SessionEstablished,
)
from lwm2m.transport.dtls.link import DtlsClientLink, DtlsServerLink, open_dtls_server
from lwm2m.transport.dtls.server import DtlsServer
from lwm2m.transport.dtls.settings import DtlsSettings
from lwm2m.transport.dtls.suites import DEFAULT_SUITES, SUITES, CipherSuite

__all__ = [
    "DEFAULT_SUITES",
    "IDENTITY_BYTES_MAX",
    "KEY_BYTES_MAX",
    "SUITES",
    "CipherSuite",
    "Credentials",
    "CredentialsOf",
    "DtlsClient",
    "DtlsClientLink",
    "DtlsCounters",
    "DtlsError",
    "DtlsEvent",
    "DtlsServer",
    "DtlsServerLink",
    "DtlsSettings",
    "HandshakeFailed",
    "KeyOf",
    "MissingBinding",
    "PskCredentials",
    "ServerCredentials",
    "SessionClosed",
    "SessionEstablished",
    "UnusableCredentials",
    "X509Credentials",
    "name_of_certificate",
    "open_dtls_server",
]
