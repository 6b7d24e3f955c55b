"""What devices of a bench prove themselves with: the keys that their maker would have put in.

Pre-shared keys are those of the server's security store, where provisioning puts them; a device
that was never provisioned gets one of its own there. Certificates are signed by an authority of the
bench's own, which no other part of the bench knows.
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypedDict

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.manifest import ManifestRow
from runtime.files import write_atomically, write_secret

PKI_DIRECTORY: Final = "lwm2m_pki"
# Where people find the keys of provisioned devices, a file each.
DEVICE_KEYS: Final = "lwm2m_pki/devices"
PSK_BYTES: Final = 16
_VALID_FOR: Final = datetime.timedelta(days=30)
_CLOCK_SKEW: Final = datetime.timedelta(minutes=5)


class DeviceKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One device's pre-shared key, as the server's security API takes it and its file keeps it.

    A line of the file with `removed` takes a key back.
    """

    endpoint: str = ""
    identity: str = ""
    key: bytes = b""
    removed: str = ""

    def __repr__(self) -> str:
        return f"DeviceKey(endpoint={self.endpoint!r}, identity={self.identity!r}, …)"


_keys = msgspec.json.Decoder(DeviceKey)


def stored_keys(state_dir: Path) -> dict[str, DeviceKey]:
    """The keys that the server's security store holds, by endpoint."""
    path = state_dir / "server" / "security.jsonl"
    found: dict[str, DeviceKey] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        key = _keys.decode(line)
        if key.removed:
            found.pop(key.removed, None)
        else:
            found[key.endpoint] = key
    return found


def new_keys(rows: Iterable[ManifestRow]) -> list[DeviceKey]:
    """Keys for devices that have none."""
    return [
        DeviceKey(
            endpoint=row.endpoint, identity=row.psk_identity, key=secrets.token_bytes(PSK_BYTES)
        )
        for row in rows
    ]


def write_psk_files(state_dir: Path, keys: Mapping[str, DeviceKey]) -> None:
    """Each key as hex in a file of its own, `ENDPOINT.psk`, for its owner alone."""
    directory = state_dir / DEVICE_KEYS
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for endpoint, row in keys.items():
        write_secret(directory / f"{endpoint}.psk", row.key.hex().encode())


def psk_fields(keys: Mapping[str, DeviceKey], endpoint: str) -> dict[str, str]:
    """What a line of the fleet's devices file says of a device's pre-shared key."""
    row = keys[endpoint]
    return {"psk_identity": row.identity, "psk": row.key.hex()}


# ---- certificates ----


class ServerFiles(TypedDict):
    """PEM files, as the configuration of a listener names them."""

    certificate_file: str
    private_key_file: str
    trust_anchors_file: str


def server_files(state_dir: Path) -> ServerFiles:
    """Certificate, key and trust anchors of the server's DTLS listener."""
    directory = state_dir / PKI_DIRECTORY
    return {
        "certificate_file": str(directory / "server.pem"),
        "private_key_file": str(directory / "server.key"),
        "trust_anchors_file": str(directory / "ca.pem"),
    }


def make_server_identity(state_dir: Path, host: str, wall_us: int) -> None:
    """Make the authority and the server's certificate for `host`, unless they are there.

    `wall_us` (Unix microseconds) is when they begin to be valid.
    """
    directory = state_dir / PKI_DIRECTORY
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    if (directory / "server.pem").exists():
        if _names_of(directory / "server.pem") == names:
            return
        authority = _Authority.read(directory, wall_us)
    else:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = _Authority.new(wall_us)
        write_secret(directory / "ca.key", _key_pem(authority.key))
        write_atomically(directory / "ca.pem", _certificate_pem(authority.certificate))
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.issue("lwm2m-server", key, ExtendedKeyUsageOID.SERVER_AUTH, names)
    write_secret(directory / "server.key", _key_pem(key))
    write_atomically(directory / "server.pem", _certificate_pem(certificate))


def _names_of(certificate_file: Path) -> x509.SubjectAlternativeName:
    certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def certificate_fields(
    state_dir: Path, endpoints: Sequence[str], wall_us: int
) -> dict[str, dict[str, str]]:
    """A certificate and a key for each endpoint, as a line of the devices file names them."""
    directory = state_dir / PKI_DIRECTORY
    authority = _Authority.read(directory, wall_us)
    devices = state_dir / DEVICE_KEYS
    devices.mkdir(mode=0o700, exist_ok=True)
    fields: dict[str, dict[str, str]] = {}
    for endpoint in endpoints:
        certificate_file = devices / f"{endpoint}.pem"
        key_file = devices / f"{endpoint}.key"
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = authority.issue(endpoint, key, ExtendedKeyUsageOID.CLIENT_AUTH, None)
        write_secret(key_file, _key_pem(key))
        write_atomically(certificate_file, _certificate_pem(certificate))
        fields[endpoint] = {"certificate": str(certificate_file), "key": str(key_file)}
    return fields


class _Authority:
    """The maker of devices, as far as certificates go."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, wall_us: int
    ) -> None:
        self.certificate = certificate
        self.key = key
        self._wall_us = wall_us

    @classmethod
    def new(cls, wall_us: int) -> _Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Lamplighter bench device maker")
        builder = _builder(name, name, key, wall_us).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return cls(builder.sign(key, hashes.SHA256()), key, wall_us)

    @classmethod
    def read(cls, directory: Path, wall_us: int) -> _Authority:
        certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(certificate, key, wall_us)

    def issue(
        self,
        common_name: str,
        key: ec.EllipticCurvePrivateKey,
        usage: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
    ) -> x509.Certificate:
        builder = _builder(_name(common_name), self.certificate.subject, key, self._wall_us)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        ).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, wall_us: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.fromtimestamp(wall_us / 1e6, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID_FOR)
    )


def _name(common_name: str) -> x509.Name:
    # Endpoint names may be longer than X.520's bound of 64 characters, which TLS does not enforce.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        name = x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=False)
    return x509.Name([name])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
