"""A user: how the account stands, and what names and passwords may be. A table; pure."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Mapping
from typing import Final

import msgspec

from city_platform.identity.callers import Grant, is_tenant
from city_platform.identity.config import ALL_TENANTS

USERNAME_LENGTH_MAX: Final = 128
PASSWORD_LENGTH_MAX: Final = 256
GRANTS_MAX: Final = 200

_USERNAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}", re.ASCII)


class AccountState(enum.StrEnum):
    """How an account stands."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"


class AccountEvent(enum.StrEnum):
    """What can happen to an account."""

    PASSWORD_SET = "password_set"
    DISABLED = "disabled"
    ENABLED = "enabled"


_S, _E = AccountState, AccountEvent

# None: it changes nothing, and is refused. Who comes back sets a new password.
ACCOUNT_TRANSITIONS: Final[Mapping[AccountState, Mapping[AccountEvent, AccountState | None]]] = {
    _S.INVITED: {_E.PASSWORD_SET: _S.ACTIVE, _E.DISABLED: _S.DISABLED, _E.ENABLED: None},
    _S.ACTIVE: {_E.PASSWORD_SET: _S.ACTIVE, _E.DISABLED: _S.DISABLED, _E.ENABLED: None},
    _S.DISABLED: {_E.PASSWORD_SET: None, _E.DISABLED: None, _E.ENABLED: _S.INVITED},
}


class WrongAccount(ValueError):
    """A name, password or grant that cannot be; `field` says which, the text what is expected."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person. `password_hash` is argon2's text, empty before one is set; it is never shown."""

    username: str
    grants: list[Grant]
    state: AccountState = AccountState.INVITED
    password_hash: str = ""
    created_at_us: int = 0
    created_by: str = ""

    def __repr__(self) -> str:
        return f"User({self.username!r}, {self.state.value})"

    def moved(self, event: AccountEvent) -> User | None:
        """The user after an event, None when it may not happen."""
        state = ACCOUNT_TRANSITIONS[self.state][event]
        return None if state is None else msgspec.structs.replace(self, state=state)


def check_username(text: str) -> str:
    """The name as it is kept: lower case. Raises `WrongAccount`."""
    name = text.lower() if len(text) <= USERNAME_LENGTH_MAX else ""
    if not _USERNAME.fullmatch(name):
        raise WrongAccount(
            "username", f"1 to {USERNAME_LENGTH_MAX} letters, digits and . _ @ + -, "
            "beginning with a letter or digit",
        )  # fmt: skip
    return name


def check_password(text: str, username: str, length_min: int) -> str:
    """The password as it is hashed (NFKC, NIST SP 800-63B §5.1.1.2). Raises `WrongAccount`."""
    normal = normal_password(text)
    if len(normal) < length_min:
        raise WrongAccount("password", f"at least {length_min} characters; a sentence is good")
    if len(set(normal)) < 5 or username in normal.lower():
        raise WrongAccount("password", "easily guessed: the user's name, or few different letters")
    return normal


def normal_password(text: str) -> str:
    """A password as it is hashed. Raises `WrongAccount` for one that cannot be one."""
    if len(text) > PASSWORD_LENGTH_MAX:
        raise WrongAccount("password", f"at most {PASSWORD_LENGTH_MAX} characters")
    normal = unicodedata.normalize("NFKC", text)
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in normal):
        raise WrongAccount("password", "no control characters")
    return normal


def check_grants(grants: list[Grant]) -> list[Grant]:
    """Grants without repetition, in order. Raises `WrongAccount`."""
    if len(grants) > GRANTS_MAX:
        raise WrongAccount("grants", f"at most {GRANTS_MAX}")
    for position, grant in enumerate(grants):
        if not is_tenant(grant.tenant):
            raise WrongAccount(
                f"grants[{position}].tenant", "1 to 128 of [A-Za-z0-9_.-], or * for every tenant"
            )
        if grant.role == "service":
            raise WrongAccount(f"grants[{position}].role", "service is for programs' tokens alone")
    return sorted(set(grants))


def is_root(user: User) -> bool:
    """Whether the user manages the whole installation."""
    return user.state is not AccountState.DISABLED and any(
        grant.tenant == ALL_TENANTS and grant.role == "administrator" for grant in user.grants
    )
