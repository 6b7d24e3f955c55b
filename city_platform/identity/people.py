"""Managing users. An administrator of some tenants manages those who have grants in these alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from city_platform.identity import accounts, attempts
from city_platform.identity.accounts import AccountEvent, AccountState, User, WrongAccount
from city_platform.identity.bodies import Invitation, NewUser, UserChange, UserPage, UserRecord
from city_platform.identity.callers import Grant
from city_platform.identity.config import IdentityConfig
from city_platform.identity.desk import end_sessions
from city_platform.identity.refusals import Refusal
from city_platform.stores.users import SqliteUserStore, UserTables
from runtime.clock import Clock

PAGE_USERS_MAX: Final = 1_000

# The tenants that a caller manages; None: all.
Tenants = Collection[str] | None


class People:
    """The users. `link` makes the link of an invitation's token."""

    def __init__(
        self,
        store: SqliteUserStore,
        config: IdentityConfig,
        clock: Clock,
        new_token: Callable[[], str],
        link: Callable[[str], str],
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._new_token = new_token
        self._link = link

    async def list(self, tenants: Tenants, after: str, limit: int) -> UserPage:
        """Users behind a name, in order, whom the caller manages."""
        limit = max(1, min(limit, PAGE_USERS_MAX))

        def read(tables: UserTables) -> UserPage:
            users = [user for user in tables.users(after) if is_managed(user.grants, tenants)]
            page = [self._record(tables, user) for user in users[:limit]]
            return UserPage(
                users=page, next_after=page[-1].username if len(users) > limit else None
            )

        return await self._store.do(read)

    async def read(self, tenants: Tenants, username: str) -> UserRecord:
        """One user. Raises `Refusal`."""
        return await self._store.do(
            lambda tables: self._record(tables, _managed(tables, tenants, username))
        )

    async def create(self, tenants: Tenants, wanted: NewUser, by: str) -> Invitation:
        """A new user, and the invitation to be given to them. Raises `Refusal`."""
        user = User(
            username=_name(wanted.username), grants=_grants(wanted.grants, tenants),
            created_at_us=self._clock.wall_us(), created_by=by,
        )  # fmt: skip

        def put(tables: UserTables) -> Invitation:
            if tables.user(user.username) is not None:
                raise Refusal(409, "name is taken", "choose another")
            if len(tables.users()) >= self._config.users_max:
                raise Refusal(409, "too many users", f"at most {self._config.users_max}")
            tables.put_user(user)
            return self._invite(tables, user.username)

        return await self._store.do(put)

    async def change(self, tenants: Tenants, username: str, change: UserChange) -> UserRecord:
        """The user as changed; sessions end when anything is taken away. Raises `Refusal`."""
        grants = None if change.grants is None else _grants(change.grants, tenants)

        def put(tables: UserTables) -> UserRecord:
            before = _managed(tables, tenants, username)
            after = _with_state(before, change)
            if grants is not None:
                after = msgspec.structs.replace(after, grants=grants)
            tables.put_user(after)
            _keep_a_root(tables, before)
            if after.state is AccountState.DISABLED:
                tables.drop_links(after.username)
            if after != before:
                end_sessions(tables, after.username)
            if change.unlock:
                tables.put_attempts(
                    after.username, attempts.unlocked(tables.attempts(after.username))
                )
                tables.drop_attempts_from_known(after.username)
            return self._record(tables, after)

        return await self._store.do(put)

    async def invite(self, tenants: Tenants, username: str) -> Invitation:
        """A new invitation; a former one is no longer good. Raises `Refusal`."""

        def put(tables: UserTables) -> Invitation:
            user = _managed(tables, tenants, username)
            if user.state is AccountState.DISABLED:
                raise Refusal(409, "disabled", "enable the account first")
            return self._invite(tables, user.username)

        return await self._store.do(put)

    def _invite(self, tables: UserTables, username: str) -> Invitation:
        token = self._new_token()
        expires_at_us = self._clock.wall_us() + int(self._config.lifetimes.invitation_s * 1e6)
        tables.put_link(token, username, expires_at_us)
        return Invitation(username=username, link=self._link(token), expires_at_us=expires_at_us)

    def _record(self, tables: UserTables, user: User) -> UserRecord:
        now = attempts.at_time(
            tables.attempts(user.username), self._clock.wall_us(), self._config.lock_out
        )
        is_locked = now.state is attempts.AttemptState.LOCKED
        return msgspec.structs.replace(
            UserRecord.of(user), sign_in=now.state,
            locked_until_us=now.locked_until_us if is_locked else 0,
        )  # fmt: skip


def is_managed(grants: Collection[Grant], tenants: Tenants) -> bool:
    """Whether somebody with these grants is managed by an administrator of these tenants."""
    return tenants is None or (bool(grants) and all(one.tenant in tenants for one in grants))


def _managed(tables: UserTables, tenants: Tenants, username: str) -> User:
    user = tables.user(username.lower()[: accounts.USERNAME_LENGTH_MAX])
    # The same for a user of others and for none.
    if user is None or not is_managed(user.grants, tenants):
        raise Refusal(404, "no such user", "or none whom you manage")
    return user


def _with_state(user: User, change: UserChange) -> User:
    if change.state is None:
        return user
    is_disabling = change.state == "disabled"
    moved = user.moved(AccountEvent.DISABLED if is_disabling else AccountEvent.ENABLED)
    if moved is None:
        raise Refusal(409, "nothing to change", f"the account is {user.state.value}")
    # Who comes back sets a new password.
    return msgspec.structs.replace(moved, password_hash="")


def _keep_a_root(tables: UserTables, before: User) -> None:
    if accounts.is_root(before) and not any(accounts.is_root(one) for one in tables.users()):
        raise Refusal(
            409, "last administrator", "somebody must manage the installation: make another first"
        )


def _name(text: str) -> str:
    try:
        return accounts.check_username(text)
    except WrongAccount as error:
        raise Refusal(422, "wrong username", str(error)) from None


def _grants(wanted: list[Grant], tenants: Tenants) -> list[Grant]:
    try:
        grants = accounts.check_grants(wanted)
    except WrongAccount as error:
        raise Refusal(422, f"wrong {error.field}", str(error)) from None
    if not is_managed(grants, tenants):
        raise Refusal(403, "not allowed", "grants must be for tenants that you administer")
    return grants
