"""A device's MQTT credentials: the document, and the sealed form in which it crosses the broker."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from contracts.data_interface import VERSION
from contracts.errors import ContractError, UnsupportedVersion

# /18830/0/6 *Security Mode*. The registry gives a range (0..4) and no list: this is our reading,
# after /0/x/2 of the LwM2M Security object. Change it here when the vendor publishes another.
SECURITY_MODE_PSK = 0
SECURITY_MODE_RAW_PUBLIC_KEY = 1
SECURITY_MODE_CERTIFICATE = 2
SECURITY_MODE_NONE = 3

# /18830/0/10 *Certificate Usage*. DESIGN gives 10 = 2 (trust anchor assertion, RFC 6698 §2.1.1).
CERTIFICATE_USAGE_TRUST_ANCHOR = 2
ENCODING_SENML_CBOR = 112


class BrokerCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into `/18830/0`. Certificates and the PKCS #8 key are DER (base64 in JSON)."""

    uri: str
    client_id: str
    certificate: bytes
    ca_certificate: bytes
    secret_key: bytes
    clean_session: bool = True
    keep_alive_s: int = 60
    security_mode: int = SECURITY_MODE_CERTIFICATE
    certificate_usage: int = CERTIFICATE_USAGE_TRUST_ANCHOR

    def __repr__(self) -> str:
        return f"BrokerCredentials(uri={self.uri!r}, client_id={self.client_id!r}, …)"


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into one `/18831/n`: which objects go to which topic. `source` is a link list."""

    instance: int
    source: str
    topic: str
    qos: int = 1
    retain: bool = False
    encoding: int = ENCODING_SENML_CBOR


class CredentialsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One device's credentials file, and the plaintext that is sealed to a bridge.

    `version` is the first 16 hex digits of the certificate's SHA-256.
    """

    endpoint: str
    version: str
    broker: BrokerCredentials
    publications: list[Publication]
    v: int = VERSION


class SealedCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a credentials topic. `sealed` is a compact JWE (ECDH-ES, A256GCM) of the
    `CredentialsDocument`, for the certificate of the bridge that holds the registration."""

    endpoint: str
    server: str
    registration_id: str
    version: str
    sealed: str
    v: int = VERSION


_D = TypeVar("_D", CredentialsDocument, SealedCredentials)

_documents = msgspec.json.Decoder(CredentialsDocument)
_sealed = msgspec.json.Decoder(SealedCredentials)


def decode_document(data: bytes) -> CredentialsDocument:
    """A credentials file's content. Raises `ContractError` that does not repeat the content."""
    return _checked(_documents, data, "a credentials document")


def decode_sealed(data: bytes) -> SealedCredentials:
    """The payload of a credentials topic. Raises `ContractError`."""
    return _checked(_sealed, data, "sealed credentials")


def _checked(decoder: msgspec.json.Decoder[_D], data: bytes, what: str) -> _D:
    try:
        found = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError(f"not {what}: {error}") from None
    if found.v > VERSION:
        raise UnsupportedVersion(what, found.v, VERSION)
    return found
