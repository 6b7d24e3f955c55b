"""What an operator's own programs need to call the API with an identity pool's credentials.

Who has signed in has an identity token of the user pool. The identity pool gives keys for it, of
the role of the operator's group, good for an hour; requests are signed with them (Signature
Version 4). Without a group there is no role, and without a role there are no keys.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

from city_platform.stores.aws.calls import Aws

SERVICE: Final = "execute-api"
_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class OperatorKeys:
    """Keys of a role for a while; they are never shown."""

    __slots__ = ("access_key", "expires_at_us", "secret_key", "session_token")

    def __init__(
        self, access_key: str, secret_key: str, session_token: str, expires_at_us: int = 0
    ) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.session_token = session_token
        self.expires_at_us = expires_at_us

    def __repr__(self) -> str:
        return f"OperatorKeys(expires_at_us={self.expires_at_us})"


async def keys_for(
    aws: Aws, identity_pool: str, provider: str, identity_token: str
) -> OperatorKeys:
    """The keys of whoever the token is of.

    `provider` is the user pool's: `cognito-idp.<region>.amazonaws.com/<pool>`. Raises `AwsRefused`
    for a token that is not good, or of somebody in no group, and `AwsUnavailable`.
    """
    logins = {provider: identity_token}
    found = await aws.call(
        "cognito-identity", "get_id", IdentityPoolId=identity_pool, Logins=logins
    )
    answer = await aws.call(
        "cognito-identity",
        "get_credentials_for_identity",
        IdentityId=found["IdentityId"],
        Logins=logins,
    )
    keys: Mapping[str, Any] = answer["Credentials"]
    expires = keys.get("Expiration")
    return OperatorKeys(
        str(keys["AccessKeyId"]),
        str(keys["SecretKey"]),
        str(keys["SessionToken"]),
        round(expires.timestamp() * 1e6) if isinstance(expires, datetime) else 0,
    )


def signed_headers(
    keys: OperatorKeys, region: str, method: str, url: str, body: bytes, wall_us: int
) -> dict[str, str]:
    """The headers that a request must have beside its own. `wall_us` is Unix time.

    AWS takes a request whose time is at most five minutes off.
    """
    at = datetime.fromtimestamp(wall_us // 1_000_000, UTC)
    stamp, day = f"{at:%Y%m%dT%H%M%SZ}", f"{at:%Y%m%d}"
    parts = urlsplit(url)
    signed = {"host": parts.netloc, "x-amz-date": stamp}
    if keys.session_token:
        signed["x-amz-security-token"] = keys.session_token
    names = ";".join(sorted(signed))
    request = "\n".join(
        [
            method,
            # A path is escaped once more than it is sent: only S3 does without.
            quote(parts.path or "/", safe="/-_.~"),
            _canonical_query(parts.query),
            *(f"{name}:{signed[name].strip()}" for name in sorted(signed)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{day}/{region}/{SERVICE}/aws4_request"
    text = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    signature = hmac.new(_key(keys, day, region), text.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"{_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={names},"
        f" Signature={signature}"
    )
    return {**signed, "authorization": authorization}


def _canonical_query(query: str) -> str:
    """As it is in the URL, sorted; a name without a value gets an empty one."""
    pairs = [tuple(one.partition("=")[::2]) for one in query.split("&") if one]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _key(keys: OperatorKeys, day: str, region: str) -> bytes:
    made = f"AWS4{keys.secret_key}".encode()
    for part in (day, region, SERVICE, "aws4_request"):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    return made
