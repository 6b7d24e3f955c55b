"""Seals credentials to a bridge's certificate and opens them with its key (JWE, RFC 7516)."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

ALGORITHM = "ECDH-ES"
ENCRYPTION = "A256GCM"


class CannotOpen(ValueError):
    """A sealed text is damaged, forged, or for somebody else's key. Never repeats the content."""


def thumbprint(certificate_pem: bytes) -> str:
    """The key id of a certificate: the base64url SHA-256 of its DER form (RFC 7515 §4.1.8)."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def sealer(certificate_pem: bytes) -> Callable[[bytes], str]:
    """A function that seals a plaintext for the holder of this certificate's P-256 key.

    The result is a compact JWE whose `kid` is the certificate's thumbprint.
    """
    key = ECKey.import_key(_public_key(certificate_pem))
    header = {"alg": ALGORITHM, "enc": ENCRYPTION, "kid": thumbprint(certificate_pem)}
    registry = _registry()

    def seal(plaintext: bytes) -> str:
        return jwe.encrypt_compact(dict(header), plaintext, key, registry=registry)

    return seal


def opener(certificate_pem: bytes, key_pem: bytes) -> Callable[[str], bytes]:
    """A function that opens what was sealed for this certificate. It raises `CannotOpen`."""
    key = ECKey.import_key(key_pem)
    kid = thumbprint(certificate_pem)
    registry = _registry()

    def open_sealed(sealed: str) -> bytes:
        try:
            found = jwe.decrypt_compact(sealed, key, registry=registry)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            # The library lets errors of its parts through when a text is malformed.
            raise CannotOpen(f"cannot be opened: {type(error).__name__}") from None
        if found.headers().get("kid") != kid:
            raise CannotOpen("sealed for another certificate")
        return found.plaintext or b""

    return open_sealed


def _registry() -> jwe.JWERegistry:
    return jwe.JWERegistry(algorithms=[ALGORITHM, ENCRYPTION])


def _public_key(certificate_pem: bytes) -> bytes:
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
