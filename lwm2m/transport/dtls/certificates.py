"""Whose certificate it is, and whether it is the one that was expected.

What reads certificates is imported when the first one comes: it takes a tenth of a second, and
who has pre-shared keys alone never needs it.
"""

from __future__ import annotations

import datetime
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509


def read_certificate(der: bytes) -> x509.Certificate | None:
    """The certificate in the bytes; None when its parts cannot be read."""
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        # Parsed when it is first asked for: what is broken is to show here.
        _ = certificate.subject, certificate.extensions
    except (ValueError, x509.UnsupportedGeneralNameType, x509.DuplicateExtension):
        return None
    return certificate


def name_of_certificate(certificate: x509.Certificate) -> str | None:
    """The endpoint name in a client's certificate: its one common name, else its one DNS name or
    URI (LwM2M Transport §5.2.8.3 names the common name; RFC 7252 §9.1.3.3 the others).
    """
    from cryptography import x509

    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if common:
        # Of two names it is not ours to choose.
        return str(common[0].value) if len(common) == 1 else None
    names = _alternative_names(certificate)
    return names[0] if len(names) == 1 else None


def is_key_of(expected: bytes, der: bytes, certificate: x509.Certificate) -> bool:
    """Whether `expected` is this very certificate, or its SubjectPublicKeyInfo, in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hmac.compare_digest(expected, der) or hmac.compare_digest(expected, spki)


def is_valid_at(certificate: x509.Certificate, unix_s: float) -> bool:
    """Whether the Unix time is within the certificate's validity."""
    moment = datetime.datetime.fromtimestamp(unix_s, datetime.UTC)
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    dns_names = found.get_values_for_type(x509.DNSName)
    return dns_names + found.get_values_for_type(x509.UniformResourceIdentifier)
