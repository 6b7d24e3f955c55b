"""Floods of many names over HTTP, and whose word on a client's address is taken."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from city_platform.identity.accounts import AccountState, User
from city_platform.identity.config import AddressBudget, IdentityConfig
from city_platform.identity.desk import IdentityDesk
from city_platform.identity.fronts import CLIENT_ADDRESS_HEADER, read_tokens
from city_platform.identity.passwords import Passwords, TooManySignIns
from city_platform.identity.refusals import Refusal
from city_platform.stores.users import SqliteUserStore, UserTables
from tests.city_platform.audit.logs import HandClock
from tests.city_platform.identity.test_service import CHEAP, PASSWORD, TOKEN, Issuer, story
from tests.city_platform.identity.test_under_attack import keep_nothing
from tests.processes import WITHIN_S

pytestmark = pytest.mark.slow
AT_ONCE = 60
PLENTY = AddressBudget(wrong_free=10_000)
OFFICE, ELSEWHERE = "192.0.2.1", "203.0.113.9"


async def sign_in(
    issuer: Issuer,
    username: str,
    password: str = PASSWORD,
    *,
    address: str | None = None,
    token: str | None = TOKEN,
    known_client: str | None = None,
    **headers: str,
) -> httpx.Response:
    """As the dashboard asks for a browser at `address`."""
    given = dict(headers)
    if address is not None:
        given[CLIENT_ADDRESS_HEADER] = address
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    body = {"username": username, "password": password, "known_client": known_client}
    async with httpx.AsyncClient(
        base_url=f"http://{issuer.address}", verify=False, timeout=60
    ) as client:
        return await client.post("/v1/sign-in", json=body, headers=given)


async def counts_of(issuer: Issuer) -> Counter[str]:
    return Counter((await issuer.ask("GET", "/v1/counts", bearer=TOKEN)).json())


class HeldPasswords(Passwords):
    """Passwords that are looked at when the test says so: what a slow hash does to a flood, without
    the time that it takes."""

    def __init__(self) -> None:
        super().__init__(CHEAP, 64)
        self.go = asyncio.Event()
        self.go.set()

    async def check(self, password_hash: str, password: str) -> bool:
        """See `Passwords`."""
        await self.go.wait()
        return await super().check(password_hash, password)


class Besieged(NamedTuple):
    """An issuer with the users ann and bob, and its passwords."""

    desk: IdentityDesk
    passwords: HeldPasswords

    async def sign_in(self, name: str, address: str, known_client: str | None = None) -> str:
        """What becomes of it; the user's password is right, a stranger's is wrong."""
        try:
            tokens = await self.desk.sign_in(name, PASSWORD, known_client, address)
        except Refusal as error:
            return f"{error.status} {error.title}"
        except TooManySignIns:
            return "no room"
        return tokens.known_client or "signed in"

    async def flood(self, addresses: int, refused: int) -> list[asyncio.Task[str]]:
        """So many at once with a name each, from so many addresses; so many are refused as they
        come, and the others wait."""
        self.passwords.go.clear()
        tasks = [
            asyncio.ensure_future(self.sign_in(f"n{n}", f"198.51.100.{n % addresses}"))
            for n in range(AT_ONCE)
        ]
        async with asyncio.timeout(30):
            for ended in itertools.islice(asyncio.as_completed(tasks), refused):
                await ended
        return tasks


def _put_user(user: User, tables: UserTables) -> None:
    tables.put_user(user)


def besieged(folder: Path, tell: Callable[[Besieged], Awaitable[None]], **changes: Any) -> None:
    """Tell a story of an issuer that looks at passwords when it is let."""

    async def whole() -> None:
        config = IdentityConfig(
            state_dir=str(folder), token_file="", password_cost=CHEAP, address_budget=PLENTY,
            **changes,
        )  # fmt: skip
        store, passwords = SqliteUserStore(folder / "users.sqlite"), HeldPasswords()
        desk = IdentityDesk(
            store, passwords, config, "http://identity.test", HandClock(), os.urandom, keep_nothing
        )
        try:
            await desk.open()
            hashed = await passwords.hash(PASSWORD)
            for name in ("ann", "bob"):
                user = User(
                    username=name, grants=[], state=AccountState.ACTIVE, password_hash=hashed
                )
                await store.do(functools.partial(_put_user, user))
            await tell(Besieged(desk, passwords))
        finally:
            desk.close()
            store.close()

    asyncio.run(whole())


def test_a_flood_of_many_names_and_addresses_keeps_no_honest_user_out(tmp_path: Path) -> None:
    async def tell(issuer: Besieged) -> None:
        known = await issuer.sign_in("ann", OFFICE)
        flood = await issuer.flood(AT_ONCE, refused=AT_ONCE - 6)
        # All places of strangers are taken; a name that exists has none of its own.
        assert await issuer.sign_in("bob", ELSEWHERE) == "no room"
        at_office = asyncio.ensure_future(issuer.sign_in("bob", OFFICE))
        travelling = asyncio.ensure_future(issuer.sign_in("ann", ELSEWHERE, known))
        issuer.passwords.go.set()
        assert len(await at_office) > 20
        assert await travelling == "signed in"
        found = Counter(await asyncio.gather(*flood))
        assert found == {"no room": AT_ONCE - 6, "401 not signed in": 6}
        assert await issuer.sign_in("bob", ELSEWHERE) != "no room"

    besieged(tmp_path, tell, sign_ins_waiting_max=8)


def test_a_flood_from_one_address_leaves_the_places_of_all_others(tmp_path: Path) -> None:
    async def tell(issuer: Besieged) -> None:
        flood = await issuer.flood(1, refused=AT_ONCE - 4)
        other = asyncio.ensure_future(issuer.sign_in("ann", ELSEWHERE))
        issuer.passwords.go.set()
        assert len(await other) > 20
        found = Counter(await asyncio.gather(*flood))
        assert found == {
            "429 too many sign-ins at once from your address": AT_ONCE - 4, "401 not signed in": 4
        }  # fmt: skip
        assert issuer.desk.counts["sign_ins_too_many_from_address"] == AT_ONCE - 4

    besieged(tmp_path, tell, sign_ins_waiting_max=64, sign_ins_waiting_per_address_max=4)


def test_one_password_tried_on_many_names_is_held_up_by_its_address(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        await issuer.set_up()
        office = "2001:db8:1:2::7"
        first = await sign_in(issuer, "root", address=office)
        # From the same customer's network, an address each.
        codes = [
            (await sign_in(issuer, f"n{n}", "Summer2026!", address=f"2001:db8:1:2::{n:x}"))
            for n in range(1, 8)
        ]
        assert [each.status_code for each in codes] == [401] * 5 + [429] * 2
        assert codes[-1].headers["retry-after"] == "20"
        assert (await sign_in(issuer, "root", address="203.0.113.9")).status_code == 200
        known = first.json()["known_client"]
        again = await sign_in(issuer, "root", address=office, known_client=known)
        assert again.status_code == 200
        # Whether the name is there makes no difference to who is refused.
        refused = [await sign_in(issuer, name, address=office) for name in ("root", "nobody")]
        assert [each.status_code for each in refused] == [429, 429]
        assert refused[0].content == refused[1].content
        issuer.clock.move(20.0)
        assert (await sign_in(issuer, "root", address=office)).status_code == 200

    story(tmp_path, tell, address_budget=AddressBudget(wrong_free=5, each_s=20.0))


@pytest.mark.parametrize(
    ("address", "token", "headers"),
    [
        ("203.0.113.{}", None, {}),  # anybody
        ("203.0.113.{}", "another-token", {}),
        ("nonsense {}", TOKEN, {}),
        (None, TOKEN, {"X-Forwarded-For": "203.0.113.{}", "Forwarded": "for=203.0.113.{}"}),
        (None, None, {"X-Forwarded-For": "203.0.113.{}", "X-Real-IP": "203.0.113.{}"}),
    ],
)
def test_nobody_gets_another_budget_by_naming_another_address(
    tmp_path: Path, address: str | None, token: str | None, headers: dict[str, str]
) -> None:
    async def tell(issuer: Issuer) -> None:
        codes = [
            (
                await sign_in(
                    issuer, f"n{n}", "wrong", address=address and address.format(n), token=token,
                    **{name: text.format(n) for name, text in headers.items()},
                )
            ).status_code
            for n in range(4)
        ]  # fmt: skip
        assert codes == [401, 401, 429, 429]
        not_believed = (await counts_of(issuer))["client_addresses_not_believed"]
        assert not_believed == (0 if address is None else 4)

    story(tmp_path, tell, address_budget=AddressBudget(wrong_free=2, each_s=60.0))


def test_two_addresses_in_one_request_are_none(tmp_path: Path) -> None:
    async def tell(issuer: Issuer) -> None:
        async with httpx.AsyncClient(
            base_url=f"http://{issuer.address}", verify=False, timeout=WITHIN_S
        ) as client:
            for n in range(3):
                answer = await client.post(
                    "/v1/sign-in", json={"username": "n", "password": "wrong"},
                    headers=[
                        ("Authorization", f"Bearer {TOKEN}"),
                        (CLIENT_ADDRESS_HEADER, f"203.0.113.{n}"),
                        (CLIENT_ADDRESS_HEADER, "203.0.113.200"),
                    ],
                )  # fmt: skip
        assert answer.status_code == 429

    story(tmp_path, tell, address_budget=AddressBudget(wrong_free=2, each_s=60.0))


def test_a_front_has_a_token_of_its_own_and_then_the_services_have_no_word(tmp_path: Path) -> None:
    (tmp_path / "front").write_text("token-of-the-dashboard\n")

    async def tell(issuer: Issuer) -> None:
        for token, codes in ((TOKEN, [401, 401, 429]), ("token-of-the-dashboard", [401] * 3)):
            found = [
                (
                    await sign_in(issuer, "n", "wrong", address=f"203.0.113.{n}", token=token)
                ).status_code
                for n in range(3)
            ]
            assert found == codes

    story(
        tmp_path, tell, front_token_files=(str(tmp_path / "front"),),
        address_budget=AddressBudget(wrong_free=2, each_s=60.0),
    )  # fmt: skip


def test_an_empty_token_is_no_credential(tmp_path: Path) -> None:
    (tmp_path / "front").write_text("\n")
    with pytest.raises(ValueError, match="is empty: it must hold a token"):
        read_tokens([str(tmp_path / "front")])
