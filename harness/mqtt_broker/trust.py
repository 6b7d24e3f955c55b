"""Whose certificates a broker takes: anchors, its own pair, and the list of what was revoked.

They are files that provisioning replaces whole. They are read at the start and when the broker is
told to; nobody watches them.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography import x509

from contracts.api import RevokedList
from harness.mqtt_broker.config import BrokerConfig
from runtime.component import ConfigError

REVOKED = "certificate revoked"
NOT_TRUSTED_ANY_MORE = "certificate of an authority that is not trusted any more"


@dataclass(frozen=True, slots=True)
class Trust:
    """What the files say. `context` is for new connections; the rest is for certificates that they,
    or connections of before, were let in with."""

    context: ssl.SSLContext
    # Key identifiers (RFC 5280 §4.2.1.2) of the anchors, in the order of the file.
    anchors: tuple[bytes, ...]
    # SHA-256 of the DER, hexadecimal.
    revoked: frozenset[str]
    # Digest of the files that the context was made from.
    made_from: str = ""
    # Anchors of an earlier reading that this one has no more.
    withdrawn: frozenset[bytes] = field(default_factory=frozenset)

    def objection(self, certificate: bytes) -> str | None:
        """Why a certificate (DER) that TLS has verified may not be used now; None when it may."""
        if self.revoked and hashlib.sha256(certificate).hexdigest() in self.revoked:
            return REVOKED
        if self.withdrawn and _issuer_key_id(certificate) in self.withdrawn:
            return NOT_TRUSTED_ANY_MORE
        return None

    def after(self, before: Trust) -> Trust:
        """The same, knowing which anchors of `before` are gone. Its context, and with it the
        sessions that clients may resume, stay as long as its files do."""
        gone = before.withdrawn.union(before.anchors).difference(self.anchors)
        is_same = self.made_from == before.made_from
        context = before.context if is_same else self.context
        return Trust(context, self.anchors, self.revoked, self.made_from, gone)


def read_trust(config: BrokerConfig) -> Trust:
    """Read the files of a configuration. Raises `ConfigError` that names the file."""
    files = (config.ca_file, config.certificate_file, config.key_file)
    return Trust(
        server_tls(*files),
        tuple(_anchor_key_ids(Path(config.ca_file))),
        frozenset() if config.revoked_file is None else read_revoked(Path(config.revoked_file)),
        _digest(files),
    )


def read_revoked(path: Path) -> frozenset[str]:
    """The digests in provisioning's `revoked.json`. Raises `ConfigError`."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=RevokedList)
    except OSError as error:
        raise ConfigError(
            f"cannot read the list of revoked certificates {path}: {error.strerror}; provisioning "
            "writes it at its start"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no list of revoked certificates: {error}") from error
    return frozenset(entry.sha256 for entry in found.revoked)


def server_tls(ca_file: str, certificate_file: str, key_file: str) -> ssl.SSLContext:
    """A context that asks every client for a certificate of the platform's CA (TLS 1.2 and up).

    Raises `ConfigError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # TLS's errors are some
        raise ConfigError(f"cannot use the CA certificates {ca_file}: {_why(error)}") from error
    try:
        context.load_cert_chain(certificate_file, key_file)
    except OSError as error:
        raise ConfigError(
            f"cannot use {certificate_file} with {key_file}: {_why(error)}"
        ) from error
    return context


def _anchor_key_ids(path: Path) -> Iterable[bytes]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot use the CA certificates {path}: {_why(error)}") from error
    return [
        x509.SubjectKeyIdentifier.from_public_key(anchor.public_key()).digest for anchor in found
    ]


def _digest(files: Iterable[str]) -> str:
    try:
        each = [hashlib.sha256(Path(file).read_bytes()).digest() for file in files]
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
    return hashlib.sha256(b"".join(each)).hexdigest()


def _issuer_key_id(certificate: bytes) -> bytes | None:
    try:
        found = x509.load_der_x509_certificate(certificate).extensions
        return found.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (ValueError, x509.ExtensionNotFound):
        return None


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not PEM").lower().replace("_", " ")
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not PEM"
