"""What devices prove themselves with: read from files, turned into accounts and DTLS credentials.

No error text and no repr here shows a key. What needs OpenSSL is imported when a device has such
credentials: a fleet without them starts a tenth of a second sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fake_devices.device import ServerAccount
from lwm2m.bootstrap import parse_uri
from runtime.component import ConfigError
from runtime.files import check_owner_only

if TYPE_CHECKING:
    from lwm2m.transport.dtls import Credentials

# Security modes (/0/x/2).
_PSK, _CERTIFICATE, _NO_SECURITY = 0, 2, 3


class Line(Protocol):
    """The credentials of a `DeviceLine`."""

    @property
    def endpoint(self) -> str: ...
    @property
    def psk_identity(self) -> str | None: ...
    @property
    def psk(self) -> str | None: ...
    @property
    def certificate(self) -> str | None: ...
    @property
    def key(self) -> str | None: ...


def account_of(line: Line, uri: str, short_server_id: int | None) -> ServerAccount:
    """The account of one device with one server; `short_server_id` None is the bootstrap server.

    Raises `ConfigError`: credentials that are missing, half there or unreadable.
    """
    address = parse_uri(uri)
    if address is None or address[0] == "coap":
        return ServerAccount(short_server_id, uri)
    if line.psk_identity is not None and line.psk is not None:
        return ServerAccount(
            short_server_id, uri, _PSK, line.psk_identity.encode(), _psk_of(line, line.psk)
        )
    if line.certificate is not None and line.key is not None:
        certificate, key = _read_pair(Path(line.certificate), Path(line.key))
        return ServerAccount(short_server_id, uri, _CERTIFICATE, certificate, key)
    raise ConfigError(f"{line.endpoint}: {uri} needs psk_identity and psk, or certificate and key")


def read_trust_anchors(path: Path) -> tuple[bytes, ...]:
    """The certificates of a PEM file, DER. Raises `ConfigError`."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the trust anchors {path}: {_why(error)}") from error
    return tuple(each.public_bytes(Encoding.DER) for each in found)


def read_own_key(endpoint: str, path: Path) -> bytes:
    """A device's own private key from its PEM file: PKCS #8, DER. Raises `ConfigError`."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        check_owner_only(path)
        key = load_pem_private_key(path.read_bytes(), None)
    except ConfigError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{endpoint}: cannot read the key {path}: {_why(error)}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{endpoint}: {path} is no key of P-256")
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def credentials_for(account: ServerAccount, anchors: Sequence[bytes]) -> Credentials | None:
    """What DTLS needs of an account; None when it cannot be used."""
    from lwm2m.transport.dtls import PskCredentials, UnusableCredentials, X509Credentials

    address = parse_uri(account.uri)
    assert address is not None
    try:
        if account.security_mode == _PSK:
            return PskCredentials(account.identity.decode(), account.key)
        return X509Credentials(
            (account.identity,),
            account.key,
            tuple(anchors),
            server_name=account.sni or address[1],
            server_key=account.server_key or None,
        )
    except (UnusableCredentials, UnicodeDecodeError):
        return None


def _psk_of(line: Line, text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise ConfigError(f"{line.endpoint}: psk is not hexadecimal") from None
    if not key:
        raise ConfigError(f"{line.endpoint}: psk is empty")
    return key


def _read_pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        check_owner_only(key)
        found = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        loaded = load_pem_private_key(key.read_bytes(), None)
    except ConfigError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"cannot read {certificate} or {key}: {_why(error)}") from error
    if loaded.public_key() != found.public_key():
        raise ConfigError(f"the key {key} does not belong to the certificate {certificate}")
    return found.public_bytes(Encoding.DER), loaded.private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )


def _why(error: Exception) -> str:
    # What a parser says may show what it parsed.
    return error.strerror or "" if isinstance(error, OSError) else "it is not PEM"
