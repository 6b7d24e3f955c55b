"""The whole component over HTTP: from the first start's link to the last session's end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from city_platform.identity import IdentityConfig, run
from city_platform.identity.config import Lifetimes, LockOut, PasswordCost
from city_platform.identity.service import serve
from city_platform.stores import sqlite
from tests.city_platform.audit.logs import HandClock
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
TOKEN = "token-of-this-test"
PASSWORD = "a sentence that nobody guesses"
OTHER = "another sentence, just as good"
CHEAP = PasswordCost(time_cost=1, memory_kib=8)


class Issuer:
    """The component at work, and what it said at its start."""

    def __init__(self, clock: HandClock, address: str, said: list[Mapping[str, object]]) -> None:
        self.clock = clock
        self.address = address
        self.said = said

    async def ask(
        self, method: str, path: str, body: Any = None, bearer: str | None = None
    ) -> httpx.Response:
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        # Without verifying there are no certificates to load, and nothing is encrypted here.
        async with httpx.AsyncClient(
            base_url=f"http://{self.address}", verify=False, timeout=WITHIN_S
        ) as client:
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
            return await client.request(method, path, content=content, headers=headers)

    async def sign_in(self, username: str, password: str = PASSWORD) -> httpx.Response:
        return await self.ask("POST", "/v1/sign-in", {"username": username, "password": password})

    async def access(self, username: str, password: str = PASSWORD) -> str:
        return str((await self.sign_in(username, password)).json()["access_token"])

    async def set_up(self) -> str:
        """Make `root`, who manages everything; their access token."""
        link = str(self.said[-1]["set_up"])
        answer = await self.ask(
            "POST", "/v1/set-up",
            {"token": link.partition("#token=")[2], "username": "root", "password": PASSWORD},
        )  # fmt: skip
        assert answer.status_code == 204, answer.text
        return await self.access("root")

    async def add(self, bearer: str, username: str, *grants: tuple[str, str]) -> None:
        """Create a user who has accepted the invitation."""
        wanted = {
            "username": username,
            "grants": [{"tenant": tenant, "role": role} for tenant, role in grants],
        }
        made = await self.ask("POST", "/v1/users", wanted, bearer)
        assert made.status_code == 201, made.text
        accepted = await self.accept(made.json()["link"])
        assert accepted.status_code == 204

    async def accept(self, link: str, password: str = PASSWORD) -> httpx.Response:
        token = link.partition("#invitation=")[2]
        return await self.ask("POST", "/v1/invitations", {"token": token, "password": password})


@contextlib.asynccontextmanager
async def issuing(
    folder: Path, clock: HandClock | None = None, **changes: Any
) -> AsyncIterator[Issuer]:
    (folder / "token").write_text(TOKEN)
    clock = clock or HandClock()
    config = IdentityConfig(
        state_dir=str(folder / "state"),
        token_file=str(folder / "token"),
        password_cost=CHEAP,
        public_url="http://identity.test",
        **changes,
    )
    said: list[Mapping[str, object]] = []
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(serve(config, clock, ready.set_result, os.urandom, said.append))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield Issuer(clock, ready.result()["http"], said)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def story(folder: Path, tell: Callable[[Issuer], Awaitable[None]], **changes: Any) -> None:
    async def whole() -> None:
        async with issuing(folder, **changes) as issuer:
            await tell(issuer)

    asyncio.run(whole())


def test_the_first_start_prints_a_link_that_is_good_once_and_makes_no_password(
    tmp_path: Path,
) -> None:
    async def tell(issuer: Issuer) -> None:
        assert list(issuer.said[0]) == ["set_up"]
        for name, password in (("admin", "admin"), ("root", ""), ("root", "root")):
            assert (await issuer.sign_in(name, password)).status_code == 401
        bearer = await issuer.set_up()
        me = (await issuer.ask("GET", "/v1/me", bearer=bearer)).json()
        assert me["grants"] == [{"tenant": "*", "role": "administrator"}]
        link = str(issuer.said[0]["set_up"])
        again = {
            "token": link.partition("#token=")[2], "username": "second", "password": PASSWORD
        }  # fmt: skip
        assert (await issuer.ask("POST", "/v1/set-up", again)).status_code == 410

    story(tmp_path, tell)

    async def tell_later(issuer: Issuer) -> None:
        assert issuer.said == []
        assert (await issuer.sign_in("root")).status_code == 200

    story(tmp_path, tell_later)


def test_a_set_up_link_expires_and_a_new_start_prints_another(tmp_path: Path) -> None:
    links: list[str] = []

    async def tell(issuer: Issuer) -> None:
        links.append(str(issuer.said[0]["set_up"]).partition("#token=")[2])
        body = {"token": links[0], "username": "root", "password": PASSWORD}
        if len(links) == 2:
            assert links[0] != links[1]
            assert (await issuer.ask("POST", "/v1/set-up", body)).status_code == 410
            body["token"] = links[1]
            # A password that is refused does not use the link up.
            wrong = await issuer.ask("POST", "/v1/set-up", body | {"password": "short"})
            assert wrong.status_code == 422
            assert (await issuer.ask("POST", "/v1/set-up", body)).status_code == 204
        else:
            issuer.clock.move(901.0)
            assert (await issuer.ask("POST", "/v1/set-up", body)).status_code == 410

    story(tmp_path, tell)
    story(tmp_path, tell)


def test_wrong_passwords_lock_out_also_those_who_do_not_exist(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        await issuer.set_up()
        for name in ("root", "nobody"):
            codes = [(await issuer.sign_in(name, "wrong")).status_code for _ in range(5)]
            assert codes == [401, 401, 401, 429, 429]
            # Not even the right one while it lasts.
            locked = await issuer.sign_in(name)
            assert (locked.status_code, locked.headers["retry-after"]) == (429, "1")
        issuer.clock.move(1.5)
        assert (await issuer.sign_in("root", "wrong")).status_code == 401
        issuer.clock.move(1.5)
        assert (await issuer.sign_in("root")).status_code == 429
        issuer.clock.move(1.0)
        assert (await issuer.sign_in("root")).status_code == 200

    story(tmp_path, tell, lock_out=LockOut(failures_free=2))


def test_many_wrong_passwords_at_once_count_as_many(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        await issuer.set_up()
        answers = await asyncio.gather(*(issuer.sign_in("root", "wrong") for _ in range(10)))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [401] * 3 + [429] * 7

    story(tmp_path, tell, lock_out=LockOut(failures_free=2))


def test_more_sign_ins_than_may_wait_are_told_to_come_again(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        answers = await asyncio.gather(*(issuer.sign_in("root", "wrong") for _ in range(12)))
        assert {answer.status_code for answer in answers} <= {401, 503}

    story(tmp_path, tell, sign_ins_waiting_max=1, lock_out=LockOut(failures_free=100))


def test_a_refresh_token_is_good_once_and_twice_ends_the_session(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        await issuer.set_up()

        async def refresh(token: str) -> httpx.Response:
            return await issuer.ask("POST", "/v1/refresh", {"refresh_token": token})

        first = (await issuer.sign_in("root")).json()["refresh_token"]
        second = (await refresh(first)).json()["refresh_token"]
        third = (await refresh(second)).json()["refresh_token"]
        assert (await refresh("invented")).status_code == 401
        stolen = await refresh(first)
        assert (stolen.status_code, stolen.headers["www-authenticate"]) == (401, "Bearer")
        assert (await refresh(third)).status_code == 401
        # Another session of the same user goes on, until they sign out.
        other = (await issuer.sign_in("root")).json()["refresh_token"]
        other = (await refresh(other)).json()["refresh_token"]
        out = await issuer.ask("POST", "/v1/sign-out", {"refresh_token": other})
        assert out.status_code == 204
        assert (await refresh(other)).status_code == 401
        late = (await issuer.sign_in("root")).json()["refresh_token"]
        issuer.clock.move(43_201.0)
        assert (await refresh(late)).status_code == 401

    story(tmp_path, tell)


def test_signing_keys_roll_and_tokens_of_the_former_are_good_until_they_expire(
    tmp_path: Path,
) -> None:
    async def key_ids(issuer: Issuer) -> list[str]:
        keys = (await issuer.ask("GET", "/.well-known/jwks.json")).json()["keys"]
        assert all(set(key) == {"kty", "n", "e", "kid", "use", "alg"} for key in keys)
        return [key["kid"] for key in keys]

    async def tell(issuer: Issuer) -> None:
        bearer = await issuer.set_up()
        (first,) = await key_ids(issuer)
        made = await issuer.ask("POST", "/v1/keys", {}, bearer)
        assert made.status_code == 201
        assert await key_ids(issuer) == [first, made.json()["id"]]
        assert (await issuer.ask("GET", "/v1/me", bearer=bearer)).status_code == 200
        later = await issuer.access("root")
        assert (await issuer.ask("GET", "/v1/me", bearer=later)).status_code == 200
        issuer.clock.move(700.0)
        rolled = await issuer.ask("POST", "/v1/keys", {}, await issuer.access("root"))
        assert rolled.status_code == 201

    story(tmp_path, tell, lifetimes=Lifetimes(access_token_s=600.0))

    async def tell_later(issuer: Issuer) -> None:
        # The clock began anew before the keys' end; a start looks after them.
        assert len(await key_ids(issuer)) == 3

    story(tmp_path, tell_later)

    async def tell_last(issuer: Issuer) -> None:
        assert len(await key_ids(issuer)) == 1

    late = HandClock()
    late.move(2_000.0)
    story(tmp_path, tell_last, clock=late)


def test_users_are_created_disabled_enabled_and_given_roles(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        root = await issuer.set_up()
        await issuer.add(root, "Ann", ("harbour", "controller"))
        assert (await issuer.ask("POST", "/v1/users", {"username": "ann", "grants": []}, root)
                ).status_code == 409  # fmt: skip
        session = (await issuer.sign_in("ann")).json()
        me = (await issuer.ask("GET", "/v1/me", bearer=session["access_token"])).json()
        assert "issue_command" in me["operations"]
        assert "read_readings" not in me["operations"]
        change = {"grants": [{"tenant": "harbour", "role": "analyst"}]}
        changed = await issuer.ask("PATCH", "/v1/users/ann", change, root)
        assert changed.json()["grants"] == change["grants"]
        # Who loses a role must sign in anew.
        refresh = {"refresh_token": session["refresh_token"]}
        assert (await issuer.ask("POST", "/v1/refresh", refresh)).status_code == 401
        off = await issuer.ask("PATCH", "/v1/users/ann", {"state": "disabled"}, root)
        assert off.json()["state"] == "disabled"
        assert (await issuer.sign_in("ann")).status_code == 401
        assert (await issuer.ask("POST", "/v1/users/ann/invitation", {}, root)).status_code == 409
        on = await issuer.ask("PATCH", "/v1/users/ann", {"state": "enabled"}, root)
        assert on.json()["state"] == "invited"
        assert (await issuer.sign_in("ann")).status_code == 401
        first = (await issuer.ask("POST", "/v1/users/ann/invitation", {}, root)).json()["link"]
        second = (await issuer.ask("POST", "/v1/users/ann/invitation", {}, root)).json()["link"]
        assert (await issuer.accept(first)).status_code == 410
        assert (await issuer.accept(second, OTHER)).status_code == 204
        assert (await issuer.accept(second, OTHER)).status_code == 410
        assert (await issuer.sign_in("ann", OTHER)).status_code == 200

    story(tmp_path, tell)


def test_an_administrator_of_a_tenant_manages_nobody_elses_users(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        root = await issuer.set_up()
        await issuer.add(root, "ann", ("harbour", "administrator"))
        await issuer.add(root, "bob", ("hills", "analyst"))
        await issuer.add(root, "eve", ("harbour", "analyst"), ("hills", "analyst"))
        ann = await issuer.access("ann")
        await issuer.add(ann, "new", ("harbour", "controller"))
        users = (await issuer.ask("GET", "/v1/users", bearer=ann)).json()["users"]
        assert [user["username"] for user in users] == ["ann", "new"]
        for name in ("bob", "eve", "root", "nobody"):
            for method, path, body in (
                ("GET", f"/v1/users/{name}", None),
                ("PATCH", f"/v1/users/{name}", {"unlock": True}),
                ("POST", f"/v1/users/{name}/invitation", {}),
            ):
                assert (await issuer.ask(method, path, body, ann)).status_code == 404
        for grants in ([{"tenant": "hills", "role": "analyst"}],
                       [{"tenant": "*", "role": "analyst"}], []):  # fmt: skip
            wanted = {"username": "more", "grants": grants}
            assert (await issuer.ask("POST", "/v1/users", wanted, ann)).status_code == 403
            own = await issuer.ask("PATCH", "/v1/users/ann", {"grants": grants}, ann)
            assert own.status_code == 403
        assert (await issuer.ask("POST", "/v1/keys", {}, ann)).status_code == 403

    story(tmp_path, tell)


def test_the_last_administrator_can_not_be_taken_away(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        root = await issuer.set_up()
        for change in ({"state": "disabled"}, {"grants": []}):
            assert (await issuer.ask("PATCH", "/v1/users/root", change, root)).status_code == 409
        await issuer.add(root, "second", ("*", "administrator"))
        gone = await issuer.ask("PATCH", "/v1/users/root", {"state": "disabled"}, root)
        assert gone.status_code == 200

    story(tmp_path, tell)


def test_a_changed_password_ends_all_sessions(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        bearer = await issuer.set_up()
        session = (await issuer.sign_in("root")).json()["refresh_token"]

        async def change(password: str, new: str) -> int:
            body = {"password": password, "new_password": new}
            return (await issuer.ask("PUT", "/v1/me/password", body, bearer)).status_code

        assert await change("wrong", OTHER) == 401
        assert await change(PASSWORD, "short") == 422
        assert await change(PASSWORD, OTHER) == 204
        refresh = await issuer.ask("POST", "/v1/refresh", {"refresh_token": session})
        assert refresh.status_code == 401
        assert (await issuer.sign_in("root")).status_code == 401
        assert (await issuer.sign_in("root", OTHER)).status_code == 200

    story(tmp_path, tell)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"[" * 10_000, b'{"username": 1, "password": ""}', b'{"username": "a"}',
     b'{"username": "a", "password": "b", "more": 1}', b"\xff\xfe", b"null"],
)  # fmt: skip
def test_a_wrong_body_is_a_problem_that_says_where(tmp_path: Path, body: bytes) -> None:
    async def tell(issuer: Issuer) -> None:
        answer = await issuer.ask("POST", "/v1/sign-in", body)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"

    story(tmp_path, tell)


def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        assert (await issuer.ask("POST", "/v1/sign-in", b" " * 70_000)).status_code == 413

    story(tmp_path, tell)


def test_every_sign_in_is_kept_for_the_audit_and_no_secret_with_it(tmp_path: Path) -> None:
    seen: list[str] = []

    async def tell(issuer: Issuer) -> None:
        bearer = await issuer.set_up()
        await issuer.sign_in("root", "a wrong password")
        await issuer.add(bearer, "ann", ("harbour", "analyst"))
        seen.extend([bearer, str(issuer.said[0]["set_up"]).partition("#token=")[2]])

    story(tmp_path, tell)
    import sqlite3

    connection = sqlite3.connect(tmp_path / "state/audit_outbox.sqlite")
    rows = [msgspec.json.decode(row[0]) for row in connection.execute("SELECT entry FROM acts")]
    connection.close()
    kept = [(row["operation"], row["outcome"], row["who"], row["reference"]) for row in rows]
    assert kept == [
        ("set_up", "succeeded", "root", "root"),
        ("sign_in", "succeeded", "root", "root"),
        ("sign_in", "refused", "root", "root"),
        ("create_user", "succeeded", "root", "ann"),
        ("accept_invitation", "succeeded", "ann", "ann"),
    ]
    everything = b"".join(path.read_bytes() for path in sorted((tmp_path / "state").iterdir()))
    for secret in (PASSWORD, "a wrong password", *seen):
        assert secret.encode() not in everything
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "state").iterdir())


def test_the_component_has_the_usual_form(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)

    async def whole() -> None:
        ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        config = IdentityConfig(
            state_dir=str(tmp_path), token_file=str(tmp_path / "token"), password_cost=CHEAP
        )
        task = asyncio.ensure_future(run(config, HandClock(), ready.set_result))
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        assert ready.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(whole())


def test_a_store_that_is_held_by_another_is_said_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 1)

    async def story(issuer: Issuer) -> None:
        root = await issuer.set_up()
        for name in ("users.sqlite", "audit_outbox.sqlite"):
            with contextlib.closing(sqlite3.connect(tmp_path / "state" / name)) as other:
                other.execute("BEGIN EXCLUSIVE")
                answer = await issuer.sign_in("root")
                assert answer.status_code == 503, name
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["retry-after"]
                assert "database is locked" in answer.json()["detail"]
            assert (await issuer.sign_in("root")).status_code == 200
        await issuer.add(root, "ann", ("harbour", "analyst"))

    async def run_it() -> None:
        async with issuing(tmp_path) as issuer:
            await story(issuer)

    asyncio.run(run_it())
