"""The DTLS listener's credentials, from files and the security store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from contracts.names import is_endpoint_name
from harness.lwm2m_server.config import SecureListen, TlsListen
from lwm2m.transport.dtls import (
    DtlsSettings,
    KeyOf,
    ServerCredentials,
    UnusableCredentials,
    name_of_certificate,
)
from runtime.component import ConfigError

if TYPE_CHECKING:
    from cryptography import x509


def read_credentials(listen: SecureListen, key_of: KeyOf) -> ServerCredentials:
    """What the server proves itself with, and whom it lets in.

    Raises `ConfigError` with the file that is missing or wrong.
    """
    chain: tuple[bytes, ...] = ()
    private_key = b""
    anchors: tuple[bytes, ...] = ()
    if listen.certificate_file is not None:
        if listen.private_key_file is None or listen.trust_anchors_file is None:
            raise ConfigError("certificate_file needs private_key_file and trust_anchors_file")
        chain = _certificates(listen.certificate_file)
        private_key = _private_key(listen.private_key_file)
        anchors = _certificates(listen.trust_anchors_file)
    try:
        return ServerCredentials(
            key_of=key_of if listen.psk else None,
            certificate_chain=chain,
            private_key=private_key,
            trust_anchors=anchors,
            name_of=_endpoint_name_of,
        )
    except UnusableCredentials as error:
        raise ConfigError(f"coaps: {error}") from None


def settings_of(listen: SecureListen) -> DtlsSettings:
    """How many sessions and handshakes there may be. Raises `ConfigError`."""
    try:
        return DtlsSettings(sessions_max=listen.sessions_max, handshakes_max=listen.handshakes_max)
    except ValueError as error:
        raise ConfigError(f"coaps: {error}") from None


def check_files(listen: TlsListen) -> None:
    """Return when the files can be used. Raises `ConfigError` with the one that cannot.

    OpenSSL would not say which file it means, and ask on the terminal for a key's password.
    """
    _certificates(listen.certificate_file)
    _private_key(listen.private_key_file)
    _certificates(listen.trust_anchors_file)


def _endpoint_name_of(certificate: x509.Certificate) -> str | None:
    name = name_of_certificate(certificate)
    return name if name is not None and is_endpoint_name(name) else None


def _certificates(file: str) -> tuple[bytes, ...]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        found = x509.load_pem_x509_certificates(_read(file))
    except ValueError as error:
        raise ConfigError(f"{file} holds no certificates in PEM: {error}") from None
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in found)


def _private_key(file: str) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(_read(file), password=None)
    except (ValueError, TypeError):
        # The reason might repeat part of the file.
        raise ConfigError(f"{file} holds no private key in PEM without password") from None
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
