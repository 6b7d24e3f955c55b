"""Signed heads: who holds the key says how far the log had come at a time.

A chain shows that nothing inside it was changed, not that its end is still there. The head does: it
is signed at every commit, and again once a minute, so an old one shows by its age. A head stands
for a whole log, a checkpoint for an archived object; both are the same document.
"""

from __future__ import annotations

from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from city_platform.audit.chain import ChainHead, Hash
from runtime.files import write_atomically, write_secret

HEAD_VERSION: Final = 1
KEY_BYTES: Final = 32
HEAD_BYTES_MAX: Final = 4_096
_SIGNATURE_FIELD: Final = b',"signature":"'


class DamagedKey(ValueError):
    """The file of the signing key is unreadable: restore it, or begin a new log."""


class MalformedHead(ValueError):
    """Bytes that are no signed head, or whose signature is not of this key."""


class SignedHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to `sequence`, whose hash is `hash`, the log was whole at `at_us` (Unix time)."""

    v: int
    sequence: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    hash: Hash
    at_us: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    signature: str

    @property
    def head(self) -> ChainHead:
        """As the chain says it."""
        return ChainHead(self.sequence, self.hash)


class _Body(msgspec.Struct, frozen=True):
    v: int
    sequence: int
    hash: str
    at_us: int


_heads = msgspec.json.Decoder(SignedHead)


class Signer:
    """Signs heads with one Ed25519 key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._sign: Callable[[bytes], bytes] = key.sign
        self.public_key = key.public_key().public_bytes_raw()

    def sign_head(self, head: ChainHead, at_us: int) -> bytes:
        """The document of a head."""
        body = msgspec.json.encode(_Body(HEAD_VERSION, head.sequence, head.hash, at_us))[:-1]
        signature = b2a_base64(self._sign(body), newline=False)
        return body + _SIGNATURE_FIELD + signature + b'"}'


def read_head(document: bytes, public_key: bytes) -> SignedHead:
    """A head that this key signed. Raises `MalformedHead`."""
    if len(document) > HEAD_BYTES_MAX:
        raise MalformedHead(f"a head has at most {HEAD_BYTES_MAX} bytes")
    try:
        found = _heads.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedHead(f"not a signed head: {error}") from None
    if found.v != HEAD_VERSION:
        raise MalformedHead(f"a head of version {found.v}; this program knows {HEAD_VERSION}")
    body = msgspec.json.encode(_Body(found.v, found.sequence, found.hash, found.at_us))[:-1]
    try:
        signature = a2b_base64(found.signature, strict_mode=True)
        # The last letter has bits that say nothing: of one signature there is one text.
        if b2a_base64(signature, newline=False).decode() != found.signature:
            raise ValueError("not as it was written")
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, body)
    except (NotBase64, ValueError, InvalidSignature):
        raise MalformedHead("the signature is not of this log's key") from None
    return found


def open_signer(path: Path, draw: Callable[[int], bytes]) -> Signer:
    """The key in `path`; it is made when there is none, and its public half put beside it.

    `draw` is the source of a new key. Raises `DamagedKey` and `OSError`.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.from_private_bytes(draw(KEY_BYTES))
        write_secret(path, _private_pem(key), sync=True)
    signer = Signer(_load(path))
    public = path.with_suffix(".pub")
    if not public.exists():
        write_atomically(public, public_pem(signer.public_key), sync=True)
    return signer


def public_pem(public_key: bytes) -> bytes:
    """A raw public key as PEM."""
    return Ed25519PublicKey.from_public_bytes(public_key).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def read_public_key(data: bytes) -> bytes:
    """The raw Ed25519 key in a PEM. Raises `DamagedKey`."""
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as error:  # the library raises many kinds for bytes that are no key
        raise DamagedKey(f"not a public key in PEM: {type(error).__name__}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise DamagedKey("not an Ed25519 key")
    return key.public_bytes_raw()


def _load(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise DamagedKey(f"{path} is no private key in PEM: {type(error).__name__}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DamagedKey(f"{path} is not an Ed25519 key")
    return key


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
