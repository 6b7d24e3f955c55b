"""Where sessions' tokens come from: the identity component, by password. Another issuer is in
`oidc`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

import msgspec

from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable, Whole
from city_platform.identity.bodies import Me, RefreshToken, SignIn, Tokens
from city_platform.identity.callers import Caller
from city_platform.identity.fronts import CLIENT_ADDRESS_HEADER

IDENTITY: Final = "identity"
ISSUER: Final = "issuer"
_T = TypeVar("_T")


class SignInRefused(Exception):
    """Identity refused; its answer is what the browser gets."""

    def __init__(self, answer: Whole) -> None:
        super().__init__(f"identity answered {answer.status}")
        self.answer = answer


class SessionEnded(Exception):
    """The session is over: the user must sign in again."""


class TokenSource(Protocol):
    """What a session's tokens are renewed by. All of it raises `UpstreamUnavailable`."""

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens. Raises `SessionEnded`."""

    async def who(self, access_token: str) -> Caller:
        """Whose token it is, and what they may do."""

    async def revoke(self, refresh_token: str) -> None:
        """Take a session's tokens back."""


TokenSources = Mapping[str, TokenSource]


class IdentityTokens:
    """`TokenSource` of the identity component.

    `door` is the same component for sign-ins alone, so that a flood of them keeps no session from
    being renewed; `read_token` gives the token that it believes the dashboard by.
    """

    def __init__(self, identity: Upstream, door: Upstream, read_token: Callable[[], str]) -> None:
        self._identity = identity
        self._door = door
        self._read_token = read_token

    async def sign_in(self, wanted: SignIn, client_address: str) -> Tokens:
        """Tokens for a name and a password; identity is told from which address they came, empty
        when that is not known. Raises `SignInRefused`, `UpstreamUnavailable`."""
        try:
            token = self._read_token()
        except OSError as error:
            raise UpstreamUnavailable(f"the token for identity cannot be read: {error}") from error
        headers = {CLIENT_ADDRESS_HEADER: client_address} if client_address else {}
        answer = await self._door.ask(
            "POST", "/v1/sign-in", token=token, headers=headers, body=msgspec.json.encode(wanted)
        )
        if answer.status != 200:
            raise SignInRefused(answer)
        return decoded(answer.body, Tokens)

    async def refresh(self, refresh_token: str) -> Tokens:
        """See `TokenSource`."""
        body = msgspec.json.encode(RefreshToken(refresh_token=refresh_token))
        answer = await self._identity.ask("POST", "/v1/refresh", body=body)
        if answer.status >= 500 or answer.status == 429:
            raise UpstreamUnavailable(f"identity answered {answer.status} to a refresh")
        if answer.status != 200:
            raise SessionEnded
        return decoded(answer.body, Tokens)

    async def who(self, access_token: str) -> Caller:
        """See `TokenSource`."""
        me = await self._identity.ask("GET", "/v1/me", token=access_token)
        if me.status != 200:
            raise UpstreamUnavailable(f"identity answered {me.status} to its own token")
        found = decoded(me.body, Me)
        return Caller(
            kind="user", name=found.name, subject=found.name, grants=frozenset(found.grants)
        )

    async def revoke(self, refresh_token: str) -> None:
        """See `TokenSource`."""
        body = msgspec.json.encode(RefreshToken(refresh_token=refresh_token))
        await self._identity.ask("POST", "/v1/sign-out", body=body)


def decoded(body: bytes, kind: type[_T]) -> _T:
    """An answer's body. Raises `UpstreamUnavailable`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec names places, never values.
        raise UpstreamUnavailable(f"identity's answer is not understood: {error}") from None
