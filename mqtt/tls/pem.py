"""Certificates and keys out of PEM files' bytes, as DER."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mqtt.tls.errors import UnusableCredentials


def read_certificates(pem: bytes) -> list[bytes]:
    """All certificates, in their order. Raises `UnusableCredentials` where there is none."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise UnusableCredentials("there is no certificate in PEM in it") from None
    return [each.public_bytes(Encoding.DER) for each in found]


def read_key(pem: bytes) -> bytes:
    """The private key, PKCS #8. Raises `UnusableCredentials`.

    What is wrong with it is not said in the parser's words, which may quote it.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise UnusableCredentials("the key needs a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableCredentials("there is no private key in PEM in it") from None
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
