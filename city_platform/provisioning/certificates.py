"""Keys and certificates of an installation: its authority, its services and its devices.

P-256 throughout. Chance is handed in: a private key is drawn, a signature is deterministic
(RFC 6979), so the same chance gives the same installation.
"""

from __future__ import annotations

import ipaddress
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


class Authority:
    """Signs certificates. `draw` is the source of keys and serial numbers."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, draw: Draw
    ) -> None:
        self.certificate = certificate
        self.key = key
        self._draw = draw
        self._key_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())

    @property
    def der(self) -> bytes:
        """The authority's own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def issue_client(self, identity: str, now_us: int, lifetime: timedelta) -> Issued:
        """A key and a certificate to connect with: the common name is `identity`."""
        return self._issue(identity, now_us, lifetime, (_CLIENT, False), (_SIGNING, True))

    def issue_service(self, identity: str, now_us: int, lifetime: timedelta) -> Issued:
        """As `issue_client`; secrets may also be sealed to it (key agreement)."""
        return self._issue(identity, now_us, lifetime, (_CLIENT, False), (_SEALING, True))

    def issue_server(
        self, identity: str, hosts: Sequence[str], now_us: int, lifetime: timedelta
    ) -> Issued:
        """A key and a certificate to listen with, for host names and IP addresses."""
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._issue(
            identity, now_us, lifetime, (_SERVER, False), (_SIGNING, True), (names, False)
        )

    def _issue(
        self,
        identity: str,
        now_us: int,
        lifetime: timedelta,
        *extensions: tuple[x509.ExtensionType, bool],
    ) -> Issued:
        key = draw_key(self._draw)
        public = key.public_key()
        builder = (
            _builder(identity, public, now_us, lifetime, self._draw)
            .issuer_name(self.certificate.subject)
            .add_extension(_NO_AUTHORITY, critical=True)
            .add_extension(self._key_identifier, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        certificate = builder.sign(self.key, hashes.SHA256(), ecdsa_deterministic=True)
        return Issued(
            certificate.public_bytes(serialization.Encoding.DER),
            key_der(key),
            int(certificate.not_valid_after_utc.timestamp()) * 1_000_000,
        )


def make_authority(name: str, now_us: int, lifetime: timedelta, draw: Draw) -> Authority:
    """A new authority that signs itself and may sign no other authority."""
    key = draw_key(draw)
    public = key.public_key()
    builder = (
        _builder(name, public, now_us, lifetime, draw)
        .issuer_name(_subject(name))
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


def key_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as PKCS #8, DER."""
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    identity: str,
    public: ec.EllipticCurvePublicKey,
    now_us: int,
    lifetime: timedelta,
    draw: Draw,
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(identity))
        .public_key(public)
        # RFC 5280 §4.1.2.2: positive, at most 20 bytes, not to be guessed.
        .serial_number(int.from_bytes(draw(19), "big") | 1 << 151)
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


def _subject(identity: str) -> x509.Name:
    # RFC 5280 allows a common name 64 characters, our endpoint names have up to 128: TLS libraries
    # and brokers take them, so the length is not checked here.
    return x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, identity, _validate=len(identity) <= 64)]
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
