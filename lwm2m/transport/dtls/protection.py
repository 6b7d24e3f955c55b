"""Protection of records after the handshake: keys from the master secret, sealing and opening.

RFC 5246 §6.2.3 and §6.3, RFC 6655 and 5288 for the AEAD suites, RFC 7366 for CBC. OpenSSL makes the
handshake; a session of its own would keep 49 to 76 KB, these keys keep one.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM

from lwm2m.transport.dtls.prf import Prf
from lwm2m.transport.dtls.records import DTLS_1_2, RECORD_HEADER_BYTES
from lwm2m.transport.dtls.suites import RecordCipher

KEY_BYTES = 16
_SALT_BYTES = 4
_EXPLICIT_BYTES = 8
_MAC_BYTES = 32
_IV_BYTES = 16
_MASTER_BYTES = 48
# Epoch 1 in the upper 16 bits: one handshake makes it, and there is no second on a session.
_EPOCH_1 = 1 << 48

# type, version, epoch with sequence number, length of what follows
_HEADER = struct.Struct(">BHQH")
# the same with the explicit part of the nonce
_AEAD_HEADER = struct.Struct(">BHQHQ")
_CIPHERTEXT = RECORD_HEADER_BYTES + _EXPLICIT_BYTES
# what is authenticated along: epoch with sequence number, type, version, length (RFC 5246 §6.2.3.3)
_ADDITIONAL = struct.Struct(">QBHH")
# Bound once: these are called for every record.
_unpack_header, _pack_aead_header = _HEADER.unpack_from, _AEAD_HEADER.pack
_pack_additional = _ADDITIONAL.pack


class Protection(Protocol):
    """The keys of one direction of one session."""

    def seal(self, content_type: int, sequence: int, content: bytes) -> bytes:
        """A whole protected record of epoch 1."""

    def open(self, record: bytes) -> bytes | None:
        """The content of a whole record of epoch 1; None when it was not made with these keys."""


class AeadCipher(msgspec.Struct, frozen=True):
    """One of the AEAD ciphers: what makes its object from a key, and by how much a record grows."""

    make: Callable[[bytes], AESCCM | AESGCM]
    added_bytes: int


_AEAD: dict[RecordCipher, AeadCipher] = {
    "ccm_8": AeadCipher(lambda key: AESCCM(key, tag_length=8), _EXPLICIT_BYTES + 8),
    "ccm": AeadCipher(AESCCM, _EXPLICIT_BYTES + 16),
    "gcm": AeadCipher(AESGCM, _EXPLICIT_BYTES + 16),
}


# OpenSSL's object for one key takes 0.7 KB (CCM) to 2.5 KB (GCM), which is more than all else that
# is kept of a session, and a microsecond to make. So only the newest have one; it is made again
# when an older one is used. One list for all endpoints of a process, as `bindings` has one buffer.
_IN_USE_MAX = 2_048
_in_use: deque[AeadProtection] = deque()


class AeadProtection:
    """AES-128 in CCM or GCM with an explicit nonce of epoch and sequence number."""

    __slots__ = ("_aead", "_cipher", "_keys")

    def __init__(self, cipher: AeadCipher, key: bytes, salt: bytes) -> None:
        self._cipher = cipher
        self._keys = key + salt
        self._aead: AESCCM | AESGCM | None = None

    def seal(self, content_type: int, sequence: int, content: bytes) -> bytes:
        """See `Protection.seal`."""
        number = _EPOCH_1 + sequence
        size = len(content)
        # RFC 6655 §3: epoch and sequence number may serve as the explicit part, and never repeat.
        header = _pack_aead_header(
            content_type, DTLS_1_2, number, size + self._cipher.added_bytes, number
        )
        return header + (self._aead or self._begin_use()).encrypt(
            self._keys[KEY_BYTES:] + header[RECORD_HEADER_BYTES:],
            content,
            _pack_additional(number, content_type, DTLS_1_2, size),
        )

    def open(self, record: bytes) -> bytes | None:
        """See `Protection.open`."""
        content_type, version, number, length = _unpack_header(record)
        size = length - self._cipher.added_bytes
        if size < 0:
            return None
        try:
            return (self._aead or self._begin_use()).decrypt(
                self._keys[KEY_BYTES:] + record[RECORD_HEADER_BYTES:_CIPHERTEXT],
                record[_CIPHERTEXT:],
                _pack_additional(number, content_type, version, size),
            )
        except InvalidTag:
            return None

    def _begin_use(self) -> AESCCM | AESGCM:
        aead = self._aead = self._cipher.make(self._keys[:KEY_BYTES])
        _in_use.append(self)
        if len(_in_use) > _IN_USE_MAX:
            _in_use.popleft()._aead = None
        return aead


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
        number = _EPOCH_1 + sequence
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
        content_type, version, number, _ = _unpack_header(record)
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
        header = _pack_additional(number, content_type, version, len(covered))
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

    __slots__ = ("_client_random", "_prf", "_server_random")

    def __init__(self, master: bytes, client_random: bytes, server_random: bytes) -> None:
        self._prf = Prf(master)
        self._client_random = client_random
        self._server_random = server_random

    @classmethod
    def from_premaster(
        cls,
        premaster: bytes,
        client_random: bytes,
        server_random: bytes,
        *,
        session_hash: bytes | None,
    ) -> MasterSecrets:
        """With a session hash (RFC 7627 §4), or None as in RFC 5246 §8.1."""
        if session_hash is not None:
            seed = b"extended master secret" + session_hash
        else:
            seed = b"master secret" + client_random + server_random
        return cls(Prf(premaster).expand(seed, _MASTER_BYTES), client_random, server_random)

    def expand(self, seed: bytes, size: int) -> bytes:
        """So many bytes of the PRF under the master secret; `seed` begins with the label."""
        return self._prf.expand(seed, size)

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
            block = self._prf.expand(seed, 2 * _MAC_BYTES + 2 * KEY_BYTES)
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
        block = self._prf.expand(seed, 2 * KEY_BYTES + 2 * _SALT_BYTES)
        keys = _cut(block, KEY_BYTES, KEY_BYTES, _SALT_BYTES, _SALT_BYTES)
        aead = _AEAD[cipher]
        return AeadProtection(aead, keys[0], keys[2]), AeadProtection(aead, keys[1], keys[3])


def _cut(block: bytes, *sizes: int) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(block[start : start + size])
        start += size
    return parts
