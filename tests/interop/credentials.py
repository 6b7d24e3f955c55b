"""Keys and certificates of the interoperability tests: made for one session, kept in memory."""

from __future__ import annotations

import base64
import datetime
import functools
import ipaddress
import secrets
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_NAME = "localhost"


@dataclass(frozen=True, slots=True)
class Credential:
    """What one device authenticates itself with; `certificate`, `key` are DER when it is x509."""

    mode: str
    endpoint: str
    identity: str = ""
    key: bytes = field(default=b"", repr=False)
    certificate: bytes = b""
    server_certificate: bytes = b""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, DER (PKCS #8)."""

    certificate: bytes
    key: bytes = field(repr=False)


class Authority:
    """Issues the certificates of one session: P-256, valid for a day."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("interop-authority")
        self.certificate = _der(
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue(self, common_name: str) -> KeyPair:
        """A certificate for an endpoint name or a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(common_name)]
        if common_name == SERVER_NAME:
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = _builder(_name(common_name), self._name, key.public_key()).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(
            _der(certificate),
            key.private_bytes(
                serialization.Encoding.DER,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


@functools.cache
def authority() -> Authority:
    """The session's authority."""
    return Authority()


@functools.cache
def server_pair() -> KeyPair:
    """The certificate of every server of the session."""
    return authority().issue(SERVER_NAME)


def to_pem(label: str, der: bytes) -> bytes:
    """DER as PEM."""
    text = base64.encodebytes(der).replace(b"\n", b"").decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def psk(endpoint: str) -> Credential:
    """A key of chance for an endpoint: 16 figures, as some programs take nothing else."""
    return Credential("psk", endpoint, f"id-{endpoint}", secrets.token_hex(8).encode())


def x509_credential(endpoint: str) -> Credential:
    """A certificate for an endpoint."""
    pair = authority().issue(endpoint)
    return Credential(
        "x509", endpoint, endpoint, pair.key, pair.certificate, server_pair().certificate
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
