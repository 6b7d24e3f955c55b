"""An issuer to test with: keys, tokens of every wrong kind, a gate before an empty component."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from city_platform.identity.callers import Caller, Grant
from city_platform.identity.config import AccessConfig, Role
from city_platform.identity.gate import Act, CannotRecord, Gate, caller_of
from city_platform.identity.operations import OPERATIONS, OperationTable, Scope
from city_platform.identity.tokens import TokenVerifier
from city_platform.identity.wiring import service_caller
from runtime.http import json_response, make_app

ISSUER = "https://issuer.example/pool"
NOW_US = 1_780_000_000_000_000
NOW_S = NOW_US // 1_000_000
ACCESS = AccessConfig(issuer=ISSUER, audience="lamplighter")
SERVICE_TOKEN = "token-of-a-program"


@cache
def key(number: int) -> RSAKey:
    """A key; making one takes a while, so each is made once."""
    private = rsa.generate_private_key(65_537, 2_048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return RSAKey.import_key(pem)


def public_jwk(number: int = 1, **changes: Any) -> dict[str, Any]:
    found = key(number).as_dict(private=False)
    return {"kty": "RSA", "n": found["n"], "e": found["e"], "kid": f"k{number}"} | changes


class OneKey:
    """`Keys` with the first key alone."""

    async def find(self, key_id: str) -> RSAKey | None:
        return RSAKey.import_key(public_jwk()) if key_id == "k1" else None


def claims(*groups: str, **changes: Any) -> dict[str, Any]:
    found = {
        "iss": ISSUER, "aud": "lamplighter", "sub": "u-1", "username": "ann", "token_use": "access",
        "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 600, "cognito:groups": list(groups),
    } | changes  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def token(
    found: Mapping[str, Any], header: Mapping[str, Any] | None = None, number: int = 1
) -> str:
    return jwt.encode(
        {"alg": "RS256", "kid": "k1", **(header or {})},
        dict(found),
        key(number),
        algorithms=["RS256"],
    )


def unsigned(found: Mapping[str, Any]) -> str:
    """RFC 7519 §6: an unsecured token."""
    return f"{_part({'alg': 'none', 'kid': 'k1'})}.{_part(found)}."


def signed_with_the_public_key(found: Mapping[str, Any]) -> str:
    """HS256 whose secret is the public key: what a careless verifier takes for a good token."""
    pem = RSAKey.import_key(public_jwk()).as_pem(private=False)
    body = f"{_part({'alg': 'HS256', 'kid': 'k1', 'typ': 'JWT'})}.{_part(found)}"
    mac = hmac.new(pem, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def altered(found: Mapping[str, Any], **changes: Any) -> str:
    """A good token's signature under other claims."""
    head, _, signature = token(found).split(".")
    return f"{head}.{_part({**found, **changes})}.{signature}"


def _part(found: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(found).encode()).rstrip(b"=").decode()


class Tenants:
    """`Tenancy`: lamps of the harbour and of the hills."""

    async def tenant_of(self, endpoint: str) -> str | None:
        return {"lamp-harbour": "harbour", "lamp-hills": "hills"}.get(endpoint)


class RecordedAct:
    """`OpenAct` in memory."""

    def __init__(self, act: Act, begun: list[Act]) -> None:
        self.id = f"act-{len(begun) + 1}"
        self.has_begun = False
        self._act = act
        self._begun = begun

    async def begin(self) -> None:
        self._begun.append(self._act)
        self.has_begun = True

    async def begin_with(self, keep: Any) -> None:
        await self.begin()


class Records:
    """`Recorder` in memory."""

    def __init__(self) -> None:
        self.begun: list[Act] = []
        self.ended: list[tuple[Act, int, str]] = []
        self.is_full = False

    def open(self, act: Act) -> RecordedAct:
        if self.is_full:
            raise CannotRecord("100 acts wait")
        return RecordedAct(act, self.begun)

    async def end(self, act_id: str, act: Act, status: int, reference: str) -> None:
        self.ended.append((act, status, reference))


async def _reached(request: Request) -> Response:
    """Stands for every handler: it says who came, and names a device."""
    caller = caller_of(request)
    endpoint = request.query_params.get("endpoint", "lamp-harbour")
    answer = json_response(
        {"endpoint": endpoint, "caller": caller.name if caller else None},
        int(request.query_params.get("status", "200")),
    )
    answer.headers["Location"] = "/v1/somewhere/made-1"
    return answer


def gate(component: str, records: Records | None = None, verifier: Any = None) -> Gate:
    """The gate of a component whose every route, and some more, answers."""
    paths = dict.fromkeys(one.path for one in OPERATIONS if one.component == component)
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    routes = [Route(path, _reached, methods=methods) for path in [*paths, "/hidden", "/healthz"]]
    return Gate(
        make_app(routes, None),
        OperationTable(component),
        [(SERVICE_TOKEN, service_caller("bench", ("analyst", "service"), ("*",)))],
        verifier or TokenVerifier(OneKey(), ACCESS, lambda: NOW_US),
        Tenants(),
        records,
    )


async def ask(
    app: Gate, method: str, path: str, bearer: str | None, headers: Any = None
) -> httpx.Response:
    given = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.request(method, path, headers=headers or given)


def path_of(operation: Any, endpoint: str = "lamp-harbour") -> str:
    """A path of the operation, for a device of the harbour."""
    path = operation.path.replace("{endpoint}", endpoint)
    if operation.scope is Scope.QUERY:
        path += "?tenant=harbour"
    return str(re.sub(r"\{[a-z0-9]+\}", "some-1", path))


def caller(role: Role, tenant: str) -> Caller:
    return Caller(kind="user", name="ann", subject="u-1", grants=frozenset([Grant(tenant, role)]))
