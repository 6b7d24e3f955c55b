"""Tokens, claims and key sets: whatever comes, it is understood or refused, and never an error."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.identity.callers import GROUP_LENGTH_MAX, Caller, Grant, grants_from, group_of
from city_platform.identity.claims import TokenRefused, read_claims
from city_platform.identity.fetch import FetchFailed, fetch, is_allowed
from city_platform.identity.key_sets import (
    FetchedKeys,
    MalformedKeySet,
    issuer_url,
    load_from,
    read_issuer,
    read_key_set,
)
from city_platform.identity.tokens import TokenVerifier
from runtime.http import bind, json_response, make_app, serving
from tests.city_platform.audit.logs import HandClock
from tests.city_platform.identity.issuing import (
    ACCESS,
    ISSUER,
    NOW_S,
    NOW_US,
    OneKey,
    claims,
    key,
    public_jwk,
    token,
)

ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["iss", "aud", "sub", "exp", "nbf", "token_use", "client_id", "username", "cognito:groups",
     "custom:tenant"]
)  # fmt: skip


def verifier() -> TokenVerifier:
    return TokenVerifier(OneKey(), ACCESS, lambda: NOW_US)


@settings(max_examples=60)
@given(st.dictionaries(NAMES, ANY_VALUE, max_size=4))
def test_any_claims_name_a_caller_or_are_refused(changes: dict[str, Any]) -> None:
    try:
        caller = read_claims({**claims("harbour:analyst"), **changes}, ACCESS, NOW_S)
    except TokenRefused:
        return
    assert caller.name
    assert caller.name.isprintable()
    assert not any(grant.role == "service" for grant in caller.grants)


@settings(max_examples=60)
@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,4}"))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    with pytest.raises(TokenRefused):
        asyncio.run(verifier().verify(text))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_no_letter_of_a_token_can_be_changed(data: st.DataObject) -> None:
    good = token(claims("harbour:analyst"))
    # The last letter of a part has bits that say nothing: another letter may be the same token.
    dots = [place for place, letter in enumerate(good) if letter == "."]
    loose = {dots[0] - 1, dots[1] - 1, len(good) - 1}
    at = data.draw(st.integers(0, len(good) - 1).filter(lambda place: place not in loose))
    letter = data.draw(st.sampled_from("ABCxyz019-_.").filter(lambda one: one != good[at]))
    with pytest.raises(TokenRefused):
        asyncio.run(verifier().verify(good[:at] + letter + good[at + 1 :]))


def test_a_token_that_was_good_is_refused_when_it_has_expired() -> None:
    clock = HandClock(NOW_US)
    found = TokenVerifier(OneKey(), ACCESS, clock.wall_us)

    async def story() -> None:
        good = token(claims("harbour:analyst"))
        assert (await found.verify(good)).name == "ann"
        assert (await found.verify(good)).name == "ann"
        clock.move(604.0)
        assert (await found.verify(good)).name == "ann"
        clock.move(2.0)
        with pytest.raises(TokenRefused, match="expired"):
            await found.verify(good)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "ann"),
        ({"username": None, "cognito:username": "bob"}, "bob"),
        ({"username": None}, "u-1"),
        ({"username": "service:bench"}, "u-1"),
        ({"username": "a\nb"}, "u-1"),
        ({"username": "x" * 300}, "u-1"),
    ],
)
def test_a_caller_is_called_what_nobody_can_choose_to_be(
    changes: dict[str, Any], name: str
) -> None:
    assert read_claims(claims(**changes), ACCESS, NOW_S).name == name


def test_a_token_of_cognito_is_understood() -> None:
    # The claims of an access token as Amazon Cognito documents them ("Understanding the access
    # token"), with this test's issuer and client.
    found = {
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "device_key": "x", "version": 2,
        "cognito:groups": ["harbour:controller", "billing"], "iss": ISSUER,
        "client_id": "lamplighter", "origin_jti": "a", "event_id": "b", "token_use": "access",
        "scope": "phone openid", "auth_time": NOW_S, "exp": NOW_S + 300, "iat": NOW_S,
        "jti": "c", "username": "ann",
    }  # fmt: skip
    caller = asyncio.run(verifier().verify(token(found)))
    assert caller.grants == frozenset([Grant("harbour", "controller")])
    assert caller.name == "ann"


def test_a_group_without_a_tenant_is_for_the_claimed_one_but_never_for_all() -> None:
    assert grants_from(["analyst"], "harbour") == frozenset([Grant("harbour", "analyst")])
    assert grants_from(["analyst"], "*") == frozenset()
    assert grants_from(["analyst"], None) == frozenset()
    assert grants_from(["*:analyst"], None) == frozenset([Grant("*", "analyst")])
    assert grants_from(["harbour:service", "service"], "harbour") == frozenset()
    assert grants_from(["x" * GROUP_LENGTH_MAX + ":analyst"], None) == frozenset()


@given(st.lists(st.text(max_size=40), max_size=5), st.none() | st.text(max_size=10))
def test_any_groups_are_grants_or_nothing(groups: list[str], tenant: str | None) -> None:
    for grant in grants_from(groups, tenant):
        assert grants_from([group_of(grant)], None) == {grant}


def test_a_caller_of_several_tenants_has_each_role_where_it_was_given() -> None:
    from city_platform.identity.operations import operation_named

    caller = Caller(
        kind="user", name="ann", subject="u",
        grants=frozenset([Grant("harbour", "analyst"), Grant("hills", "controller")]),
    )  # fmt: skip
    assert caller.may(operation_named("read_readings"), "harbour")
    assert not caller.may(operation_named("read_readings"), "hills")
    assert not caller.may(operation_named("read_readings"), None)
    assert "issue_command" in caller.operations
    assert "read_feed" not in caller.operations


def document(*keys: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"keys": list(keys)})


def test_a_key_set_has_its_rsa_signature_keys_by_id() -> None:
    found = read_key_set(
        document(
            public_jwk(use="sig", alg="RS256"),
            public_jwk(kid="enc", use="enc"),
            public_jwk(kid="ps", alg="PS256"),
            {"kty": "EC", "kid": "ec", "crv": "P-256", "x": "a", "y": "b"},
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
            public_jwk(kid=None),
        )
    )
    assert list(found) == ["k1"]
    assert found["k1"].thumbprint() == key(1).thumbprint()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a key set"),
        (b"[" * 10_000, "not a key set"),
        (b" " * 300_000, "at most"),
        (document(public_jwk(n="AQAB")), "17 bits"),
        (document(public_jwk(n="A" * 4_000)), "0 bits"),
        (document(public_jwk(n="_" * 4_000)), "24000 bits"),
        (document(public_jwk(n="é")), "not base64url"),
        (document(public_jwk(e="Ag")), "impossible exponent"),
        (document(public_jwk(n=None)), "no modulus"),
        (document(*[public_jwk()] * 101), "at most 100 keys"),
    ],
)
def test_a_malformed_key_set_says_why(data: bytes, says: str) -> None:
    with pytest.raises(MalformedKeySet, match=says):
        read_key_set(data)


@given(
    st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(["n", "e", "kid", "kty", "use", "alg"]), ANY_VALUE).map(
        lambda changes: msgspec.json.encode({"keys": [public_jwk() | changes]})
    )
)
def test_any_bytes_are_a_key_set_or_malformed(data: bytes) -> None:
    try:
        assert isinstance(read_key_set(data), dict)
    except MalformedKeySet:
        return


@given(st.binary(max_size=100))
def test_any_bytes_are_an_issuer_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedKeySet):
        read_issuer(data, ISSUER)


def test_an_issuer_must_describe_itself_and_keep_its_keys_where_they_may_be_fetched() -> None:
    good = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "more": 1}
    assert read_issuer(msgspec.json.encode(good), ISSUER) == f"{ISSUER}/keys"
    for change, says in (
        ({"issuer": "https://other.example"}, "it describes"),
        ({"jwks_uri": "http://issuer.example/keys"}, "neither https"),
        ({"jwks_uri": "file:///etc/passwd"}, "neither https"),
    ):
        with pytest.raises(MalformedKeySet, match=says):
            read_issuer(msgspec.json.encode(good | change), ISSUER)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://issuer.example/a?b=c", True),
        ("http://127.0.0.1:80/a", True),
        ("http://[::1]:80/a", True),
        ("http://localhost/a", True),
        ("http://issuer.example/a", False),
        ("http://127.0.0.1.example/a", False),
        ("https://user:password@issuer.example/", False),
        ("https://issuer.example:99999/", False),
        ("https://issuer.example/a\r\nX: y", False),
        ("https://", False),
        ("ftp://issuer.example", False),
    ],
)
def test_only_https_and_this_machine_are_asked(url: str, expected: bool) -> None:
    assert is_allowed(url) is expected


@given(st.text(max_size=60))
def test_any_text_is_an_issuer_or_refused(text: str) -> None:
    try:
        assert issuer_url(text) == text
    except ValueError as error:
        assert "is no issuer" in str(error)  # noqa: PT017 -- most texts raise, some need not


class Source:
    """A key set that the test changes, and how often it was loaded."""

    def __init__(self) -> None:
        self.document = document(public_jwk(1))
        self.loads = 0
        self.is_down = False

    async def load(self) -> bytes:
        self.loads += 1
        if self.is_down:
            raise FetchFailed("down")
        return self.document


def fetched(source: Source, clock: HandClock) -> FetchedKeys:
    return FetchedKeys(source.load, clock.now_ns, cached_s=100.0, stale_s=1_000.0, pause_s=10.0)


def test_keys_are_fetched_once_again_when_they_roll_and_not_for_strangers() -> None:
    async def story() -> None:
        source, clock = Source(), HandClock()
        keys = fetched(source, clock)
        found = await asyncio.gather(*(keys.find("k1") for _ in range(20)))
        assert all(found)
        assert source.loads == 1
        assert [await keys.find("stranger") for _ in range(5)] == [None] * 5
        assert source.loads == 1
        clock.move(11.0)
        source.document = document(public_jwk(1), public_jwk(2))
        assert await keys.find("k2") is not None
        assert source.loads == 2
        clock.move(101.0)
        source.document = document(public_jwk(2))
        assert await keys.find("k1") is None
        assert source.loads == 3

    asyncio.run(story())


def test_keys_are_used_for_a_while_when_their_issuer_is_away() -> None:
    async def story() -> None:
        source, clock = Source(), HandClock()
        keys = fetched(source, clock)
        assert await keys.find("k1") is not None
        source.is_down = True
        clock.move(500.0)
        assert await keys.find("k1") is not None
        assert keys.failed == 1
        clock.move(501.0)
        assert await keys.find("k1") is None
        source.is_down = False
        clock.move(11.0)
        assert await keys.find("k1") is not None

    asyncio.run(story())


def test_an_issuer_is_found_by_its_url_and_its_tokens_let_in() -> None:
    async def story() -> None:
        place: dict[str, str] = {}

        async def describe(request: Request) -> Response:
            return json_response({"issuer": place["url"], "jwks_uri": f"{place['url']}/keys"})

        async def keys(request: Request) -> Response:
            return json_response({"keys": [public_jwk(1)]})

        async def huge(request: Request) -> Response:
            return Response(b"x" * 300_000)

        routes = [
            Route("/pool/.well-known/openid-configuration", describe),
            Route("/pool/keys", keys),
            Route("/huge", huge),
        ]
        async with serving(make_app(routes, None), bind("127.0.0.1", 0)) as address:
            place["url"] = f"http://{address}/pool"
            found = FetchedKeys(
                load_from(place["url"], None, None), HandClock().now_ns,
                cached_s=1.0, stale_s=2.0, pause_s=1.0,
            )  # fmt: skip
            access = msgspec.structs.replace(ACCESS, issuer=place["url"])
            good = token(claims("harbour:analyst", iss=place["url"]))
            caller = await TokenVerifier(found, access, lambda: NOW_US).verify(good)
            assert caller.name == "ann"
            with pytest.raises(FetchFailed, match="answered 404"):
                await fetch(f"http://{address}/absent", 100)
            with pytest.raises(FetchFailed, match="more than"):
                await fetch(f"http://{address}/huge", 1_000)
        with pytest.raises(FetchFailed):
            await fetch(f"http://{address}/absent", 100)
        with pytest.raises(FetchFailed, match="neither https"):
            await fetch("http://issuer.example/keys", 100)

    asyncio.run(story())
