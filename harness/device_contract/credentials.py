"""The certificates and keys of the vectors: made once, kept in a file, used nowhere else."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ENDPOINT: Final = "room-17"
FILE_NAME: Final = "credentials.json"
_FROM: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_UNTIL: Final = datetime.datetime(2036, 1, 1, tzinfo=datetime.UTC)
# A chain as long as this takes three blocks of 1,024 bytes.
_NAMES_OF_LARGE: Final = 60


class MadeCredentials(msgspec.Struct, frozen=True):
    """DER: the authority's certificate; the device's first one and its renewal, with keys; and a
    certificate that is larger than a block."""

    authority: bytes
    certificate: bytes
    secret_key: bytes
    renewed_certificate: bytes
    renewed_secret_key: bytes
    large_certificate: bytes

    def __repr__(self) -> str:
        return "MadeCredentials(…)"


def stored_credentials(folder: Path) -> MadeCredentials:
    """Those in `folder`; made and kept there when there are none."""
    path = folder / FILE_NAME
    if not path.exists():
        found = {name: value.hex() for name, value in msgspec.structs.asdict(_make()).items()}
        path.write_text(json.dumps(found, indent=1) + "\n")
    stored = json.loads(path.read_text())
    return MadeCredentials(**{name: bytes.fromhex(value) for name, value in stored.items()})


def _make() -> MadeCredentials:
    authority = ec.generate_private_key(ec.SECP256R1())
    first, renewed = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [f"{ENDPOINT}.street-{number}.example.org" for number in range(_NAMES_OF_LARGE)]
    return MadeCredentials(
        _certificate("vector authority", authority, authority, is_authority=True),
        _certificate(ENDPOINT, first, authority),
        _key(first),
        _certificate(ENDPOINT, renewed, authority),
        _key(renewed),
        _certificate(ENDPOINT, first, authority, names=names),
    )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool = False,
    names: list[str] | None = None,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named("vector authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
