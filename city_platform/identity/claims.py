"""From a token's claims to its caller: what a token must say, whoever issued it.

Only tokens whose signature was found good come here. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

from city_platform.identity.callers import Caller, grants_from
from city_platform.identity.config import AccessConfig

NAME_LENGTH_MAX: Final = 256
GROUPS_MAX: Final = 1_000
# Cognito says of a token what it is for; other issuers do not.
_ALLOWED_USES: Final = (None, "access")


class TokenFault(enum.StrEnum):
    """Why a token is refused. The caller is told no more than that."""

    MISSING = "missing"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    USE = "use"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    NO_SUBJECT = "no_subject"


class TokenRefused(Exception):
    """A token lets nobody in. Its text never repeats the token."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(FAULTS[fault])
        self.fault = fault


FAULTS: Final[Mapping[TokenFault, str]] = {
    TokenFault.MISSING: "send Authorization: Bearer <token>",
    TokenFault.MALFORMED: "the token is no signed JWT (RFC 7519)",
    TokenFault.ALGORITHM: "the token is not signed with RS256",
    TokenFault.UNKNOWN_KEY: "the issuer has no key of the token's key id: sign in again",
    TokenFault.SIGNATURE: "the token's signature is wrong",
    TokenFault.ISSUER: "the token is of another issuer",
    TokenFault.AUDIENCE: "the token is for another audience",
    TokenFault.USE: "the token is not an access token",
    TokenFault.EXPIRED: "the token has expired: refresh it, or sign in again",
    TokenFault.NOT_YET_VALID: "the token is not valid yet: compare the clocks",
    TokenFault.NO_SUBJECT: "the token does not say whose it is",
}


def read_claims(claims: Mapping[str, Any], access: AccessConfig, now_s: float) -> Caller:
    """The caller that the claims of a well-signed token name. Raises `TokenRefused`."""
    if claims.get("iss") != access.issuer:
        raise TokenRefused(TokenFault.ISSUER)
    _check_audience(claims, access.audience)
    if claims.get("token_use") not in _ALLOWED_USES:
        raise TokenRefused(TokenFault.USE)
    check_times(claims, now_s, access.leeway_s)
    subject = _text(claims.get("sub"))
    if not subject:
        raise TokenRefused(TokenFault.NO_SUBJECT)
    names = (_text(claims.get(name)) for name in access.name_claims)
    return Caller(
        kind="user",
        # Programs are called `service:…`; nobody else is.
        name=next((one for one in names if one and not one.startswith("service:")), subject),
        subject=subject,
        grants=grants_from(
            _groups(claims.get(access.groups_claim)), _text(claims.get(access.tenant_claim)) or None
        ),
    )


def _check_audience(claims: Mapping[str, Any], audience: str) -> None:
    found = claims.get("aud")
    if found is None and claims.get("token_use") == "access":
        # Cognito's access tokens have no `aud`; their `client_id` says for whom they are.
        found = claims.get("client_id")
    wanted = found if isinstance(found, list) else [found]
    if audience not in wanted:
        raise TokenRefused(TokenFault.AUDIENCE)


def check_times(claims: Mapping[str, Any], now_s: float, leeway_s: float) -> None:
    """Whether a token is in its time. Raises `TokenRefused`."""
    expires: Any = claims.get("exp")
    begins: Any = claims.get("nbf", 0)
    if not _is_number(expires) or not _is_number(begins):
        raise TokenRefused(TokenFault.MALFORMED)
    # RFC 7519 §4.1.4: on or after `exp` a token is not accepted.
    if now_s >= expires + leeway_s:
        raise TokenRefused(TokenFault.EXPIRED)
    if now_s < begins - leeway_s:
        raise TokenRefused(TokenFault.NOT_YET_VALID)


def _is_number(value: Any) -> bool:
    # Bounded: an integer of a thousand digits cannot be compared with a float.
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and -(2**53) < value < 2**53
    )


def _groups(value: Any) -> Sequence[str]:
    if not isinstance(value, list):
        return ()
    return [one for one in value[:GROUPS_MAX] if isinstance(one, str)]


def _text(value: Any) -> str:
    """A claim that is a name: printable, and not so long that it fills a log."""
    if not isinstance(value, str) or len(value) > NAME_LENGTH_MAX or not value.isprintable():
        return ""
    return value
