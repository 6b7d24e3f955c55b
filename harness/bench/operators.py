"""The people of a bench: one operator for each role, who signs in at the platform's own issuer.

The first start's link makes the administrator, who invites the others. Their passwords are in a
file of the state folder, for a bench that comes back with its state; their access tokens are in
files beside it, for people and their programs, and are replaced there before they expire. All of
them are readable by the owner alone, and none is ever said on a command line or in a log.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from harness.errors import BenchFailed
from runtime.files import write_secret
from runtime.http_client import HttpClient, HttpError

ADMINISTRATOR: Final = "administrator"
ROLES: Final = (ADMINISTRATOR, "provisioner", "analyst", "controller")
ALL_TENANTS: Final = "*"
PASSWORDS_FILE: Final = "operator_tokens/passwords.json"
PASSWORD_BYTES: Final = 24
RENEWED_AGAIN_S: Final = 5.0
_T = TypeVar("_T")


class Tokens(msgspec.Struct, frozen=True):
    """As much of a sign-in's answer as is needed."""

    access_token: str
    refresh_token: str
    expires_in_s: float

    def __repr__(self) -> str:
        return "Tokens(…)"


class _Invitation(msgspec.Struct, frozen=True):
    link: str


class Operators:
    """Who asks the platform for what. `identity` is `host:port` of the issuer."""

    def __init__(self, state_dir: Path, identity: str) -> None:
        self._state_dir = state_dir
        self._identity = identity
        self._passwords: dict[str, str] = {}
        self._tokens: dict[str, Tokens] = {}
        # Whatever was a secret at some time of the run: nothing that it leaves may hold one.
        self._issued: set[str] = set()

    def token(self, role: str) -> str:
        """The access token of the operator of a role, which is good now."""
        return self._tokens[role].access_token

    def bearer(self, role: str) -> Callable[[], str]:
        """What gives that token at any time."""
        return lambda: self.token(role)

    def file(self, role: str) -> Path:
        """The file with that token, one line, for its owner alone."""
        return self._state_dir / "operator_tokens" / role

    def secrets(self) -> list[bytes]:
        """Every password and token there was; of a signed token its signature, which is in it."""
        return sorted(each.rpartition(".")[2].encode() for each in self._issued)

    async def sign_in(self, set_up_link: str | None) -> None:
        """Make the operators, where they are not there from an earlier start, and sign all in.

        `set_up_link` is the first start's; None: there was none. Raises `BenchFailed`.
        """
        self._passwords = self._stored_passwords()
        try:
            async with HttpClient(self._identity) as client:
                if set_up_link is not None:
                    await self._set_up(client, set_up_link)
                await self._enter(client, ADMINISTRATOR)
                async with HttpClient(self._identity, self.bearer(ADMINISTRATOR)) as managing:
                    for role in ROLES[1:]:
                        await self._bring_in(client, managing, role)
        except (HttpError, OSError, msgspec.DecodeError) as error:
            raise BenchFailed(
                f"the operators of the bench could not sign in: {error}; with --state, choose an "
                "empty folder"
            ) from error

    async def add(self, name: str, grants: list[dict[str, str]]) -> None:
        """One more operator, with grants such as `{"tenant": "harbour", "role": "analyst"}`.

        `name` is then used in place of a role. Raises `HttpError` and `OSError`.
        """
        async with (
            HttpClient(self._identity) as client,
            HttpClient(self._identity, self.bearer(ADMINISTRATOR)) as managing,
        ):
            await self._bring_in(client, managing, name, grants)

    async def keep_tokens_good(self) -> None:
        """Replace tokens at half of their time, until cancelled."""
        while True:
            shortest_s = min(each.expires_in_s for each in self._tokens.values())
            await asyncio.sleep(shortest_s / 2)
            while not await self.renew():  # noqa: ASYNC110  # it asks another process, and waits
                await asyncio.sleep(RENEWED_AGAIN_S)

    async def renew(self) -> bool:
        """Replace every token now; False where the issuer could not be asked."""
        try:
            async with HttpClient(self._identity) as client:
                for name in sorted(self._tokens):
                    await self._renew(client, name)
        except (HttpError, OSError, msgspec.DecodeError):
            # The issuer is away, as a story may want; the tokens are good for a while.
            return False
        return True

    async def _renew(self, client: HttpClient, name: str) -> None:
        body = {"refresh_token": self._tokens[name].refresh_token}
        try:
            self._keep(name, await _post(client, "/v1/refresh", body, Tokens))
        except HttpError as error:
            if error.status != 401:
                raise
            # A session lasts a working day, and a lost answer ends it.
            await self._enter(client, name)

    async def _set_up(self, client: HttpClient, link: str) -> None:
        body = {
            "token": self._known(link.partition("#token=")[2]),
            "username": _name(ADMINISTRATOR),
        }
        await self._with_password(client, "/v1/set-up", ADMINISTRATOR, body)

    async def _bring_in(
        self,
        client: HttpClient,
        managing: HttpClient,
        name: str,
        grants: list[dict[str, str]] | None = None,
    ) -> None:
        if name not in self._passwords:
            wanted = grants or [{"tenant": ALL_TENANTS, "role": name}]
            link = await self._invite(managing, _name(name), wanted)
            body = {"token": self._known(link.partition("#invitation=")[2])}
            await self._with_password(client, "/v1/invitations", name, body)
        await self._enter(client, name)

    async def _invite(
        self, managing: HttpClient, username: str, grants: list[dict[str, str]]
    ) -> str:
        wanted = {"username": username, "grants": grants}
        try:
            return (await _post(managing, "/v1/users", wanted, _Invitation)).link
        except HttpError as error:
            if error.status != 409:
                raise
            # A start that was cut short had come this far.
            path = f"/v1/users/{username}/invitation"
            return (await _post(managing, path, {}, _Invitation)).link

    async def _with_password(
        self, client: HttpClient, path: str, name: str, body: dict[str, str]
    ) -> None:
        password = self._known(secrets.token_urlsafe(PASSWORD_BYTES))
        await _post(client, path, {**body, "password": password}, msgspec.Raw)
        self._passwords[name] = password
        file = self._state_dir / PASSWORDS_FILE
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_secret(file, msgspec.json.encode(self._passwords))

    async def _enter(self, client: HttpClient, name: str) -> None:
        body = {"username": _name(name), "password": self._passwords.get(name, "")}
        self._keep(name, await _post(client, "/v1/sign-in", body, Tokens))

    def _keep(self, name: str, tokens: Tokens) -> None:
        self._tokens[name] = tokens
        self._known(tokens.refresh_token)
        write_secret(self.file(name), self._known(tokens.access_token).encode())

    def _known(self, secret: str) -> str:
        self._issued.add(secret)
        return secret

    def _stored_passwords(self) -> dict[str, str]:
        file = self._state_dir / PASSWORDS_FILE
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            found = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
            self._issued.update(found.values())
            return found
        return {}


def _name(role: str) -> str:
    """The sign-in name: what the audit log calls the operator."""
    return f"bench-{role}"


async def _post(client: HttpClient, path: str, body: dict[str, Any], kind: type[_T]) -> _T:
    return await client.send("POST", path, msgspec.json.encode(body), kind)
