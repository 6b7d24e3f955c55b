"""Checks a certificate signing request: a device that keeps its private key asks for a certificate.

Nothing of a request but its public key reaches the certificate; what it asks for beside that must
be nothing that a device may not have, so that nobody believes to have got it.
"""

from __future__ import annotations

import warnings
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.manifest import REQUEST_BYTES_MAX

__all__ = [
    "REQUEST_BYTES_MAX",
    "InvalidRequest",
    "certified_key",
    "public_key_der",
    "read_request",
]

_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# RFC 2985 §5.4.2: the one attribute that a request may have.
_EXTENSION_REQUEST: Final = "1.2.840.113549.1.9.14"


class InvalidRequest(ValueError):
    """A signing request cannot be followed; the text says why and what is expected."""


def read_request(data: bytes, endpoint: str) -> ec.EllipticCurvePublicKey:
    """The public key of a PKCS #10 request (PEM or DER) by the device `endpoint`.

    The request is signed with the key that it is for (proof of possession, RFC 2986 §3), the key is
    one of P-256, the only name is the endpoint's or none, and no extension asks for an authority, a
    server, or another name. Raises `InvalidRequest`.
    """
    if len(data) > REQUEST_BYTES_MAX:
        raise InvalidRequest(f"a request has at most {REQUEST_BYTES_MAX} bytes")
    request = _load(data)
    key = _key(request)
    _check_signature(request)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # names longer than RFC 5280 has them
            _check_subject(request, endpoint)
            _check_attributes(request)
            for extension in request.extensions:
                _check_extension(extension, endpoint)
    except InvalidRequest:
        raise
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as e:
        raise InvalidRequest(f"the request cannot be read: {e}") from None
    return key


def certified_key(certificate: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a certificate of ours (DER) is for: to certify it once more."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def public_key_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo: the same for every request that is made for it."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _load(data: bytes) -> x509.CertificateSigningRequest:
    is_pem = data.lstrip().startswith(b"-----BEGIN")
    try:
        return x509.load_pem_x509_csr(data) if is_pem else x509.load_der_x509_csr(data)
    except (ValueError, TypeError, UnsupportedAlgorithm, OverflowError, x509.InvalidVersion):
        raise InvalidRequest("this is no PKCS #10 request, in PEM or in DER") from None


def _key(request: x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    try:
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidRequest("its public key cannot be read; it must be one of P-256") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidRequest("its public key must be one of P-256")
    return key


def _check_signature(request: x509.CertificateSigningRequest) -> None:
    try:
        is_signed = request.is_signature_valid
        algorithm = request.signature_hash_algorithm
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        is_signed, algorithm = False, None
    if not is_signed:
        raise InvalidRequest("it is not signed with the key that it is for")
    if not isinstance(algorithm, _HASHES):
        raise InvalidRequest("it must be signed with SHA-256, SHA-384 or SHA-512")


def _check_subject(request: x509.CertificateSigningRequest, endpoint: str) -> None:
    names = [(name.oid, name.value) for name in request.subject]
    if names and names != [(NameOID.COMMON_NAME, endpoint)]:
        raise InvalidRequest(f"its subject must be empty or the common name {endpoint} alone")


def _check_attributes(request: x509.CertificateSigningRequest) -> None:
    for attribute in request.attributes:
        if attribute.oid.dotted_string != _EXTENSION_REQUEST:
            raise InvalidRequest(
                f"it has the attribute {attribute.oid.dotted_string}: leave it out"
            )


def _check_extension(extension: x509.Extension[x509.ExtensionType], endpoint: str) -> None:
    match extension.value:
        case x509.BasicConstraints() as found if not found.ca:
            return
        case x509.KeyUsage() as found if _only_signs(found):
            return
        case x509.ExtendedKeyUsage() as found if list(found) == [ExtendedKeyUsageOID.CLIENT_AUTH]:
            return
        case x509.SubjectAlternativeName() as found if all(
            isinstance(name, x509.DNSName) and name.value == endpoint for name in found
        ):
            return
        case x509.SubjectKeyIdentifier():
            return
    raise InvalidRequest(
        f"it asks for the extension {extension.oid.dotted_string}, which a device's certificate "
        "does not get: leave it out"
    )


def _only_signs(usage: x509.KeyUsage) -> bool:
    return not (usage.key_cert_sign or usage.crl_sign)
