"""Handshakes with a pre-shared key, made here (RFC 4279, RFC 5246, RFC 6347).

No public-key operation is in them: six short messages, a dozen HMACs. OpenSSL takes as long for its
objects as for these, and 76 KB meanwhile; a fleet that comes back at once makes thousands a second.
What is not the plain case stays with OpenSSL: certificates, tickets, and for a server ECDHE.
"""

from lwm2m.transport.dtls.psk.client import PskClientHandshake, PskOffer
from lwm2m.transport.dtls.psk.server import PskChoice, PskChooser, PskServerHandshake

__all__ = [
    "PskChoice",
    "PskChooser",
    "PskClientHandshake",
    "PskOffer",
    "PskServerHandshake",
]
