"""Keys and certificates of an installation: its authority, its services and its devices.

P-256 throughout. Chance is handed in: a private key is drawn, a signature is deterministic
(RFC 6979), so the same chance gives the same installation.
"""

from __future__ import annotations

import ipaddress
import threading
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Draw = Callable[[int], bytes]

# The order of the group of P-256 (SEC 2 §2.4.2): a private key is a number below it.
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# RFC 5280 appendix A.1, ub-common-name.
_COMMON_NAME_LENGTH_MAX: Final = 64
_WARNINGS: Final = threading.Lock()
# A device whose clock is a little behind must be able to use its certificate at once.
_CLOCK_SKEW = timedelta(minutes=10)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_agreement: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


_SIGNING = _key_usage(digital_signature=True)
_SEALING = _key_usage(digital_signature=True, key_agreement=True)
_AUTHORITY = _key_usage(key_cert_sign=True, crl_sign=True)
_CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_NO_AUTHORITY = x509.BasicConstraints(ca=False, path_length=None)


class Issued(NamedTuple):
    """A certificate and its key, both DER (the key PKCS #8, unprotected)."""

    certificate: bytes
    key: bytes
    expires_at_us: int

    def __repr__(self) -> str:
        return f"Issued(certificate of {len(self.certificate)} bytes, …)"


class Issuer:
    """Issues certificates that have all but key, name and serial number in common."""

    def __init__(
        self,
        builder: x509.CertificateBuilder,
        key: ec.EllipticCurvePrivateKey,
        draw: Draw,
        expires_at_us: int,
    ) -> None:
        self._builder = builder
        self._key = key
        self._draw = draw
        self._expires_at_us = expires_at_us

    def issue(self, identity: str) -> Issued:
        """A new key and its certificate; the common name is `identity`."""
        key = draw_key(self._draw)
        return Issued(self._sign(identity, key.public_key()), key_der(key), self._expires_at_us)

    def issue_for(self, identity: str, public: ec.EllipticCurvePublicKey) -> Issued:
        """A certificate for a key that somebody else has: `Issued.key` is empty."""
        return Issued(self._sign(identity, public), b"", self._expires_at_us)

    def _sign(self, identity: str, public: ec.EllipticCurvePublicKey) -> bytes:
        certificate = (
            self._builder.subject_name(_subject(identity))
            .public_key(public)
            .serial_number(_draw_serial_number(self._draw))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        return certificate.public_bytes(serialization.Encoding.DER)


class Authority:
    """Signs certificates. `draw` is the source of keys and serial numbers."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, draw: Draw
    ) -> None:
        self.certificate = certificate
        self.key = key
        self._draw = draw

    @property
    def der(self) -> bytes:
        """The authority's own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_id(self) -> bytes:
        """What the certificates that it signs name it by."""
        return key_id_of(self.key.public_key())

    def vouch_for(self, other: Authority) -> bytes:
        """Another authority's key under this one's signature (DER), as long as both are valid.

        Whoever trusts this authority alone can then check what the other one signed (RFC 4210
        §4.4.1, NewWithOld). Both have the same name, so that the certificate counts as self-issued
        and this authority's path length of 0 allows it (RFC 5280 §4.2.1.9).
        """
        ours, theirs = self.certificate, other.certificate
        public = other.key.public_key()
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .not_valid_before(max(ours.not_valid_before_utc, theirs.not_valid_before_utc))
            .not_valid_after(min(ours.not_valid_after_utc, theirs.not_valid_after_utc))
            .subject_name(theirs.subject)
            .issuer_name(ours.subject)
            .public_key(public)
            .serial_number(_draw_serial_number(self._draw))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_AUTHORITY, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self.key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        return certificate.public_bytes(serialization.Encoding.DER)

    def for_devices(self, now_us: int, lifetime: timedelta) -> Issuer:
        """Issues certificates to connect with."""
        return self._issuer(now_us, lifetime, (_CLIENT, False), (_SIGNING, True))

    def for_services(self, now_us: int, lifetime: timedelta) -> Issuer:
        """As for devices; secrets may also be sealed to these (key agreement)."""
        return self._issuer(now_us, lifetime, (_CLIENT, False), (_SEALING, True))

    def for_servers(self, now_us: int, lifetime: timedelta, hosts: Sequence[str]) -> Issuer:
        """Issues certificates to listen with, for host names and IP addresses."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._issuer(now_us, lifetime, (_SERVER, False), (_SIGNING, True), (names, False))

    def _issuer(
        self, now_us: int, lifetime: timedelta, *extensions: tuple[x509.ExtensionType, bool]
    ) -> Issuer:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = (
            _valid(now_us, lifetime)
            .issuer_name(self.certificate.subject)
            .add_extension(_NO_AUTHORITY, critical=True)
            .add_extension(issuer_key, critical=False)
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        expires_at_us = (now_us // 1_000_000 + int(lifetime.total_seconds())) * 1_000_000
        return Issuer(builder, self.key, self._draw, expires_at_us)


def server_names(certificate: x509.Certificate) -> set[str]:
    """The host names and IP addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return {*names.get_values_for_type(x509.DNSName), *addresses}


def make_authority(name: str, now_us: int, lifetime: timedelta, draw: Draw) -> Authority:
    """A new authority that signs itself and may sign no other authority."""
    key = draw_key(draw)
    public = key.public_key()
    builder = (
        _valid(now_us, lifetime)
        .subject_name(_subject(name))
        .issuer_name(_subject(name))
        .public_key(public)
        .serial_number(_draw_serial_number(draw))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_AUTHORITY, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    return Authority(certificate, key, draw)


def draw_key(draw: Draw) -> ec.EllipticCurvePrivateKey:
    """A P-256 key. 64 bits more than needed are drawn: FIPS 186-5 §A.2.1."""
    number = int.from_bytes(draw(40), "big") % (_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def key_id_of(public: ec.EllipticCurvePublicKey) -> bytes:
    """A key's identifier: RFC 5280 §4.2.1.2 (1)."""
    return x509.SubjectKeyIdentifier.from_public_key(public).digest


def issuer_key_id(certificate: x509.Certificate) -> bytes | None:
    """Which authority's key signed a certificate; None when it does not say."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.key_identifier


def key_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as PKCS #8, DER."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _valid(now_us: int, lifetime: timedelta) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    return (
        x509.CertificateBuilder()
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def issued_at_us(certificate: x509.Certificate) -> int:
    """When a certificate of ours was issued, Unix microseconds, to the second."""
    issued = certificate.not_valid_before_utc + _CLOCK_SKEW
    return int(issued.timestamp()) * 1_000_000


def _draw_serial_number(draw: Draw) -> int:
    # RFC 5280 §4.1.2.2: positive, at most 20 bytes, not to be guessed.
    return int.from_bytes(draw(19), "big") | 1 << 151


def _subject(identity: str) -> x509.Name:
    if len(identity) <= _COMMON_NAME_LENGTH_MAX:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity)])
    # Our endpoint names have up to 128 characters. TLS libraries and brokers take them; the
    # library warns, and its warnings are switched off one thread at a time.
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        attribute = x509.NameAttribute(NameOID.COMMON_NAME, identity, _validate=False)
    return x509.Name([attribute])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
