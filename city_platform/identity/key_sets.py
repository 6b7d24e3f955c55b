"""An issuer's public keys: read from a key set (RFC 7517), fetched, kept, and fetched again.

A token with an unknown key id has the keys fetched at once, because the issuer may have begun to
use a new one; but not more often than every few seconds, whatever strangers send.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from city_platform.identity.fetch import FetchFailed, fetch, is_allowed

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

KEYS_MAX: Final = 100
DOCUMENT_BYTES_MAX: Final = 262_144
MODULUS_BITS_MIN: Final = 2_048
MODULUS_BITS_MAX: Final = 8_192

_log = logging.getLogger(__name__)


class MalformedKeySet(ValueError):
    """A document is no key set, or no description of an issuer; the text says why."""


class Keys(Protocol):
    """Public keys by id."""

    async def find(self, key_id: str) -> RSAKey | None:
        """The key, None when the issuer has none of this id."""


class _Jwk(msgspec.Struct, frozen=True):
    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    n: str | None = None
    e: str | None = None


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[_Jwk]


class _Issuer(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


_key_sets = msgspec.json.Decoder(_KeySet)
_issuers = msgspec.json.Decoder(_Issuer)


def read_key_set(document: bytes) -> dict[str, RSAKey]:
    """The RSA signature keys of a key set by their ids; keys of other kinds are left out.

    Raises `MalformedKeySet`.
    """
    found = _decode(_key_sets, document, "a key set")
    if len(found.keys) > KEYS_MAX:
        raise MalformedKeySet(f"a key set has at most {KEYS_MAX} keys, this one {len(found.keys)}")
    wanted = [
        one
        for one in found.keys
        if one.kty == "RSA" and one.use in (None, "sig") and one.alg in (None, "RS256")
    ]
    return {one.kid: _public_key(one) for one in wanted if one.kid}


def read_issuer(document: bytes, issuer: str) -> str:
    """The URL of the keys in an OpenID Connect Discovery document. Raises `MalformedKeySet`."""
    found = _decode(_issuers, document, "a description of an OpenID Connect issuer")
    # OpenID Connect Discovery §4.3: it must be the issuer that was asked for.
    if found.issuer != issuer:
        raise MalformedKeySet(f"it describes {found.issuer[:200]!r}, not {issuer!r}")
    if not is_allowed(found.jwks_uri):
        raise MalformedKeySet("its jwks_uri is neither https nor on this machine")
    return str(found.jwks_uri)


class FetchedKeys:
    """`Keys` that are fetched when they are first asked for, and again. Counts what it does."""

    def __init__(
        self,
        load: Callable[[], Awaitable[bytes]],
        now_ns: Callable[[], int],
        *,
        cached_s: float,
        stale_s: float,
        pause_s: float,
    ) -> None:
        self.fetched = 0
        self.failed = 0
        self._load = load
        self._now_ns = now_ns
        self._cached_ns = int(cached_s * 1e9)
        self._stale_ns = int(stale_s * 1e9)
        self._pause_ns = int(pause_s * 1e9)
        self._keys: Mapping[str, RSAKey] = {}
        self._loaded_ns: int | None = None
        self._tried_ns: int | None = None
        self._turn = asyncio.Lock()

    async def find(self, key_id: str) -> RSAKey | None:
        """See `Keys`."""
        if key_id in self._keys and self._is_within(self._cached_ns):
            return self._keys[key_id]
        async with self._turn:
            # Whoever waited for the turn may find that another has fetched.
            is_needed = key_id not in self._keys or not self._is_within(self._cached_ns)
            if is_needed and self._may_try():
                await self._fetch()
        return self._keys.get(key_id) if self._is_within(self._stale_ns) else None

    def _is_within(self, age_ns: int) -> bool:
        return self._loaded_ns is not None and self._now_ns() - self._loaded_ns < age_ns

    def _may_try(self) -> bool:
        return self._tried_ns is None or self._now_ns() - self._tried_ns >= self._pause_ns

    async def _fetch(self) -> None:
        self._tried_ns = self._now_ns()
        try:
            self._keys = read_key_set(await self._load())
        except (FetchFailed, MalformedKeySet, OSError) as error:
            self.failed += 1
            _log.warning("the issuer's keys were not fetched: %s", error)
            return
        self.fetched += 1
        self._loaded_ns = self._now_ns()


def load_from(
    issuer: str, keys_url: str | None, ca_file: str | None
) -> Callable[[], Awaitable[bytes]]:
    """What fetches an issuer's key set, whose place is asked of the issuer when it is not known."""

    async def load() -> bytes:
        url = keys_url
        if url is None:
            place = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
            url = read_issuer(await fetch(place, DOCUMENT_BYTES_MAX, ca_file), issuer)
        return await fetch(url, DOCUMENT_BYTES_MAX, ca_file)

    return load


def _public_key(found: _Jwk) -> RSAKey:
    if found.n is None or found.e is None:
        raise MalformedKeySet(f"key {found.kid!r} has no modulus or exponent")
    # Measured before the library is asked: a huge number would cost it seconds.
    bits = _number(found.n, found.kid).bit_length()
    exponent = _number(found.e, found.kid)
    if not MODULUS_BITS_MIN <= bits <= MODULUS_BITS_MAX:
        raise MalformedKeySet(f"key {found.kid!r} has {bits} bits: {MODULUS_BITS_MIN} are needed")
    if not 3 <= exponent < 2**32 or exponent % 2 == 0:
        raise MalformedKeySet(f"key {found.kid!r} has an impossible exponent")
    # Imported now, as in `wiring`: the library takes longer to import than all of a component.
    from joserfc.jwk import RSAKey

    try:
        key = RSAKey.import_key({"kty": "RSA", "n": found.n, "e": found.e})
        # The library makes the number only now.
        key.get_op_key("verify")
    except Exception as error:  # the library raises many kinds for numbers that are no key
        raise MalformedKeySet(f"key {found.kid!r} is unusable: {type(error).__name__}") from None
    return key


def _number(text: str, key_id: str | None) -> int:
    try:
        return int.from_bytes(urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
    except ValueError:
        raise MalformedKeySet(f"key {key_id!r} is not base64url") from None


def _decode(decoder: msgspec.json.Decoder[Any], document: bytes, what: str) -> Any:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise MalformedKeySet(f"{what} has at most {DOCUMENT_BYTES_MAX} bytes")
    try:
        return decoder.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedKeySet(f"not {what}: {error}") from None


def issuer_url(text: str) -> str:
    """`text` if it may be an issuer. Raises `ValueError` with what is expected."""
    parts = urlsplit(text)
    if not is_allowed(text) or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no issuer: an https URL, or http on this machine")
    return text
