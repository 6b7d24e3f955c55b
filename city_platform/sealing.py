"""Seals credentials to a bridge's certificate and opens them with its key: JWE, ECDH-ES, A256GCM.

Compact serialization (RFC 7516 §7.1) of direct key agreement (RFC 7518 §4.6) over P-256. Written
on the primitives: half the time of a general library, and nothing else that it would accept.

One key agreement serves a bounded run of texts, each under a nonce of its own: the agreement is
nine tenths of what sealing and opening cost. Its ephemeral private key is dropped at once; what
lives on for the run is the content key, which opens only the texts that were sealed with it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

# Draws so many random bytes.
Draw = Callable[[int], bytes]

SEALED_LENGTH_MAX: Final = 256 * 1024
# From base64url without padding to base64, whose own characters become none of the alphabet; nor
# do those that mean something within a JSON text.
_TO_BASE64: Final = bytes.maketrans(b'-_+/="\\', b"+/!!!!!")
_FROM_BASE64: Final = bytes.maketrans(b"+/", b"-_")
_PADDING: Final = (b'"', b"", b'=="', b'="')
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_COORDINATE_BYTES: Final = 32
# RFC 7518 §4.6.2: one round of the Concat KDF gives 256 bits. Round number; then, after the shared
# secret: algorithm id, empty PartyUInfo and PartyVInfo, key length in bits, each as it is coded.
_KDF_ROUND: Final = (1).to_bytes(4)
_KDF_INFO: Final = (7).to_bytes(4) + b"A256GCM" + bytes(4) + bytes(4) + (256).to_bytes(4)
# FIPS 186-5 A.2.1: 64 bits more than the order has, so that the remainder has no bias.
_SCALAR_BYTES: Final = 40
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

# Texts of one agreement. Random nonces allow 2^32 with one key (NIST SP 800-38D §8.3); far below
# that, because whoever learned a content key could read the whole run.
SEALS_PER_AGREEMENT: Final = 500
# Agreements that an opener remembers: those of several senders take turns.
_AGREEMENTS_KEPT: Final = 16


class CannotOpen(ValueError):
    """A sealed text is damaged, forged, or for somebody else's key. Never repeats the content."""


class ForAnotherCertificate(CannotOpen):
    """A sealed text names another certificate than the opener's."""


class _EphemeralKey(msgspec.Struct, frozen=True):
    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["ECDH-ES"]
    enc: Literal["A256GCM"]
    kid: str
    epk: _EphemeralKey
    typ: str | None = None


_headers = msgspec.json.Decoder(_Header)
# Bytes are base64 in JSON, and msgspec reads and writes that in half the time that binascii takes.
_base64_texts = msgspec.json.Decoder(bytes)
_base64_writer = msgspec.json.Encoder()


def thumbprint(certificate_pem: bytes) -> str:
    """The key id of a certificate: the base64url SHA-256 of its DER form (RFC 7515 §4.1.8)."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return _encode(hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())


def sealer(certificate_pem: bytes, draw: Draw = os.urandom) -> Callable[[bytes], str]:
    """A function that seals a plaintext for the holder of this certificate's P-256 key.

    The result is a compact JWE whose `kid` is the certificate's thumbprint; `SEALS_PER_AGREEMENT`
    of them in turn have the same ephemeral key. Raises `ValueError` for a certificate with another
    kind of key.
    """
    recipient = x509.load_pem_x509_certificate(certificate_pem).public_key()
    if not isinstance(recipient, ec.EllipticCurvePublicKey) or recipient.curve.name != "secp256r1":
        raise ValueError("the bridge's certificate has no P-256 key")
    begin = f'{{"alg":"ECDH-ES","enc":"A256GCM","kid":"{thumbprint(certificate_pem)}"'

    def agree() -> tuple[str, bytes, AESGCM]:
        ephemeral = _new_key(draw)
        point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        x, y = _encode(point[1:33]), _encode(point[33:])
        header = f'{begin},"epk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}'
        protected = _encode(header.encode())
        cipher = AESGCM(_content_key(ephemeral.exchange(ec.ECDH(), recipient)))
        return protected, protected.encode(), cipher

    agreement: tuple[str, bytes, AESGCM] | None = None
    left = 0

    def seal(plaintext: bytes) -> str:
        nonlocal agreement, left
        if agreement is None or not left:
            agreement, left = agree(), SEALS_PER_AGREEMENT
        left -= 1
        protected, authenticated, cipher = agreement
        nonce = draw(_NONCE_BYTES)
        sealed = cipher.encrypt(nonce, plaintext, authenticated)
        ciphertext, tag = _encode(sealed[:-_TAG_BYTES]), _encode(sealed[-_TAG_BYTES:])
        # The second part, the encrypted key, is empty with direct key agreement.
        return f"{protected}..{_encode(nonce)}.{ciphertext}.{tag}"

    return seal


def opener(certificate_pem: bytes, key_pem: bytes) -> Callable[[str], bytes]:
    """A function that opens what was sealed for this certificate. It raises `CannotOpen`.

    Raises `ValueError` for a key that is not on P-256.
    """
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError("the bridge's key is not on P-256")
    own_kid = thumbprint(certificate_pem)
    # By protected header, oldest first: it holds all that the content key is made from.
    agreed: dict[str, tuple[AESGCM, bytes]] = {}

    def agree(protected: str) -> tuple[AESGCM, bytes]:
        header = _read_header(protected)
        if header.kid != own_kid:
            raise ForAnotherCertificate("sealed for another certificate")
        shared_secret = key.exchange(ec.ECDH(), _read_point(header.epk))
        return AESGCM(_content_key(shared_secret)), protected.encode()

    def open_sealed(sealed: str) -> bytes:
        protected, nonce, ciphertext_and_tag = _split(sealed)
        agreement = agreed.pop(protected, None) or agree(protected)
        agreed[protected] = agreement
        if len(agreed) > _AGREEMENTS_KEPT:
            del agreed[next(iter(agreed))]
        cipher, authenticated = agreement
        try:
            return cipher.decrypt(nonce, ciphertext_and_tag, authenticated)
        except InvalidTag:
            raise CannotOpen("damaged or forged") from None

    return open_sealed


def renewed_opener(read: Callable[[], tuple[bytes, bytes]]) -> Callable[[str], bytes]:
    """An `opener` of the certificate and key that `read` gives (PEM): read now, and once more when
    something is sealed for another certificate, since one's own may have been renewed.

    Raises what `read` raises now; later that is a `CannotOpen`.
    """
    open_sealed = opener(*read())

    def open_with_newest(sealed: str) -> bytes:
        nonlocal open_sealed
        try:
            return open_sealed(sealed)
        except ForAnotherCertificate:
            try:
                newest = opener(*read())
            except (OSError, ValueError):
                reason = "sealed for another certificate, and ours cannot be read"
                raise CannotOpen(reason) from None
            plaintext = newest(sealed)
            open_sealed = newest
            return plaintext

    return open_with_newest


def _split(sealed: str) -> tuple[str, bytes, bytes]:
    parts = sealed.split(".") if len(sealed) <= SEALED_LENGTH_MAX else []
    if len(parts) != 5 or parts[1]:
        raise CannotOpen("not a compact JWE with direct key agreement")
    protected = parts[0]
    nonce, ciphertext, tag = _decode(parts[2]), _decode(parts[3]), _decode(parts[4])
    if len(nonce) != _NONCE_BYTES or len(tag) != _TAG_BYTES:
        raise CannotOpen("nonce or tag has the wrong length")
    return protected, nonce, ciphertext + tag


def _read_header(protected: str) -> _Header:
    try:
        return _headers.decode(_decode(protected))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise CannotOpen("the header is not of ECDH-ES with A256GCM") from None


def _read_point(point: _EphemeralKey) -> ec.EllipticCurvePublicKey:
    x, y = _decode(point.x), _decode(point.y)
    if len(x) != _COORDINATE_BYTES or len(y) != _COORDINATE_BYTES:
        raise CannotOpen("the ephemeral key has the wrong length")
    try:
        # Refuses what is not on the curve, which would tell about the key (RFC 7518 §8.1).
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    except ValueError:
        raise CannotOpen("the ephemeral key is not on the curve") from None


def _new_key(draw: Draw) -> ec.EllipticCurvePrivateKey:
    scalar = int.from_bytes(draw(_SCALAR_BYTES)) % (_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def _content_key(shared_secret: bytes) -> bytes:
    return hashlib.sha256(_KDF_ROUND + shared_secret + _KDF_INFO).digest()


def _encode(data: bytes) -> str:
    text = _base64_writer.encode(data)
    return text[1:-1].rstrip(b"=").translate(_FROM_BASE64).decode()


def _decode(part: str) -> bytes:
    if len(part) % 4 == 1:
        raise CannotOpen("not base64url")
    try:
        text = part.encode("ascii").translate(_TO_BASE64)
        return _base64_texts.decode(b'"' + text + _PADDING[len(part) % 4])
    except ValueError:  # msgspec's are some
        raise CannotOpen("not base64url") from None
