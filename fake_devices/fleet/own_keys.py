"""Makes keys that devices keep to themselves, and the signing requests that go into a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from contracts.manifest import ManifestRow
from runtime.files import write_secret


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """Rows with the requests of devices that keep their key, and the file of each such key, by
    endpoint: `DeviceLine.mqtt_key`."""

    rows: list[ManifestRow]
    files: dict[str, str]


def make_own_keys(rows: Iterable[ManifestRow], endpoints: Iterable[str], folder: Path) -> OwnKeys:
    """Draw a key for each of `endpoints`, keep it in `folder` for its owner alone, and put the
    request for it into the device's row; other rows stay as they are."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keepers, found, files = set(endpoints), list[ManifestRow](), dict[str, str]()
    for row in rows:
        if row.endpoint not in keepers:
            found.append(row)
            continue
        key = ec.generate_private_key(ec.SECP256R1())
        path = folder / f"{hashlib.sha256(row.endpoint.encode()).hexdigest()[:32]}.key"
        write_secret(path, _key_pem(key))
        files[row.endpoint] = str(path)
        found.append(msgspec.structs.replace(row, csr=make_request(row.endpoint, key)))
    return OwnKeys(found, files)


def make_request(endpoint: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A signing request (PKCS #10, DER) of the device for its key."""
    # RFC 5280 has 64 characters for a common name; our names may have 128, and a request without a
    # name is as good.
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, endpoint)] if len(endpoint) <= 64 else []
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
