"""Operators get keys for their sign-in and sign with them as AWS's own client would."""

from __future__ import annotations

import asyncio
import importlib.util
from datetime import UTC, datetime

import pytest

from city_platform.aws.operators import OperatorKeys, keys_for, signed_headers
from tests.city_platform.stores.aws.emulators import account, installation

AT = datetime(2026, 5, 31, 14, 15, 16, tzinfo=UTC)
AT_US = int(AT.timestamp()) * 1_000_000
KEYS = OperatorKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token/+=")
HOST = "https://abc.execute-api.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/commands/0123", b""),
        ("POST", "/v1/devices/lamp-1/commands", b'{"operation": "read", "path": "/3/0/0"}'),
        ("POST", "/v1/devices/urn:dev:a_1/commands", b"{}"),
        ("POST", "/v1/devices/urn%3Adev%3Aa/commands", b"\xff\x00"),
        ("GET", "/v1/commands?limit=5&after=a%20b&after=a&flag", b""),
        ("GET", "", b""),
    ],
)
@pytest.mark.parametrize("session_token", ["", KEYS.session_token])
def test_a_request_is_signed_as_botocore_signs_it(
    method: str, path: str, body: bytes, session_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("botocore") is None:
        pytest.skip("needs botocore: pip install 'lamplighter[aws]'")
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: AT.replace(tzinfo=None))
    url = HOST + path
    keys = OperatorKeys(KEYS.access_key, KEYS.secret_key, session_token)
    theirs = AWSRequest(method=method, url=url, data=body)
    credentials = Credentials(keys.access_key, keys.secret_key, session_token or None)
    botocore.auth.SigV4Auth(credentials, "execute-api", "eu-central-1").add_auth(theirs)
    ours = signed_headers(keys, "eu-central-1", method, url, body, AT_US)
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]


def test_keys_are_never_shown() -> None:
    assert KEYS.secret_key not in f"{KEYS!r}{KEYS}"
    assert KEYS.session_token not in repr(KEYS)


@pytest.mark.moto
@pytest.mark.slow
def test_a_sign_in_gets_keys_of_the_identity_pool(moto: str) -> None:
    async def story() -> None:
        async with account(installation(moto)) as aws:
            made = await aws.call(
                "cognito-identity",
                "create_identity_pool",
                IdentityPoolName="operators",
                AllowUnauthenticatedIdentities=False,
            )
            keys = await keys_for(aws, str(made["IdentityPoolId"]), "cognito-idp/pool", "a.b.c")
        assert keys.access_key
        assert keys.secret_key
        assert keys.session_token

    asyncio.run(story())
