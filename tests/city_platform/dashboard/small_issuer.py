"""A small OpenID Connect issuer: discovery, keys, code with PKCE, refresh, revocation.

It has one person, ann, whom it asks for a password on a page of its own, as real ones do. `spoil`
changes the claims of the ID tokens that it gives, to see them refused.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from runtime.clock import Clock
from runtime.http import bind, json_response, make_app, serving
from tests.city_platform.identity.issuing import public_jwk, token

CLIENT = "dashboard-client"
PASSWORD = "known to the issuer alone"
PAGE = (
    "<!doctype html><title>Issuer</title><form method=get action=/approve>"
    "<label>Password <input name=password type=password></label>"
    "<input type=hidden name=query value='{query}'><button>Allow</button></form>"
)


class SmallIssuer:
    """The issuer; `groups` is what its tokens say that ann is in."""

    def __init__(self, clock: Clock, groups: list[str]) -> None:
        self.clock = clock
        self.groups = groups
        self.url = ""
        self.spoil: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.refreshable: set[str] = set()
        self.revoked: list[str] = []

    @contextlib.asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncIterator[SmallIssuer]:
        """Under the name `host`: by `localhost`, it is another site to a browser."""
        routes = [
            Route("/.well-known/openid-configuration", self._describe),
            Route("/keys", self._keys),
            Route("/authorize", self._authorize),
            Route("/approve", self._approve),
            Route("/token", self._token, methods=["POST"]),
            Route("/revoke", self._revoke, methods=["POST"]),
        ]
        listener = bind("127.0.0.1", 0)
        try:
            async with serving(make_app(routes, None), listener) as address:
                self.url = f"http://{host}:{address.rpartition(':')[2]}"
                yield self
        finally:
            listener.close()

    async def _describe(self, request: Request) -> Response:
        places = {
            "authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys",
            "revocation_endpoint": "revoke",
        }  # fmt: skip
        found = {name: f"{self.url}/{place}" for name, place in places.items()}
        return json_response({"issuer": self.url, **found})

    async def _keys(self, request: Request) -> Response:
        return json_response({"keys": [public_jwk()]})

    async def _authorize(self, request: Request) -> Response:
        query = request.query_params
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        return HTMLResponse(
            PAGE.format(query=base64.b64encode(request.url.query.encode()).decode())
        )

    async def _approve(self, request: Request) -> Response:
        asked = Request({"type": "http", "headers": [], "query_string": base64.b64decode(
            request.query_params["query"])}).query_params  # fmt: skip
        if request.query_params.get("password") == PASSWORD:
            code = secrets.token_urlsafe(16)
            self.codes[code] = dict(asked)
            told = {"code": code, "state": asked["state"], "iss": self.url}
        else:
            told = {"error": "access_denied", "state": asked["state"]}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(told)}", 303)

    async def _token(self, request: Request) -> Response:
        form = dict(_pairs((await request.body()).decode()))
        if form.get("client_id") != CLIENT:
            return json_response({"error": "invalid_client"}, 401)
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refreshable:
                return json_response({"error": "invalid_grant"}, 400)
            return json_response({"access_token": self._access(), "expires_in": 600})
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or (asked["code_challenge"], asked["redirect_uri"]) != (
            challenge, form["redirect_uri"],
        ):  # fmt: skip
            return json_response({"error": "invalid_grant"}, 400)
        refresh = secrets.token_urlsafe(16)
        self.refreshable.add(refresh)
        claims = self._claims() | {"aud": CLIENT, "nonce": asked["nonce"]} | self.spoil
        return json_response(
            {
                "access_token": self._access(), "id_token": token(claims),
                "refresh_token": refresh, "expires_in": 600, "token_type": "Bearer",
            }
        )  # fmt: skip

    async def _revoke(self, request: Request) -> Response:
        form = dict(_pairs((await request.body()).decode()))
        self.refreshable.discard(form["token"])
        self.revoked.append(form["token"])
        return Response()

    def _access(self) -> str:
        # As Cognito's: no audience, but the client's id.
        return token(
            self._claims()
            | {"client_id": CLIENT, "token_use": "access", "username": "ann"}
            | {"cognito:groups": self.groups}
        )

    def _claims(self) -> dict[str, Any]:
        now_s = self.clock.wall_us() // 1_000_000
        return {"iss": self.url, "sub": "u-ann", "iat": now_s, "exp": now_s + 600}


def _pairs(body: str) -> list[tuple[str, str]]:
    return parse_qsl(body, strict_parsing=True)
