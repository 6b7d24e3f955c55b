"""The keys that access tokens are signed with: one signs, former ones are published until their
last token has expired. Private keys are in the users' database, which its owner alone can read.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from city_platform.identity.tokens import ALGORITHM

KEY_BITS: Final = 2_048


class KeyState(enum.StrEnum):
    """What a signing key is good for."""

    SIGNING = "signing"
    RETIRED = "retired"
    GONE = "gone"


class KeyEvent(enum.StrEnum):
    """What can happen to a signing key."""

    REPLACED = "replaced"
    LAST_TOKEN_EXPIRED = "last_token_expired"


KEY_TRANSITIONS: Final[Mapping[KeyState, Mapping[KeyEvent, KeyState | None]]] = {
    KeyState.SIGNING: {KeyEvent.REPLACED: KeyState.RETIRED, KeyEvent.LAST_TOKEN_EXPIRED: None},
    KeyState.RETIRED: {KeyEvent.REPLACED: None, KeyEvent.LAST_TOKEN_EXPIRED: KeyState.GONE},
    KeyState.GONE: {KeyEvent.REPLACED: None, KeyEvent.LAST_TOKEN_EXPIRED: None},
}


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key as it is kept. `retired_at_us` is 0 while it signs. Times are Unix."""

    id: str
    private_pem: bytes
    created_at_us: int
    state: KeyState = KeyState.SIGNING
    retired_at_us: int = 0

    def __repr__(self) -> str:
        return f"StoredKey({self.id!r}, {self.state.value})"


def make_key(now_us: int) -> StoredKey:
    """A new key. Its chance is the operating system's: the library takes no other.

    It takes a tenth of a second and belongs into a worker thread.
    """
    private = rsa.generate_private_key(65_537, KEY_BITS)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return StoredKey(id=RSAKey.import_key(pem).thumbprint(), private_pem=pem, created_at_us=now_us)


def after_rotation(keys: Sequence[StoredKey], new: StoredKey, now_us: int) -> list[StoredKey]:
    """The keys when `new` signs."""
    return [*(_moved(key, KeyEvent.REPLACED, now_us) for key in keys), new]


def at_time(keys: Sequence[StoredKey], now_us: int, token_s: float) -> list[StoredKey]:
    """The keys without those whose last token has expired. Clocks may be a minute apart."""
    gone_before = now_us - int((token_s + 60.0) * 1e6)
    aged = [
        _moved(key, KeyEvent.LAST_TOKEN_EXPIRED, now_us)
        if key.state is KeyState.RETIRED and key.retired_at_us < gone_before
        else key
        for key in keys
    ]
    return [key for key in aged if key.state is not KeyState.GONE]


class SigningKeys:
    """The keys at hand: signs, publishes, and finds keys as a verifier does."""

    def __init__(self, keys: Sequence[StoredKey]) -> None:
        self.stored = list(keys)
        self._private = {key.id: RSAKey.import_key(key.private_pem) for key in keys}
        self._public = {
            key_id: RSAKey.import_key(key.as_dict(private=False))
            for key_id, key in self._private.items()
        }

    @property
    def signing(self) -> StoredKey | None:
        """The key that signs."""
        return next((key for key in self.stored if key.state is KeyState.SIGNING), None)

    def sign(self, claims: Mapping[str, Any]) -> str:
        """An access token with these claims."""
        key = self.signing
        if key is None:
            raise LookupError("there is no signing key")
        # RFC 9068 §2.1: the type keeps it from being taken for another kind of token.
        header = {"alg": ALGORITHM, "kid": key.id, "typ": "at+jwt"}
        return jwt.encode(header, dict(claims), self._private[key.id], algorithms=[ALGORITHM])

    async def find(self, key_id: str) -> RSAKey | None:
        """See `key_sets.Keys`."""
        return self._public.get(key_id)

    def key_set(self) -> dict[str, Any]:
        """The published document (RFC 7517 §5)."""
        return {
            "keys": [
                {
                    **{name: key.as_dict(private=False)[name] for name in ("kty", "n", "e")},
                    "kid": key_id, "use": "sig", "alg": ALGORITHM,
                }
                for key_id, key in self._public.items()
            ]
        }  # fmt: skip


def _moved(key: StoredKey, event: KeyEvent, now_us: int) -> StoredKey:
    state = KEY_TRANSITIONS[key.state][event]
    if state is None:
        return key
    retired_at_us = now_us if state is KeyState.RETIRED else key.retired_at_us
    return msgspec.structs.replace(key, state=state, retired_at_us=retired_at_us)
