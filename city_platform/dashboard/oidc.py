"""Signing in at any OpenID Connect issuer: authorization code with PKCE (RFC 7636).

The issuer's pages ask for the password; the browser comes back with a code that only this server
can use, because only it has the verifier, and only in the browser that began: its cookie says which
attempt it is. The access token is read as every component reads it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from city_platform.dashboard.config import OidcSignIn
from city_platform.dashboard.token_sources import SessionEnded
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable
from city_platform.identity.bodies import Tokens
from city_platform.identity.callers import Caller
from city_platform.identity.claims import TokenRefused
from city_platform.identity.config import AccessConfig
from city_platform.identity.fetch import FetchFailed, fetch, is_allowed
from city_platform.identity.key_sets import FetchedKeys, load_from
from city_platform.identity.wiring import LaterVerifier
from runtime.clock import Clock

ATTEMPTS_MAX: Final = 1_000
ATTEMPT_S: Final = 600
_SECRET_BYTES: Final = 32
_DOCUMENT_BYTES_MAX: Final = 262_144
_FORM: Final = "application/x-www-form-urlencoded"


class Attempt(msgspec.Struct, frozen=True):
    """A sign-in that has begun: what must come back, and where its browser wants to go then."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    to: str
    ends_at_us: int

    def __repr__(self) -> str:
        return "Attempt(…)"


class OidcRefused(Exception):
    """A sign-in came to nothing; the text is one of those that the pages know."""


class _Discovered(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    revocation_endpoint: str | None = None


class _TokenAnswer(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float = 300.0
    id_token: str = ""
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "_TokenAnswer(…)"


class _Header(msgspec.Struct, frozen=True):
    alg: str = ""
    kid: str = ""


class OidcIssuer:
    """One issuer: begins and ends sign-ins, and is the `TokenSource` of their sessions."""

    def __init__(self, config: OidcSignIn, clock: Clock, draw: Callable[[int], bytes]) -> None:
        self._config = config
        self._clock = clock
        self._draw = draw
        self._attempts: OrderedDict[str, Attempt] = OrderedDict()
        self._found: _Discovered | None = None
        self._upstreams: dict[str, Upstream] = {}
        self._access = AccessConfig(
            issuer=config.issuer, audience=config.audience or config.client_id,
            ca_file=config.ca_file, tenant_claim=config.tenant_claim,
            groups_claim=config.groups_claim, name_claims=config.name_claims,
        )  # fmt: skip
        self._keys = FetchedKeys(
            load_from(config.issuer, None, config.ca_file), clock.now_ns,
            cached_s=self._access.keys_cached_s, stale_s=self._access.keys_stale_s,
            pause_s=self._access.keys_pause_s,
        )  # fmt: skip
        self._verifier = LaterVerifier(self._keys, self._access, clock.wall_us)

    async def begin(self, redirect_uri: str, to: str) -> tuple[str, str]:
        """A new attempt: its id, for the cookie, and the address to send the browser to.

        Raises `UpstreamUnavailable`.
        """
        found = await self._discover()
        attempt = Attempt(
            state=self._secret(), nonce=self._secret(), verifier=self._secret(),
            redirect_uri=redirect_uri, to=to,
            ends_at_us=self._clock.wall_us() + ATTEMPT_S * 1_000_000,
        )  # fmt: skip
        attempt_id = self._secret()
        self._attempts[attempt_id] = attempt
        while len(self._attempts) > ATTEMPTS_MAX:
            self._attempts.popitem(last=False)
        query = {
            "response_type": "code", "client_id": self._config.client_id,
            "redirect_uri": redirect_uri, "scope": " ".join(self._config.scopes),
            "state": attempt.state, "nonce": attempt.nonce,
            "code_challenge": _base64url(sha256(attempt.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }  # fmt: skip
        mark = "&" if urlsplit(found.authorization_endpoint).query else "?"
        return attempt_id, f"{found.authorization_endpoint}{mark}{urlencode(query)}"

    async def finish(self, attempt_id: str, query: Mapping[str, str]) -> tuple[Tokens, str]:
        """Tokens for what the browser brought back, and where it wants to go.

        Raises `OidcRefused`, `UpstreamUnavailable`.
        """
        # Good once, whatever comes of it.
        attempt = self._attempts.pop(attempt_id, None)
        if attempt is None or self._clock.wall_us() >= attempt.ends_at_us:
            raise OidcRefused("expired")
        if not hmac.compare_digest(query.get("state", "").encode(), attempt.state.encode()):
            raise OidcRefused("forged")
        # RFC 9207 §2.4: an answer that names another issuer was not asked of this one.
        if query.get("iss", self._config.issuer) != self._config.issuer:
            raise OidcRefused("forged")
        if query.get("error"):
            raise OidcRefused("denied")
        answer = await self._ask_token(
            {
                "grant_type": "authorization_code", "code": query.get("code", ""),
                "redirect_uri": attempt.redirect_uri, "code_verifier": attempt.verifier,
            }
        )  # fmt: skip
        if answer is None:
            raise OidcRefused("refused")
        await self._check(answer, attempt.nonce)
        return _tokens(answer, answer.refresh_token), attempt.to

    async def refresh(self, refresh_token: str) -> Tokens:
        """See `TokenSource`."""
        if not refresh_token:
            raise SessionEnded
        answer = await self._ask_token(
            {"grant_type": "refresh_token", "refresh_token": refresh_token}
        )
        if answer is None:
            raise SessionEnded
        # RFC 6749 §6: an issuer that gives no new one means the old one goes on.
        return _tokens(answer, answer.refresh_token or refresh_token)

    async def who(self, access_token: str) -> Caller:
        """See `TokenSource`."""
        try:
            return await self._verifier.verify(access_token)
        except TokenRefused as error:
            raise UpstreamUnavailable(f"the issuer's token is not accepted: {error}") from None

    async def revoke(self, refresh_token: str) -> None:
        """See `TokenSource`."""
        place = (await self._discover()).revocation_endpoint
        if place is not None and refresh_token:
            await self._post(place, {"token": refresh_token, "token_type_hint": "refresh_token"})

    def close(self) -> None:
        """Close connections."""
        for one in self._upstreams.values():
            one.close()

    async def _check(self, answer: _TokenAnswer, nonce: str) -> None:
        """OpenID Connect Core §3.1.3.7. Raises `OidcRefused`."""
        claims = await self._id_claims(answer.id_token)
        audience = claims.get("aud")
        client = self._config.client_id
        is_ours = audience == client or (
            isinstance(audience, list) and client in audience and claims.get("azp") == client
        )
        expires = claims.get("exp")
        now_s = self._clock.wall_us() / 1e6 - self._access.leeway_s
        if (
            claims.get("iss") != self._config.issuer
            or not is_ours
            or not isinstance(expires, int | float)
            or now_s >= expires
            or not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode())
        ):
            raise OidcRefused("forged")
        try:
            caller = await self._verifier.verify(answer.access_token)
        except TokenRefused:
            raise OidcRefused("refused") from None
        if caller.subject != claims.get("sub"):
            raise OidcRefused("forged")

    async def _id_claims(self, token: str) -> dict[str, Any]:
        # As in `verify_by`: the library is imported with the first token.
        await self._verifier.warm()
        from city_platform.identity.tokens import ALGORITHM, verified_claims

        try:
            first = token.partition(".")[0].encode("ascii")
            header = msgspec.json.decode(
                base64.urlsafe_b64decode(first + b"=" * (-len(first) % 4)), type=_Header
            )
            key = await self._keys.find(header.kid)
            if header.alg != ALGORITHM or key is None:
                raise OidcRefused("forged")
            return verified_claims(token, key)
        except (ValueError, TokenRefused):
            raise OidcRefused("forged") from None

    async def _ask_token(self, fields: dict[str, str]) -> _TokenAnswer | None:
        """The token endpoint's answer; None when it refused. Raises `UpstreamUnavailable`."""
        place = (await self._discover()).token_endpoint
        status, body = await self._post(place, fields)
        if status >= 500 or status == 429:
            raise UpstreamUnavailable(f"the issuer answered {status} to a token request")
        if status != 200:
            return None
        try:
            return msgspec.json.decode(body, type=_TokenAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamUnavailable(f"the issuer's tokens are not understood: {error}") from None

    async def _post(self, url: str, fields: dict[str, str]) -> tuple[int, bytes]:
        parts = urlsplit(url)
        headers = {"Content-Type": _FORM, "Accept": "application/json"}
        secret_file = self._config.client_secret_file
        if secret_file is None:
            fields = {**fields, "client_id": self._config.client_id}
        else:
            # RFC 6749 §2.3.1: both are form-encoded before they become Basic's.
            secret = await self._client_secret(secret_file)
            pair = f"{quote(self._config.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        body = urlencode(fields).encode()
        upstream = self._upstream(url)
        async with upstream.request("POST", target, headers=headers, body=body) as answer:
            return answer.status, await answer.read(_DOCUMENT_BYTES_MAX)

    async def _client_secret(self, file: str) -> str:
        loop = asyncio.get_running_loop()
        try:
            return (await loop.run_in_executor(None, Path(file).read_text)).strip()
        except OSError as error:
            raise UpstreamUnavailable(f"client_secret_file cannot be read: {error}") from None

    def _upstream(self, url: str) -> Upstream:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        address = f"{host}:{parts.port or (443 if is_tls else 80)}"
        if address not in self._upstreams:
            tls = ssl.create_default_context(cafile=self._config.ca_file) if is_tls else None
            self._upstreams[address] = Upstream("the issuer", address, within_s=10.0, tls=tls)
        return self._upstreams[address]

    async def _discover(self) -> _Discovered:
        """OpenID Connect Discovery §4; asked once. Raises `UpstreamUnavailable`."""
        if self._found is not None:
            return self._found
        issuer = self._config.issuer
        place = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            document = await fetch(place, _DOCUMENT_BYTES_MAX, self._config.ca_file)
            found = msgspec.json.decode(document, type=_Discovered)
        except (FetchFailed, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamUnavailable(f"the issuer's description cannot be had: {error}") from None
        places = [found.authorization_endpoint, found.token_endpoint, found.jwks_uri]
        if found.revocation_endpoint is not None:
            places.append(found.revocation_endpoint)
        if found.issuer != issuer or not all(is_allowed(one) for one in places):
            raise UpstreamUnavailable(
                f"{place} describes {found.issuer[:200]!r}, or names an address that is neither "
                "https nor on this machine"
            )
        self._found = found
        return found

    def _secret(self) -> str:
        return _base64url(self._draw(_SECRET_BYTES))


def _tokens(answer: _TokenAnswer, refresh_token: str) -> Tokens:
    return Tokens(
        access_token=answer.access_token,
        refresh_token=refresh_token,
        expires_in_s=int(answer.expires_in),
    )


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
