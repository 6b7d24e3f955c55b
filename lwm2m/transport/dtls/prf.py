"""The pseudo-random function of TLS 1.2 (RFC 5246 §5): HMAC-SHA256, chained."""

from __future__ import annotations

import hashlib
from typing import Any

try:
    # CPython's own: of a block or two, as all is here, it makes the digest in half the time that
    # OpenSSL's needs to copy and end a context.
    from _sha256 import sha256 as _sha256  # type: ignore[import-not-found]  # typeshed has it not
except ImportError:  # pragma: no cover  # newer Pythons name it otherwise
    _sha256 = hashlib.sha256

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
            secret = _sha256(secret).digest()
        key = secret.ljust(_BLOCK_BYTES, b"\0")
        self._inner: Any = _sha256(key.translate(_INNER_PAD))
        self._outer: Any = _sha256(key.translate(_OUTER_PAD))

    def expand(self, seed: bytes, size: int) -> bytes:
        """So many bytes; `seed` begins with the label."""
        authenticate = self._authenticate
        link = authenticate(seed)
        made: bytes = authenticate(link + seed)
        while len(made) < size:
            link = authenticate(link)
            made += authenticate(link + seed)
        return made[:size]

    def _authenticate(self, message: bytes) -> bytes:
        within, around = self._inner.copy(), self._outer.copy()
        within.update(message)
        around.update(within.digest())
        digest: bytes = around.digest()
        return digest
