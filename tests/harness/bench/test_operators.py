"""The operators of a bench, at a real issuer: they come in and back, and tokens stay good."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from city_platform.identity import IdentityConfig
from city_platform.identity.config import PasswordCost
from city_platform.identity.service import serve
from harness.bench.operators import ADMINISTRATOR, ROLES, Operators
from harness.errors import BenchFailed
from runtime.clock import SystemClock
from runtime.http_client import HttpClient

pytestmark = pytest.mark.slow


class Me(msgspec.Struct):
    name: str
    grants: list[dict[str, str]]


@contextlib.asynccontextmanager
async def issuer(folder: Path) -> AsyncIterator[tuple[str, str | None]]:
    """Its address, and the link of its first start where this is one."""
    (folder / "token").write_text("token-of-this-test")
    config = IdentityConfig(
        state_dir=str(folder / "identity"),
        token_file=str(folder / "token"),
        password_cost=PasswordCost(time_cost=1, memory_kib=8),
    )
    (folder / "identity").mkdir(exist_ok=True)
    said: list[Mapping[str, Any]] = []
    ready: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(
        serve(config, SystemClock(), ready.set_result, os.urandom, said.append)
    )
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield ready.result()["http"], next((str(one["set_up"]) for one in said), None)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def who_is(address: str, operators: Operators, name: str) -> Me:
    async with HttpClient(address, operators.bearer(name)) as client:
        return await client.get("/v1/me", Me)


def test_each_role_has_an_operator_with_that_role_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with issuer(tmp_path) as (address, link):
            operators = Operators(tmp_path, address)
            await operators.sign_in(link)
            for role in ROLES:
                me = await who_is(address, operators, role)
                assert (me.name, me.grants) == (f"bench-{role}", [{"tenant": "*", "role": role}])

    asyncio.run(story())


def test_what_is_secret_is_in_files_of_the_owner_alone_and_is_told_for_the_search(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with issuer(tmp_path) as (address, link):
            operators = Operators(tmp_path, address)
            await operators.sign_in(link)
            folder = operators.file("analyst").parent
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            for file in folder.iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert operators.file("analyst").read_text() == operators.token("analyst")
            told = operators.secrets()
            assert operators.token("analyst").rpartition(".")[2].encode() in told
            # The link's token, three invitations', and of each role password and two tokens.
            assert len(told) == 1 + 3 + 4 * 3
            assert "eyJ" not in repr(operators)

    asyncio.run(story())


def test_a_bench_that_comes_back_with_its_state_signs_its_operators_in_again(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with issuer(tmp_path) as (address, link):
            assert link is not None
            await Operators(tmp_path, address).sign_in(link)
        async with issuer(tmp_path) as (address, link):
            assert link is None
            operators = Operators(tmp_path, address)
            await operators.sign_in(None)
            assert (await who_is(address, operators, "controller")).name == "bench-controller"

    asyncio.run(story())


def test_an_installation_that_somebody_else_has_set_up_is_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with issuer(tmp_path) as (address, link):
            await Operators(tmp_path, address).sign_in(link)
            (tmp_path / "operator_tokens/passwords.json").unlink()
            with pytest.raises(BenchFailed, match="choose an empty folder"):
                await Operators(tmp_path, address).sign_in(None)

    asyncio.run(story())


def test_tokens_are_replaced_also_where_a_session_has_ended(tmp_path: Path) -> None:
    async def story() -> None:
        async with issuer(tmp_path) as (address, link):
            operators = Operators(tmp_path, address)
            await operators.sign_in(link)
            before = operators.token("analyst")
            assert await operators.renew()
            after = operators.token("analyst")
            assert after != before
            assert operators.file("analyst").read_text() == after
            # Both stay secret, and are searched for.
            for one in (before, after):
                assert one.rpartition(".")[2].encode() in operators.secrets()
            await end_sessions(address, operators)
            assert await operators.renew()
            assert (await who_is(address, operators, "analyst")).name == "bench-analyst"

    asyncio.run(story())


async def end_sessions(address: str, operators: Operators) -> None:
    """What an administrator does to who has lost a telephone: a change of roles ends sessions."""
    async with HttpClient(address, operators.bearer(ADMINISTRATOR)) as client:
        grants = [{"tenant": "*", "role": "analyst"}, {"tenant": "x", "role": "analyst"}]
        body = msgspec.json.encode({"grants": grants})
        await client.send("PATCH", "/v1/users/bench-analyst", body, msgspec.Raw)


def test_while_the_issuer_is_away_tokens_stay_as_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        async with issuer(tmp_path) as (address, link):
            operators = Operators(tmp_path, address)
            await operators.sign_in(link)
        before = operators.token("analyst")
        assert not await operators.renew()
        assert operators.token("analyst") == before

    asyncio.run(story())


def test_a_further_operator_has_the_grants_that_were_given(tmp_path: Path) -> None:
    async def story() -> None:
        async with issuer(tmp_path) as (address, link):
            operators = Operators(tmp_path, address)
            await operators.sign_in(link)
            grants = [{"tenant": "harbour", "role": "controller"}]
            await operators.add("harbour", grants)
            assert (await who_is(address, operators, "harbour")).grants == grants

    asyncio.run(story())
