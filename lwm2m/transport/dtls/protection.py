"""Protection of records after the handshake: keys from the master secret, sealing and opening.

RFC 5246 §6.2.3 and §6.3, RFC 6655 and 5288 for the AEAD suites, RFC 7366 for CBC. OpenSSL makes the
handshake; a session of its own would keep 49 to 76 KB, these keys keep one.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

from lwm2m.transport.dtls.records import DTLS_1_2, RECORD_HEADER_BYTES
from lwm2m.transport.dtls.suites import RecordCipher

KEY_BYTES = 16
_SALT_BYTES = 4
_EXPLICIT_BYTES = 8
_MAC_BYTES = 32
_IV_BYTES = 16
_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
# Epoch 1 in the upper 16 bits: one handshake makes it, and there is no second on a session.
_EPOCH_1 = 1 << 48

# type, version, epoch with sequence number, length of what follows
_HEADER = struct.Struct(">BHQH")
# the same with the explicit part of the nonce
_AEAD_HEADER = struct.Struct(">BHQHQ")
_CIPHERTEXT = RECORD_HEADER_BYTES + _EXPLICIT_BYTES
# what is authenticated along: epoch with sequence number, type, version, length (RFC 5246 §6.2.3.3)
_ADDITIONAL = struct.Struct(">QBHH")


class Protection(Protocol):
    """The keys of one direction of one session."""

    def seal(self, content_type: int, sequence: int, content: bytes) -> bytes:
        """A whole protected record of epoch 1."""

    def open(self, record: bytes) -> bytes | None:
        """The content of a whole record of epoch 1; None when it was not made with these keys."""


class AeadProtection:
    """AES-128 in CCM or GCM with an explicit nonce of epoch and sequence number."""

    __slots__ = ("_aead", "_salt", "_tag_bytes")

    def __init__(self, aead: AESCCM | AESGCM, salt: bytes, tag_bytes: int) -> None:
        self._aead = aead
        self._salt = salt
        self._tag_bytes = tag_bytes

    def seal(self, content_type: int, sequence: int, content: bytes) -> bytes:
        """See `Protection.seal`."""
        number = _EPOCH_1 | sequence
        size = len(content)
        # RFC 6655 §3: epoch and sequence number may serve as the explicit part, and never repeat.
        header = _AEAD_HEADER.pack(
            content_type, DTLS_1_2, number, size + _EXPLICIT_BYTES + self._tag_bytes, number
        )
        return header + self._aead.encrypt(
            self._salt + header[RECORD_HEADER_BYTES:],
            content,
            _ADDITIONAL.pack(number, content_type, DTLS_1_2, size),
        )

    def open(self, record: bytes) -> bytes | None:
        """See `Protection.open`."""
        content_type, version, number, length = _HEADER.unpack_from(record)
        size = length - _EXPLICIT_BYTES - self._tag_bytes
        if size < 0:
            return None
        try:
            return self._aead.decrypt(
                self._salt + record[RECORD_HEADER_BYTES:_CIPHERTEXT],
                record[_CIPHERTEXT:],
                _ADDITIONAL.pack(number, content_type, version, size),
            )
        except InvalidTag:
            return None


class CbcProtection:
    """AES-128-CBC with HMAC-SHA256: the MAC over the ciphertext where both sides can (RFC 7366).

    The older order, MAC then encrypt, is open to timing attacks on its padding, which Python cannot
    close; it is there for peers that know no other.
    """

    __slots__ = ("_cipher_key", "_encrypt_then_mac", "_mac_key", "_random_bytes")

    def __init__(
        self,
        cipher_key: bytes,
        mac_key: bytes,
        *,
        encrypt_then_mac: bool,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._cipher_key = cipher_key
        self._mac_key = mac_key
        self._encrypt_then_mac = encrypt_then_mac
        self._random_bytes = random_bytes

    def seal(self, content_type: int, sequence: int, content: bytes) -> bytes:
        """See `Protection.seal`."""
        number = _EPOCH_1 | sequence
        initial = self._random_bytes(_IV_BYTES)
        if self._encrypt_then_mac:
            fragment = initial + self._encrypt(initial, content)
            fragment += self._mac(number, content_type, DTLS_1_2, fragment)
        else:
            mac = self._mac(number, content_type, DTLS_1_2, content)
            fragment = initial + self._encrypt(initial, content + mac)
        return _HEADER.pack(content_type, DTLS_1_2, number, len(fragment)) + fragment

    def open(self, record: bytes) -> bytes | None:
        """See `Protection.open`."""
        content_type, version, number, _ = _HEADER.unpack_from(record)
        fragment = record[RECORD_HEADER_BYTES:]
        if self._encrypt_then_mac:
            fragment, mac = fragment[:-_MAC_BYTES], fragment[-_MAC_BYTES:]
            if not hmac.compare_digest(mac, self._mac(number, content_type, version, fragment)):
                return None
            return self._decrypt(fragment)
        opened = self._decrypt(fragment)
        if opened is None:
            return None
        content, mac = opened[:-_MAC_BYTES], opened[-_MAC_BYTES:]
        made = self._mac(number, content_type, version, content)
        return content if hmac.compare_digest(mac, made) else None

    def _mac(self, number: int, content_type: int, version: int, covered: bytes) -> bytes:
        header = _ADDITIONAL.pack(number, content_type, version, len(covered))
        return hmac.digest(self._mac_key, header + covered, hashlib.sha256)

    def _encrypt(self, initial: bytes, content: bytes) -> bytes:
        padding = _IV_BYTES - 1 - len(content) % _IV_BYTES
        encryptor = Cipher(algorithms.AES(self._cipher_key), modes.CBC(initial)).encryptor()
        return encryptor.update(content + bytes([padding]) * (padding + 1)) + encryptor.finalize()

    def _decrypt(self, fragment: bytes) -> bytes | None:
        """The decrypted content without its padding; None when it cannot be one."""
        if len(fragment) < 2 * _IV_BYTES or len(fragment) % _IV_BYTES:
            return None
        initial = fragment[:_IV_BYTES]
        decryptor = Cipher(algorithms.AES(self._cipher_key), modes.CBC(initial)).decryptor()
        opened = decryptor.update(fragment[_IV_BYTES:]) + decryptor.finalize()
        padding = opened[-1] + 1
        if not opened.endswith(bytes([opened[-1]]) * padding):
            return None
        return opened[:-padding]


class MasterSecrets:
    """What the keys of a session are derived from; its repr shows none of it."""

    __slots__ = ("_client_random", "_master", "_server_random")

    def __init__(self, master: bytes, client_random: bytes, server_random: bytes) -> None:
        self._master = master
        self._client_random = client_random
        self._server_random = server_random

    def protections(
        self,
        cipher: RecordCipher,
        random_bytes: Callable[[int], bytes],
        *,
        encrypt_then_mac: bool = True,
    ) -> tuple[Protection, Protection]:
        """What the client, and what the server, protects its records with (RFC 5246 §6.3)."""
        seed = b"key expansion" + self._server_random + self._client_random
        if cipher == "cbc":
            block = _expand(self._master, seed, 2 * _MAC_BYTES + 2 * KEY_BYTES)
            keys = _cut(block, _MAC_BYTES, _MAC_BYTES, KEY_BYTES, KEY_BYTES)
            client, server = (
                CbcProtection(
                    keys[2 + side],
                    keys[side],
                    encrypt_then_mac=encrypt_then_mac,
                    random_bytes=random_bytes,
                )
                for side in (0, 1)
            )
            return client, server
        block = _expand(self._master, seed, 2 * KEY_BYTES + 2 * _SALT_BYTES)
        keys = _cut(block, KEY_BYTES, KEY_BYTES, _SALT_BYTES, _SALT_BYTES)
        return _aead(cipher, keys[0], keys[2]), _aead(cipher, keys[1], keys[3])


def _aead(cipher: RecordCipher, key: bytes, salt: bytes) -> AeadProtection:
    if cipher == "gcm":
        return AeadProtection(AESGCM(key), salt, 16)
    tag_bytes = 8 if cipher == "ccm_8" else 16
    return AeadProtection(AESCCM(key, tag_length=tag_bytes), salt, tag_bytes)


def _expand(secret: bytes, seed: bytes, size: int) -> bytes:
    """P_SHA256 (RFC 5246 §5). `secret` is at most a block, 64 bytes."""
    # HMAC (RFC 2104 §4): the key is worked in once, not for each of the four; `hmac.digest` takes
    # three times as long.
    key = secret.ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(key.translate(_INNER_PAD))
    outer = hashlib.sha256(key.translate(_OUTER_PAD))

    def authenticate(message: bytes) -> bytes:
        within, around = inner.copy(), outer.copy()
        within.update(message)
        around.update(within.digest())
        return around.digest()

    made, link = b"", seed
    while len(made) < size:
        link = authenticate(link)
        made += authenticate(link + seed)
    return made[:size]


def _cut(block: bytes, *sizes: int) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(block[start : start + size])
        start += size
    return parts
