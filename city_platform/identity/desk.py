"""Signs people in and manages them; every try is kept for the audit before it is answered."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar

import msgspec

from city_platform.audit.entries import AuditEntry, AuditOutcome, shortened
from city_platform.identity import accounts, attempts, families, signing
from city_platform.identity.accounts import AccountEvent, AccountState, User, WrongAccount
from city_platform.identity.attempts import Attempts, AttemptState
from city_platform.identity.bodies import Tokens
from city_platform.identity.callers import Grant, group_of
from city_platform.identity.config import ALL_TENANTS, IdentityConfig
from city_platform.identity.door import Door
from city_platform.identity.families import Family, FamilyEvent
from city_platform.identity.fronts import UNKNOWN
from city_platform.identity.passwords import Passwords
from city_platform.identity.refusals import Refusal
from city_platform.identity.signing import SigningKeys
from city_platform.identity.waiting_room import Visitor
from city_platform.stores.users import FROM_KNOWN, SqliteUserStore, UserTables
from city_platform.stores.worker import Worker
from runtime.clock import Clock

SECRET_BYTES: Final = 32
FIRST_START: Final = ""
_T = TypeVar("_T")

Keep = Callable[[AuditEntry], Awaitable[None]]


class _Try(NamedTuple):
    """One sign-in name before its password is looked at. `counted` is what its wrong passwords are
    counted by: the name, or a place from which its user has signed in before."""

    user: User | None
    attempts: Attempts
    counted: str


class _Proven(NamedTuple):
    """Somebody whose password was right, and whether they came from a place that is known."""

    user: User
    is_known: bool


class IdentityDesk:
    """The issuer. `issuer` is its URL; `keep` puts an entry where audit will find it."""

    def __init__(
        self,
        store: SqliteUserStore,
        passwords: Passwords,
        config: IdentityConfig,
        issuer: str,
        clock: Clock,
        draw: Callable[[int], bytes],
        keep: Keep,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.keys = SigningKeys([])
        self._store = store
        self._passwords = passwords
        self._config = config
        self._issuer = issuer
        self._clock = clock
        self._draw = draw
        self._keep = keep
        self._door = Door(config, clock.now_ns, self.counts)
        self._making = Worker("signing-keys")

    async def open(self) -> str | None:
        """Load the signing keys; the first start's token while nobody manages the installation."""
        await self._take_keys(await self._store.do(lambda tables: tables.keys()))
        await self.age_keys()
        if any(accounts.is_root(user) and user.password_hash for user in await self._all_users()):
            return None
        token, expires = self.new_token(), self._in(self._config.lifetimes.set_up_s)
        await self._store.do(lambda tables: tables.put_link(token, FIRST_START, expires))
        return token

    def close(self) -> None:
        """End the threads."""
        self._making.close()
        self._passwords.close()

    # Sessions.

    async def sign_in(
        self,
        username: str,
        password: str,
        known_client: str | None = None,
        address: str = UNKNOWN,
    ) -> Tokens:
        """Tokens for the right password; `address` is where it comes from. Raises `Refusal`, and
        `TooManySignIns`."""
        found = await self._prove(username, password, known_client, address)
        self.counts["sign_ins"] += 1
        return await self._begin_session(found, password)

    async def _prove(
        self,
        username: str,
        password: str,
        known_client: str | None,
        address: str,
        *,
        is_signed_in: bool = False,
    ) -> _Proven:
        """Whose password it is. Raises `Refusal`; either way it is told to the audit."""
        name = username.lower()[: accounts.USERNAME_LENGTH_MAX]
        visitor = await self._visitor(name, known_client, address, is_signed_in)
        async with self._door.turn(visitor):
            found = await self._not_locked(name, known_client)
            is_right = await self._is_right(found.user, password)
            after = attempts.after_password(
                found.attempts, is_right, self._clock.wall_us(), self._config.lock_out
            )
            if not is_signed_in:
                self._door.count(visitor, is_right)
            await self._store.do(lambda tables: tables.put_attempts(found.counted, after))
        if not is_right or found.user is None:
            await self._record_failure(name, after)
            raise Refusal(401, "not signed in", "the name or the password is wrong")
        await self._record("sign_in", "succeeded", found.user)
        return _Proven(found.user, is_known=found.counted != name)

    async def _visitor(
        self, name: str, known_client: str | None, address: str, is_signed_in: bool
    ) -> Visitor:
        """Who wants a turn. Raises `Refusal` for who gets none: it is refused as it comes."""
        if known_client is None and not is_signed_in:
            # Before the store is asked: a flood costs as little as can be.
            self._door.check_budget(address)
        counted = (await self._not_locked(name, known_client)).counted
        is_known = counted != name or is_signed_in
        if not is_known:
            self._door.check_budget(address)
        return Visitor(counted, address, self._door.lane(address, is_known=is_known))

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a session's latest refresh token. Raises `Refusal`."""
        token = self.new_token()
        family, user = await self._store.do(
            lambda tables: self._present(tables, refresh_token, token)
        )
        if family is not None and family.state is families.FamilyState.REVOKED:
            self.counts["sessions_revoked"] += 1
            await self._record_entry(
                "refresh", "denied", family.username, "a refresh token came twice, or after it was "
                "revoked: its session has ended",
            )  # fmt: skip
        if user is None:
            raise Refusal(401, "session ended", "sign in again")
        self.counts["refreshes"] += 1
        return self._tokens(user, token)

    async def sign_out(self, refresh_token: str) -> None:
        """End a session. Nothing tells whether there was one."""

        def end(tables: UserTables) -> Family | None:
            found = tables.family_of(refresh_token)
            if found is None:
                return None
            tables.put_family(families.moved(found[0], FamilyEvent.SIGNED_OUT))
            return found[0]

        family = await self._store.do(end)
        if family is not None:
            await self._record_entry("sign_out", "succeeded", family.username)

    # Passwords.

    async def set_up(self, token: str, username: str, password: str) -> None:
        """Use the first start's link: the installation's administrator. Raises `Refusal`."""
        name = _checked(lambda: accounts.check_username(username))
        hashed = await self._hash_for_link(token, name, password, is_first=True)

        def create(tables: UserTables) -> User:
            if tables.take_link(token, self._clock.wall_us()) != FIRST_START:
                raise _used_up()
            user = User(
                username=name, grants=[Grant(ALL_TENANTS, "administrator")], password_hash=hashed,
                state=AccountState.ACTIVE, created_at_us=self._clock.wall_us(),
                created_by="set-up link",
            )  # fmt: skip
            if tables.user(name) is not None:
                raise Refusal(409, "name is taken", f"there is a user {name!r}: choose another")
            tables.put_user(user)
            return user

        await self._record("set_up", "succeeded", await self._store.do(create))

    async def accept_invitation(self, token: str, password: str) -> None:
        """Use an invitation: the user's password is set. Raises `Refusal`."""
        hashed = await self._hash_for_link(token, None, password, is_first=False)

        def accept(tables: UserTables) -> User:
            name = tables.take_link(token, self._clock.wall_us())
            user = tables.user(name) if name else None
            changed = user.moved(AccountEvent.PASSWORD_SET) if user else None
            if changed is None:
                raise _used_up()
            changed = msgspec.structs.replace(changed, password_hash=hashed)
            tables.put_user(changed)
            tables.put_attempts(changed.username, Attempts())
            tables.drop_attempts_from_known(changed.username)
            end_sessions(tables, changed.username)
            return changed

        await self._record("accept_invitation", "succeeded", await self._store.do(accept))

    async def change_password(self, username: str, password: str, new: str) -> None:
        """Another password for who is signed in; all sessions end. Raises `Refusal`, and
        `TooManySignIns`."""
        await self._prove(username, password, None, UNKNOWN, is_signed_in=True)
        hashed = await self._hash(self._check_password(new, username))

        def change(tables: UserTables) -> User:
            user = tables.user(username)
            changed = user.moved(AccountEvent.PASSWORD_SET) if user else None
            if changed is None:
                raise Refusal(409, "not changed", "the account is not active")
            changed = msgspec.structs.replace(changed, password_hash=hashed)
            tables.put_user(changed)
            end_sessions(tables, username)
            return changed

        await self._record("change_password", "succeeded", await self._store.do(change))

    # Signing keys.

    async def rotate_key(self) -> str:
        """Sign with a new key from now on; its id."""
        now_us = self._clock.wall_us()
        new = await self._making.do(signing.make_key, now_us)

        def put(tables: UserTables) -> list[signing.StoredKey]:
            keys = signing.after_rotation(tables.keys(), new, now_us)
            tables.put_keys(keys)
            return keys

        await self._take_keys(await self._store.do(put))
        self.counts["key_rotations"] += 1
        return new.id

    async def age_keys(self) -> None:
        """Make the first key, or the next when one is due; drop those that are gone."""
        now_us, lifetimes = self._clock.wall_us(), self._config.lifetimes

        def age(tables: UserTables) -> list[signing.StoredKey]:
            before = tables.keys()
            keys = signing.at_time(before, now_us, lifetimes.access_token_s)
            if keys != before:
                tables.put_keys(keys)
            tables.forget_expired(now_us)
            return keys

        await self._take_keys(await self._store.do(age))
        current = self.keys.signing
        age_s = 0.0 if current is None else (now_us - current.created_at_us) / 1e6
        # A key made by a clock that was far ahead would sign for as long as that was wrong.
        if current is None or abs(age_s) >= lifetimes.signing_key_s:
            await self.rotate_key()

    def new_token(self) -> str:
        """A secret of 256 bits, as text."""
        return urlsafe_b64encode(self._draw(SECRET_BYTES)).rstrip(b"=").decode()

    async def _take_keys(self, keys: list[signing.StoredKey]) -> None:
        self.keys = await self._making.do(SigningKeys, keys)

    async def _all_users(self) -> list[User]:
        return await self._store.do(lambda tables: tables.users())

    async def _not_locked(self, name: str, known_client: str | None) -> _Try:
        """Who would sign in. Raises `Refusal` while no password of theirs is looked at."""
        found = await self._store.do(lambda tables: self._begin(tables, name, known_client))
        if found.attempts.state is AttemptState.LOCKED:
            self.counts["sign_ins_while_locked"] += 1
            raise self._locked(found.attempts)
        return found

    def _begin(self, tables: UserTables, name: str, known_client: str | None) -> _Try:
        now_us, counted = self._clock.wall_us(), name
        if known_client and tables.knows_client(known_client, name, now_us):
            # No name that strangers could send: they would have to know what it is made of.
            counted = f"{name}{FROM_KNOWN}{sha256(known_client.encode()).hexdigest()}"
        now = attempts.at_time(tables.attempts(counted), now_us, self._config.lock_out)
        user = tables.user(name)
        return _Try(user if user and user.state is AccountState.ACTIVE else None, now, counted)

    async def _is_right(self, user: User | None, password: str) -> bool:
        try:
            normal = accounts.normal_password(password)
        except WrongAccount:
            return False
        return await self._passwords.check(user.password_hash if user else "", normal)

    def _locked(self, found: Attempts) -> Refusal:
        wait_s = max(1.0, (found.locked_until_us - self._clock.wall_us()) / 1e6)
        return Refusal(
            429, "too many wrong passwords", f"wait {wait_s:.0f} s, then try again", wait_s
        )

    async def _begin_session(self, proven: _Proven, password: str) -> Tokens:
        user, token, now_us = proven.user, self.new_token(), self._clock.wall_us()
        known_client = None if proven.is_known else self.new_token()
        family = Family(
            id=self._draw(16).hex(), username=user.username, begun_at_us=now_us,
            expires_at_us=self._in(self._config.lifetimes.refresh_s),
        )  # fmt: skip
        hashed = ""
        if self._passwords.is_outdated(user.password_hash):
            hashed = await self._hash(accounts.normal_password(password))

        def begin(tables: UserTables) -> User:
            now = tables.user(user.username)
            if now is None or (now.password_hash, now.state) != (user.password_hash, user.state):
                raise Refusal(401, "not signed in", "the account was changed meanwhile")
            if hashed:
                tables.put_user(msgspec.structs.replace(now, password_hash=hashed))
            tables.put_family(family, token)
            if known_client is not None:
                expires_us = self._in(self._config.lifetimes.known_client_s)
                tables.put_client(known_client, user.username, expires_us)
            # With the roles of now: some may have been taken while the password was looked at.
            return now

        tokens = self._tokens(await self._store.do(begin), token)
        return msgspec.structs.replace(tokens, known_client=known_client)

    def _present(
        self, tables: UserTables, presented: str, token: str
    ) -> tuple[Family | None, User | None]:
        found = tables.family_of(presented)
        if found is None:
            return None, None
        family, is_current = found
        after, is_good = families.after_presentation(family, is_current, self._clock.wall_us())
        user = tables.user(family.username)
        if user is None or user.state is not AccountState.ACTIVE:
            is_good = False
        tables.put_family(after, token if is_good else None)
        return after, user if is_good else None

    def _tokens(self, user: User, refresh_token: str) -> Tokens:
        now_s = self._clock.wall_us() // 1_000_000
        lifetime_s = int(self._config.lifetimes.access_token_s)
        claims = {
            "iss": self._issuer, "aud": self._config.audience, "sub": user.username,
            "client_id": self._config.audience, "username": user.username,
            "token_use": "access", "iat": now_s, "nbf": now_s, "exp": now_s + lifetime_s,
            "jti": self._draw(16).hex(), "cognito:groups": [group_of(one) for one in user.grants],
        }  # fmt: skip
        return Tokens(
            access_token=self.keys.sign(claims), refresh_token=refresh_token,
            expires_in_s=lifetime_s,
        )  # fmt: skip

    async def _hash_for_link(
        self, token: str, name: str | None, password: str, *, is_first: bool
    ) -> str:
        # Looked at first: strangers must not have passwords hashed.
        found = await self._store.do(lambda tables: tables.link_user(token, self._clock.wall_us()))
        if found is None or (found == FIRST_START) is not is_first:
            raise _used_up()
        return await self._hash(self._check_password(password, name or found))

    def _check_password(self, password: str, username: str) -> str:
        return _checked(
            lambda: accounts.check_password(password, username, self._config.password_length_min)
        )

    async def _hash(self, password: str) -> str:
        return await self._passwords.hash(password)

    def _in(self, seconds: float) -> int:
        return self._clock.wall_us() + int(seconds * 1e6)

    async def _record_failure(self, name: str, after: Attempts) -> None:
        self.counts["sign_ins_refused"] += 1
        is_locked = after.state is AttemptState.LOCKED
        detail = f"wrong password, {after.failures} in a row" + (", locked" if is_locked else "")
        await self._record_entry("sign_in", "refused", name, detail)

    async def _record(self, operation: str, outcome: AuditOutcome, user: User) -> None:
        tenants = {grant.tenant for grant in user.grants}
        tenant = tenants.pop() if len(tenants) == 1 else ""
        await self._record_entry(operation, outcome, user.username, tenant=tenant)

    async def _record_entry(
        self,
        operation: str,
        outcome: AuditOutcome,
        who: str,
        detail: str = "",
        tenant: str = "",
    ) -> None:
        await self._keep(
            AuditEntry(
                id=f"identity:{self._draw(16).hex()}", at_us=self._clock.wall_us(),
                operation=operation, outcome=outcome, source="identity", who=shortened(who, 256),
                tenant="" if tenant == ALL_TENANTS else tenant, detail=detail,
                reference=shortened(who, 256),
            )
        )  # fmt: skip


def end_sessions(tables: UserTables, username: str) -> None:
    """End all sessions of a user."""
    for family in tables.families(username):
        tables.put_family(families.moved(family, FamilyEvent.USER_CHANGED))


def _used_up() -> Refusal:
    return Refusal(
        410, "link is no longer good", "it was used, replaced or has expired: ask for a new one"
    )


def _checked(check: Callable[[], _T]) -> _T:
    try:
        return check()
    except WrongAccount as error:
        raise Refusal(422, f"wrong {error.field}", str(error)) from None
