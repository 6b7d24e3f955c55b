"""Authorities and certificates in DER, for both ends of a TLS connection."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOST = "127.0.0.1"
_FROM, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)


class Keys(NamedTuple):
    """A certificate and its key, PKCS #8; both DER."""

    certificate: bytes
    key: bytes

    def pem(self) -> bytes:
        """Both in one file."""
        return pem(self.certificate) + private_key(self.key).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


class Authority:
    """A CA; `under` makes it another's."""

    def __init__(self, name: str, under: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        self.certificate = (under or self).sign(
            self.name, self.key.public_key(), [x509.BasicConstraints(ca=True, path_length=None)]
        )

    def issue(
        self,
        *names: str,
        hosts: tuple[str, ...] = (HOST,),
        until: datetime = _UNTIL,
        usage: x509.ObjectIdentifier | None = None,
    ) -> Keys:
        """A certificate of a subject with these common names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[x509.ExtensionType] = []
        if hosts:
            extensions.append(x509.SubjectAlternativeName([_general_name(one) for one in hosts]))
        if usage is not None:
            extensions.append(x509.ExtendedKeyUsage([usage]))
        signed = self.sign(_name(*names), key.public_key(), extensions, until)
        return Keys(signed, _der(key))

    def sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extensions: list[x509.ExtensionType],
        until: datetime = _UNTIL,
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_FROM)
            .not_valid_after(until)
        )
        for extension in extensions:
            is_critical = isinstance(extension, x509.BasicConstraints)
            builder = builder.add_extension(extension, critical=is_critical)
        signed = builder.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)


EXPIRED = _FROM + timedelta(days=1)
FOR_SERVERS = ExtendedKeyUsageOID.SERVER_AUTH


def pem(certificate: bytes) -> bytes:
    """A certificate in PEM."""
    loaded = x509.load_der_x509_certificate(certificate)
    return loaded.public_bytes(serialization.Encoding.PEM)


def private_key(der: bytes) -> ec.EllipticCurvePrivateKey:
    """The key itself."""
    key = serialization.load_der_private_key(der, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
