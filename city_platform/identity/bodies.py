"""The bodies of identity's HTTP interface (JSON; errors are RFC 9457 problems)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from city_platform.identity.accounts import AccountState, User
from city_platform.identity.attempts import AttemptState
from city_platform.identity.callers import Grant

BODY_BYTES_MAX: Final = 65_536

_Text = Annotated[str, msgspec.Meta(max_length=1_024)]
_T = TypeVar("_T")


class MalformedBody(ValueError):
    """A request's body is wrong; the text says where. It never repeats the body."""


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    def __repr__(self) -> str:
        # Most of them hold a secret.
        return f"{type(self).__name__}(…)"


class SignIn(_Body, frozen=True, kw_only=True):
    """A sign-in with a password.

    `known_client` is what an earlier sign-in of this user from the same place gave: wrong passwords
    that come from elsewhere do not count for it, and cannot lock it out.
    """

    username: _Text
    password: _Text
    known_client: _Text | None = None


class RefreshToken(_Body, frozen=True, kw_only=True):
    """A session's refresh token: to get new tokens, or to end the session."""

    refresh_token: _Text


class SetUp(_Body, frozen=True, kw_only=True):
    """The first start's link: `token` is what is behind its `#token=`."""

    token: _Text
    username: _Text
    password: _Text


class Acceptance(_Body, frozen=True, kw_only=True):
    """An invitation and the password that the user chose."""

    token: _Text
    password: _Text


class PasswordChange(_Body, frozen=True, kw_only=True):
    """The password as it is, and as it shall be."""

    password: _Text
    new_password: _Text


class NewUser(_Body, frozen=True, kw_only=True):
    """A user to create."""

    username: _Text
    grants: list[Grant]


class UserChange(_Body, frozen=True, kw_only=True):
    """What changes; what is None stays. `grants` replace all of those that the caller manages."""

    grants: list[Grant] | None = None
    state: Literal["enabled", "disabled"] | None = None
    unlock: bool = False


class Tokens(_Body, frozen=True, kw_only=True):
    """What a sign-in or a refresh gives (RFC 6749 §5.1). The refresh token is good once.

    A sign-in from a place that was not known gives `known_client`: keep it for the next one. It
    lets nobody in by itself.
    """

    access_token: str
    refresh_token: str
    expires_in_s: int
    token_type: str = "Bearer"
    known_client: str | None = None


class Invitation(_Body, frozen=True, kw_only=True):
    """A link for a user to set a password; good once."""

    username: str
    link: str
    expires_at_us: int


class UserRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A user, without any secret. `locked_until_us` is 0 when the user is not locked out."""

    username: str
    state: AccountState
    grants: list[Grant]
    created_at_us: int
    created_by: str
    sign_in: AttemptState = AttemptState.CLEAR
    locked_until_us: int = 0

    @classmethod
    def of(cls, user: User) -> UserRecord:
        """The record of a user."""
        return cls(
            username=user.username, state=user.state, grants=user.grants,
            created_at_us=user.created_at_us, created_by=user.created_by,
        )  # fmt: skip


class UserPage(msgspec.Struct, frozen=True, kw_only=True):
    """Users by name; `next_after` is None at the end."""

    users: list[UserRecord]
    next_after: str | None = None


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and the names of the operations that some role allows: what a page shows."""

    name: str
    kind: str
    grants: list[Grant]
    operations: list[str]


def decode_body(data: bytes, kind: type[_T]) -> _T:
    """A request's body. Raises `MalformedBody`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # msgspec names types and places, never values.
        raise MalformedBody(str(error)) from None


def as_document(body: Any) -> dict[str, Any]:
    """A body as plain values."""
    found: dict[str, Any] = msgspec.to_builtins(body)
    return found
