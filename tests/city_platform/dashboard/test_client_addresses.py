"""Sign-ins through the dashboard count for who sends them, and not for the dashboard."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from city_platform.dashboard.token_sources import IdentityTokens
from city_platform.dashboard.upstream import Upstream, UpstreamUnavailable
from city_platform.identity.bodies import SignIn
from city_platform.identity.config import AddressBudget
from runtime.http_client import HttpClient
from tests.city_platform.audit.logs import HandClock
from tests.city_platform.dashboard.installation import PASSWORD, TOKEN, Installation, installed

pytestmark = pytest.mark.slow
FREE = AddressBudget().wrong_free


class At:
    """A program at one address of this machine, that signs in at the dashboard."""

    def __init__(self, installation: Installation, address: str) -> None:
        self._url = f"http://{installation.addresses['dashboard']['http']}/api/session"
        self._address = address

    async def sign_in(self, name: str, password: str, **headers: str) -> int:
        transport = httpx.AsyncHTTPTransport(local_address=self._address, verify=False)
        async with httpx.AsyncClient(transport=transport, timeout=30) as client:
            body = {"username": name, "password": password}
            return (await client.post(self._url, json=body, headers=headers)).status_code

    async def spend(self) -> None:
        """One wrong password for each of so many names, until no more are looked at."""
        for number in range(FREE):
            assert await self.sign_in(f"n{number}", "Summer2026!") == 401
        assert await self.sign_in("one-more", "Summer2026!") == 429


async def not_believed(installation: Installation) -> int:
    async with HttpClient(installation.addresses["identity"]["http"], TOKEN) as client:
        counts = await client.get("/v1/counts", dict[str, int])
    return counts.get("client_addresses_not_believed", 0)


def test_who_spends_the_budget_of_an_address_spends_that_of_no_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with installed(tmp_path, HandClock()) as installation:
            await installation.set_up()
            flood, honest = At(installation, "127.0.0.2"), At(installation, "127.0.0.3")
            await flood.spend()
            # Whatever it says of itself.
            for header in ("X-Forwarded-For", "Lamplighter-Client-Address", "X-Real-IP"):
                assert await flood.sign_in("root", PASSWORD, **{header: "127.0.0.3"}) == 429
            assert await honest.sign_in("root", "wrong") == 401
            assert await honest.sign_in("root", PASSWORD) == 200
            assert await not_believed(installation) == 0

    asyncio.run(story())


def test_a_dashboard_without_the_credential_is_one_client_and_identity_tells(
    tmp_path: Path,
) -> None:
    (tmp_path / "other").write_text("a-token-that-identity-does-not-know")

    async def story() -> None:
        async with installed(
            tmp_path, HandClock(), identity_token_file=str(tmp_path / "other")
        ) as installation:
            root = await installation.set_up()
            await At(installation, "127.0.0.2").spend()
            assert await At(installation, "127.0.0.3").sign_in("root", PASSWORD) == 429
            # Who has signed in before gets in all the same.
            assert (await root.sign_in("root")).status_code == 200
            assert await not_believed(installation) > FREE

    asyncio.run(story())


def test_a_credential_that_cannot_be_read_is_said_and_nothing_is_sent() -> None:
    def gone() -> str:
        raise FileNotFoundError(2, "No such file", "identity.token")

    async def story() -> None:
        nobody = Upstream("identity", "127.0.0.1:1")
        with pytest.raises(UpstreamUnavailable, match=r"cannot be read.*identity\.token"):
            await IdentityTokens(nobody, nobody, gone).sign_in(
                SignIn(username="ann", password="x"), "127.0.0.2"
            )

    asyncio.run(story())
