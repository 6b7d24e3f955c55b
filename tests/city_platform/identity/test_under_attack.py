"""Floods of sign-ins, clocks that jump, and roles that change while somebody signs in."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from city_platform.audit.entries import AuditEntry
from city_platform.identity.accounts import AccountState, User
from city_platform.identity.bodies import UserChange
from city_platform.identity.callers import Grant
from city_platform.identity.config import IdentityConfig, LockOut
from city_platform.identity.desk import IdentityDesk
from city_platform.identity.passwords import Passwords
from city_platform.identity.people import People
from city_platform.identity.tokens import verified_claims
from city_platform.stores.users import CLIENTS_KEPT, SqliteUserStore
from tests.city_platform.audit.logs import HandClock
from tests.city_platform.identity.test_service import CHEAP, PASSWORD, Issuer, story

pytestmark = pytest.mark.slow
AT_ONCE = 40
DAY_S = 86_400.0


def test_a_flood_for_one_name_takes_nobody_elses_turn(tmp_path: Path) -> None:
    """Few wait at once in this installation; all of them could be the flood's."""

    async def tell(issuer: Issuer) -> None:
        root = await issuer.set_up()
        await issuer.add(root, "ann", ("harbour", "analyst"))
        body = msgspec.json.encode({"username": "root", "password": "wrong"})
        async with httpx.AsyncClient(
            base_url=f"http://{issuer.address}", verify=False, timeout=60
        ) as client:
            flood = [
                asyncio.ensure_future(client.post("/v1/sign-in", content=body))
                for _ in range(AT_ONCE)
            ]
            mine = msgspec.json.encode({"username": "ann", "password": PASSWORD})
            others = [
                (await client.post("/v1/sign-in", content=mine)).status_code for _ in range(5)
            ]
            codes = Counter(answer.status_code for answer in await asyncio.gather(*flood))
        assert others == [200] * 5
        # So many were looked at as there are without a wait, and the one that was too many.
        assert codes == {401: 3, 429: AT_ONCE - 3}

    story(tmp_path, tell, sign_ins_waiting_max=4, lock_out=LockOut(failures_free=2))


def test_a_flood_of_many_names_leaves_sessions_and_health_alone(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        await issuer.set_up()
        token = (await issuer.sign_in("root")).json()["refresh_token"]
        async with httpx.AsyncClient(
            base_url=f"http://{issuer.address}", verify=False, timeout=60
        ) as client:
            flood = [
                asyncio.ensure_future(
                    client.post("/v1/sign-in", json={"username": f"n{n}", "password": "wrong"})
                )
                for n in range(AT_ONCE)
            ]
            for _ in range(5):
                refreshed = await client.post("/v1/refresh", json={"refresh_token": token})
                assert refreshed.status_code == 200
                token = refreshed.json()["refresh_token"]
                assert (await client.get("/healthz")).status_code == 200
            codes = {answer.status_code for answer in await asyncio.gather(*flood)}
        assert codes == {401, 503}
        assert (await issuer.sign_in("root")).status_code == 200

    story(tmp_path, tell, sign_ins_waiting_max=8)


def test_a_clock_that_was_a_year_ahead_locks_nobody_out(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        await issuer.set_up()
        issuer.clock.move(365 * DAY_S)
        ahead = (await issuer.sign_in("root")).json()["refresh_token"]
        codes = [(await issuer.sign_in("root", "wrong")).status_code for _ in range(4)]
        assert codes == [401, 401, 401, 429]
        issuer.clock.move(-365 * DAY_S)
        assert (await issuer.sign_in("root")).status_code == 200
        # What began in a time that is not now gives nobody a token for a year.
        answer = await issuer.ask("POST", "/v1/refresh", {"refresh_token": ahead})
        assert answer.status_code == 401

    story(tmp_path, tell, lock_out=LockOut(failures_free=2))


async def sign_in_from(
    issuer: Issuer, known_client: str | None, password: str = PASSWORD, username: str = "ann"
) -> httpx.Response:
    body = {"username": username, "password": password, "known_client": known_client}
    return await issuer.ask("POST", "/v1/sign-in", body)


def test_nobody_is_locked_out_of_where_they_have_signed_in_before(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        root = await issuer.set_up()
        for name in ("ann", "bob"):
            await issuer.add(root, name, ("harbour", "analyst"))
        first = (await issuer.sign_in("ann")).json()
        known = first["known_client"]
        # Somebody who knows nothing but the name has it locked, for as long as that goes.
        for _ in range(12):
            assert (await issuer.sign_in("ann", "wrong")).status_code in (401, 429)
            issuer.clock.move(20.0)
        issuer.clock.move(-10.0)
        assert (await issuer.sign_in("ann")).status_code == 429
        again = await sign_in_from(issuer, known)
        assert (again.status_code, again.json()["known_client"]) == (200, None)
        refreshed = await issuer.ask(
            "POST", "/v1/refresh", {"refresh_token": again.json()["refresh_token"]}
        )
        assert refreshed.json()["known_client"] is None
        # It is this user's alone, and it lets nobody in.
        assert (await sign_in_from(issuer, known, "wrong", "bob")).status_code == 401
        assert (await sign_in_from(issuer, "invented")).status_code == 429
        # Guessing with it has its own end, which an administrator lifts.
        guesses = [(await sign_in_from(issuer, known, "wrong")).status_code for _ in range(5)]
        assert guesses == [401, 401, 401, 429, 429]
        assert (await sign_in_from(issuer, known)).status_code == 429
        root = await issuer.access("root")
        unlocked = await issuer.ask("PATCH", "/v1/users/ann", {"unlock": True}, root)
        assert unlocked.status_code == 200
        assert (await sign_in_from(issuer, known)).status_code == 200
        assert (await issuer.sign_in("ann")).status_code == 200

    lock_out = LockOut(failures_free=2, first_s=15.0, longest_s=60.0)
    story(tmp_path, tell, lock_out=lock_out)


def test_a_place_is_known_for_a_time_and_so_many_of_a_user(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        await issuer.set_up()
        places = []
        for _ in range(CLIENTS_KEPT + 2):
            places.append((await issuer.sign_in("root")).json()["known_client"])
            issuer.clock.move(1.0)
        assert len(set(places)) == CLIENTS_KEPT + 2
        # `set_up` has signed in too.
        known = [
            (await sign_in_from(issuer, place, username="root")).json()["known_client"] is None
            for place in places[-CLIENTS_KEPT:]
        ]
        assert all(known)
        oldest = await sign_in_from(issuer, places[0], username="root")
        assert oldest.json()["known_client"] not in (None, *places)
        issuer.clock.move(90 * DAY_S)
        late = await sign_in_from(issuer, places[-1], username="root")
        assert late.json()["known_client"] is not None

    story(tmp_path, tell)


Keep = Callable[[AuditEntry], Awaitable[None]]


async def keep_nothing(entry: AuditEntry) -> None:
    """No audit."""


@contextlib.asynccontextmanager
async def desk_in(
    folder: Path, clock: HandClock, store: SqliteUserStore, keep: Keep = keep_nothing
) -> AsyncIterator[IdentityDesk]:
    config = IdentityConfig(state_dir=str(folder), token_file="", password_cost=CHEAP)
    desk = IdentityDesk(
        store, Passwords(CHEAP, 8), config, "http://identity.test", clock, os.urandom, keep
    )
    try:
        await desk.open()
        yield desk
    finally:
        desk.close()
        store.close()


def test_roles_that_were_taken_meanwhile_are_not_in_the_token(tmp_path: Path) -> None:
    store, clock = SqliteUserStore(tmp_path / "users.sqlite"), HandClock()
    config = IdentityConfig(state_dir=str(tmp_path), token_file="", password_cost=CHEAP)
    people = People(store, config, clock, lambda: "token", lambda token: token)
    before = [Grant("harbour", "analyst"), Grant("harbour", "controller")]

    async def keep(entry: AuditEntry) -> None:
        # Its password was found right, and it has no session yet.
        if entry.operation == "sign_in":
            await people.change(None, "ann", UserChange(grants=before[:1]))

    async def tell() -> None:
        passwords = Passwords(CHEAP, 8)
        user = User(
            username="ann", grants=before, state=AccountState.ACTIVE,
            password_hash=await passwords.hash(PASSWORD),
        )  # fmt: skip
        passwords.close()
        async with desk_in(tmp_path, clock, store, keep) as desk:
            await store.do(lambda tables: tables.put_user(user))
            tokens = await desk.sign_in("ann", PASSWORD)
            signing = desk.keys.signing
            assert signing is not None
            key = await desk.keys.find(signing.id)
            assert key is not None
            claims = verified_claims(tokens.access_token, key)
            assert claims["cognito:groups"] == ["harbour:analyst"]

    asyncio.run(tell())


def test_a_signing_key_of_a_clock_that_was_ahead_is_replaced(tmp_path: Path) -> None:
    async def tell() -> None:
        clock = HandClock()
        clock.move(365 * DAY_S)
        async with desk_in(tmp_path, clock, SqliteUserStore(tmp_path / "users.sqlite")) as desk:
            ahead = desk.keys.signing
            clock.move(-365 * DAY_S)
            await desk.age_keys()
            now = desk.keys.signing
            assert ahead is not None
            assert now is not None
            assert now.id != ahead.id
            await desk.age_keys()
            assert desk.keys.signing == now

    asyncio.run(tell())
