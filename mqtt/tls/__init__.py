"""TLS over memory buffers by the OpenSSL that `cryptography` brings: bytes in, bytes out."""

from mqtt.tls.certificates import Certificate
from mqtt.tls.client import ClientContext, ClientEnd, Proof, Session
from mqtt.tls.end import TlsEnd
from mqtt.tls.errors import MissingBinding, TlsError, TlsFailed, UnusableCredentials
from mqtt.tls.pem import read_certificates, read_key
from mqtt.tls.server import ServerContext

__all__ = [
    "Certificate",
    "ClientContext",
    "ClientEnd",
    "MissingBinding",
    "Proof",
    "ServerContext",
    "Session",
    "TlsEnd",
    "TlsError",
    "TlsFailed",
    "UnusableCredentials",
    "read_certificates",
    "read_key",
]
