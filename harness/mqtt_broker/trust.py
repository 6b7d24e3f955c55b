"""Whose certificates a broker takes: anchors, its own pair, and the list of what was revoked.

They are files that provisioning replaces whole. They are read at the start and when the broker is
told to; nobody watches them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from contracts.api import RevokedList
from harness.mqtt_broker.config import BrokerConfig
from mqtt.tls import Certificate, ServerContext, UnusableCredentials, read_key
from runtime.component import ConfigError

REVOKED = "certificate revoked"
EXPIRED = "certificate has expired"
NOT_TRUSTED_ANY_MORE = "certificate of an authority that is not trusted any more"


@dataclass(frozen=True, slots=True)
class Trust:
    """What the files say. `context` is for new connections; the rest is for certificates that they,
    or connections of before, were let in with."""

    context: ServerContext
    # Key identifiers (RFC 5280 §4.2.1.2) of the anchors, in the order of the file.
    anchors: tuple[bytes, ...]
    # SHA-256 of the DER, hexadecimal.
    revoked: frozenset[str]
    # Digest of the files that the context was made from.
    made_from: str = ""
    # Anchors of an earlier reading that this one has no more.
    withdrawn: frozenset[bytes] = field(default_factory=frozenset)

    def objection(self, certificate: Certificate, now_us: int) -> str | None:
        """Why a certificate that TLS has verified may not be used now (Unix time); None when it
        may."""
        if self.revoked and certificate.sha256.hex() in self.revoked:
            return REVOKED
        if self.withdrawn and _issuer_key_id(certificate.der()) in self.withdrawn:
            return NOT_TRUSTED_ANY_MORE
        # TLS verified it when the session began that a client resumes.
        now = datetime.fromtimestamp(now_us / 1e6, UTC)
        return EXPIRED if certificate.not_after < f"{now:%Y%m%d%H%M%SZ}" else None

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
    anchors = _certificates("the CA certificates", config.ca_file)
    return Trust(
        _server_context(anchors, config.certificate_file, config.key_file),
        tuple(_key_id(anchor) for anchor in anchors),
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


def _server_context(
    anchors: Sequence[x509.Certificate], certificate_file: str, key_file: str
) -> ServerContext:
    """A context that asks every client for a certificate of the platform's CA (TLS 1.2 and up)."""
    chain = _completed(_certificates("the certificate", certificate_file), anchors)
    key = _private_key(key_file)
    try:
        return ServerContext(
            anchors=[anchor.public_bytes(Encoding.DER) for anchor in anchors],
            chain=[each.public_bytes(Encoding.DER) for each in chain],
            key=key,
        )
    except UnusableCredentials as error:
        raise ConfigError(f"cannot use {certificate_file} with {key_file}: {error}") from error


def _certificates(what: str, file: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(Path(file).read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {what} {file}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"cannot use {what} {file}: it is not PEM") from error


def _private_key(file: str) -> bytes:
    try:
        return read_key(Path(file).read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the key {file}: {error.strerror}") from error
    except UnusableCredentials as error:
        raise ConfigError(f"cannot use the key {file}: {error}") from None


def _completed(
    chain: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """The own certificate with what leads to an anchor: who trusts only the last one needs it all.

    A file may hold the certificate alone and the CA's file what is between it and its root.
    """
    whole = list(chain)
    while len(whole) <= len(chain) + len(anchors):
        between = [
            each
            for each in anchors
            if each not in whole and each.subject != each.issuer and _has_signed(each, whole[-1])
        ]
        if not between:
            break
        whole.append(between[0])
    return whole


def _has_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _key_id(anchor: x509.Certificate) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(anchor.public_key()).digest


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
