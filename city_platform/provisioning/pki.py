"""The installation's key files: the authority, the services' certificates, the broker's.

| file | what |
|---|---|
| `ca.pem`, `ca.key` | the authority that signs every certificate of the installation |
| `svc_bridge_s1.pem`, `.key` | a service's, the identity with `_` for `:` |
| `broker.pem`, `broker.key` | the broker's, for its host names and addresses |

Keys are PKCS #8 PEM that the owner alone can read. A key is written before its certificate, so
that a certificate whose file is there can be used.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from city_platform.provisioning.certificates import (
    Authority,
    Draw,
    key_der,
    make_authority,
)
from contracts.names import principal_of
from runtime.files import write_atomically, write_secret

AUTHORITY_LIFETIME: Final = timedelta(days=20 * 365)
SERVICE_LIFETIME: Final = timedelta(days=5 * 365)


class DamagedPki(ValueError):
    """The key files do not belong together or cannot be read: restore or remove the folder."""


def open_pki(
    folder: Path, services: Iterable[str], broker_hosts: Sequence[str], now_us: int, draw: Draw
) -> Authority:
    """The installation's authority; at the first start it and all certificates are made.

    A service that was added later gets its certificate; existing ones are never replaced. Raises
    `DamagedPki`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    if (folder / "ca.pem").exists():
        authority = _load(folder, draw)
    else:
        authority = make_authority("lamplighter installation CA", now_us, AUTHORITY_LIFETIME, draw)
        _write(folder, "ca", authority.der, key_der(authority.key))
    for identity in services:
        principal_of(identity)
        name = service_file(identity)
        if not (folder / f"{name}.pem").exists():
            issued = authority.for_services(now_us, SERVICE_LIFETIME).issue(identity)
            _write(folder, name, issued.certificate, issued.key)
    if not (folder / "broker.pem").exists():
        issued = authority.for_servers(now_us, SERVICE_LIFETIME, broker_hosts).issue("broker")
        _write(folder, "broker", issued.certificate, issued.key)
    return authority


def service_file(identity: str) -> str:
    """The name of a service's files, without their endings."""
    return identity.replace(":", "_")


def _load(folder: Path, draw: Draw) -> Authority:
    try:
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise DamagedPki(f"{folder / 'ca.key'} is not an elliptic curve key")
        certificate.verify_directly_issued_by(certificate)
        if key.public_key() != certificate.public_key():
            raise DamagedPki(f"{folder}: ca.key is not the key of ca.pem")
    except (OSError, ValueError, TypeError, InvalidSignature) as error:
        raise DamagedPki(f"{folder}: {error}") from error
    return Authority(certificate, key, draw)


def _write(folder: Path, name: str, certificate: bytes, key: bytes) -> None:
    write_secret(folder / f"{name}.key", _pem("PRIVATE KEY", key), sync=True)
    write_atomically(folder / f"{name}.pem", _pem("CERTIFICATE", certificate), sync=True)


def _pem(label: str, der: bytes) -> bytes:
    """RFC 7468 §2: base64 in lines of 64."""
    text = b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
