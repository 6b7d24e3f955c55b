"""Verifies access tokens: RS256 alone, a key of the issuer, and the claims that must be there."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import RSAKey

from city_platform.identity.callers import Caller
from city_platform.identity.claims import TokenFault, TokenRefused, check_times, read_claims
from city_platform.identity.config import AccessConfig
from city_platform.identity.key_sets import Keys

ALGORITHM: Final = "RS256"
TOKEN_LENGTH_MAX: Final = 16_384
VERIFIED_KEPT: Final = 1_024


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str | None = None
    crit: list[str] | None = None


class _Verified(NamedTuple):
    key_id: str
    claims: dict[str, Any]
    caller: Caller


_headers = msgspec.json.Decoder(_Header)


class TokenVerifier:
    """Tells whose a token is. `wall_us` is Unix time.

    A verified token's caller is remembered by the token's hash, and its times are looked at every
    time, as is whether the issuer still has the key: a program sends one token hundreds of times.
    """

    def __init__(self, keys: Keys, access: AccessConfig, wall_us: Callable[[], int]) -> None:
        self._keys = keys
        self._access = access
        self._wall_us = wall_us
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def verify(self, token: str) -> Caller:
        """Whose token it is. Raises `TokenRefused`."""
        if len(token) > TOKEN_LENGTH_MAX:
            raise TokenRefused(TokenFault.MALFORMED)
        digest = sha256(token.encode(errors="surrogatepass")).digest()
        known = self._verified.get(digest)
        key_id = _key_id(token) if known is None else known.key_id
        key = await self._keys.find(key_id)
        if key is None:
            raise TokenRefused(TokenFault.UNKNOWN_KEY)
        now_s = self._wall_us() / 1e6
        if known is not None:
            check_times(known.claims, now_s, self._access.leeway_s)
            # Set again: meanwhile it may have been dropped.
            self._verified[digest] = known
            self._verified.move_to_end(digest)
            return known.caller
        claims = verified_claims(token, key)
        caller = read_claims(claims, self._access, now_s)
        self._verified[digest] = _Verified(key_id, claims, caller)
        if len(self._verified) > VERIFIED_KEPT:
            self._verified.popitem(last=False)
        return caller


def verified_claims(token: str, key: RSAKey) -> dict[str, Any]:
    """The claims of a token that this key signed. Raises `TokenRefused`."""
    try:
        return jwt.decode(token, key, algorithms=[ALGORITHM]).claims
    except BadSignatureError:
        raise TokenRefused(TokenFault.SIGNATURE) from None
    except Exception:  # the library raises many kinds for bytes that are no token
        raise TokenRefused(TokenFault.MALFORMED) from None


def _key_id(token: str) -> str:
    """The id of the key that signed it, by its header. Raises `TokenRefused`.

    The algorithm is looked at before any key is: with `none`, or a public key taken for a shared
    secret (HS256), no key would say anything (RFC 8725 §2.1, §3.1).
    """
    first, dot, _ = token.partition(".")
    try:
        padded = first.encode("ascii") + b"=" * (-len(first) % 4)
        header = _headers.decode(urlsafe_b64decode(padded))
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise TokenRefused(TokenFault.MALFORMED) from None
    if not dot or header.crit is not None:
        raise TokenRefused(TokenFault.MALFORMED)
    if header.alg != ALGORITHM:
        raise TokenRefused(TokenFault.ALGORITHM)
    if not header.kid:
        raise TokenRefused(TokenFault.UNKNOWN_KEY)
    return header.kid
