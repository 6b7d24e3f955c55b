"""Cognito's own access tokens pass the gate that every component has, with their groups."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
from base64 import urlsafe_b64decode
from pathlib import Path

import msgspec
import pytest
from joserfc.jwk import RSAKey

from city_platform.identity.callers import Grant
from city_platform.identity.claims import TokenRefused
from city_platform.identity.config import AccessConfig
from city_platform.identity.key_sets import read_key_set
from city_platform.identity.tokens import TokenVerifier
from tests.city_platform.stores.aws.emulators import account, installation

pytestmark = [pytest.mark.moto, pytest.mark.slow]
PASSWORD = "Only-for-this-test-1"


class _Keys:
    """The key set that moto signs with."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("moto")
        assert found is not None
        assert found.origin is not None
        file = Path(found.origin).parent / "cognitoidp/resources/jwks-public.json.gz"
        self._keys = read_key_set(gzip.decompress(file.read_bytes()))

    async def find(self, key_id: str) -> RSAKey | None:
        return self._keys.get(key_id)


def test_a_token_of_cognito_says_who_somebody_is_and_what_they_may(moto: str) -> None:
    async def story() -> None:
        async with account(installation(moto)) as aws:

            async def call(operation: str, **fields: object) -> dict[str, object]:
                return await aws.call("cognito-idp", operation, **fields)

            pool = (await call("create_user_pool", PoolName="city"))["UserPool"]
            pool_id = pool["Id"]  # type: ignore[index]  # answers have no types
            made = await call("create_user_pool_client", UserPoolId=pool_id, ClientName="operators")
            client = made["UserPoolClient"]["ClientId"]  # type: ignore[index]  # as above
            user = {"UserPoolId": pool_id, "Username": "anna"}
            await call("admin_create_user", **user)
            await call("admin_set_user_password", **user, Password=PASSWORD, Permanent=True)
            await call("create_group", UserPoolId=pool_id, GroupName="harbour:controller")
            await call("admin_add_user_to_group", **user, GroupName="harbour:controller")
            signed_in = await call(
                "admin_initiate_auth",
                UserPoolId=pool_id,
                ClientId=client,
                AuthFlow="ADMIN_NO_SRP_AUTH",
                AuthParameters={"USERNAME": "anna", "PASSWORD": PASSWORD},
            )
        tokens: dict[str, str] = signed_in["AuthenticationResult"]  # type: ignore[assignment]  # as above
        issuer = f"https://cognito-idp.eu-central-1.amazonaws.com/{pool_id}"
        access = AccessConfig(issuer=issuer, audience=str(client))
        wall_us = _now_in(tokens["AccessToken"])
        verifier = TokenVerifier(_Keys(), access, lambda: wall_us)
        caller = await verifier.verify(tokens["AccessToken"])
        assert caller.name == "anna"
        assert caller.grants == {Grant("harbour", "controller")}
        # An identity token is for the page, not for the API.
        with pytest.raises(TokenRefused):
            await verifier.verify(tokens["IdToken"])

    asyncio.run(story())


def _now_in(token: str) -> int:
    """A moment at which the token is good, by its own word."""
    body = token.split(".")[1]
    claims = msgspec.json.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return int((claims["exp"] - 60) * 1_000_000)
