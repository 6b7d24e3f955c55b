"""Reads and writes the key files of an installation: PEM, keys for their owner alone."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from city_platform.provisioning.certificates import Authority, Draw
from runtime.files import write_atomically, write_secret

AUTHORITY_LIFETIME: Final = timedelta(days=20 * 365)
SERVICE_LIFETIME: Final = timedelta(days=5 * 365)


class DamagedPki(ValueError):
    """The key files do not belong together or cannot be read: restore or remove the folder."""


def read_authority(folder: Path, name: str, draw: Draw) -> Authority:
    """The authority of `name`.pem (its first certificate) and `name`.key. Raises `DamagedPki`."""
    certificate = read_certificates(folder / f"{name}.pem")[0]
    key = read_key(folder / f"{name}.key")
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise DamagedPki(f"{folder / name}.pem: not signed by itself: {error}") from error
    if key.public_key() != certificate.public_key():
        raise DamagedPki(f"{folder}: {name}.key is not the key of {name}.pem")
    return Authority(certificate, key, draw)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """All certificates of a file, one at least. Raises `DamagedPki`."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise DamagedPki(f"{path}: {error}") from error


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in a file. Raises `DamagedPki`."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise DamagedPki(f"{path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DamagedPki(f"{path} is not an elliptic curve key")
    return key


def write_pair(folder: Path, name: str, certificate: bytes, key: bytes) -> None:
    """Key first: a certificate whose file is there can be used."""
    write_secret(folder / f"{name}.key", pem("PRIVATE KEY", key), sync=True)
    write_atomically(folder / f"{name}.pem", pem("CERTIFICATE", certificate), sync=True)


def pem(label: str, der: bytes) -> bytes:
    """RFC 7468 §2: base64 in lines of 64."""
    text = b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
