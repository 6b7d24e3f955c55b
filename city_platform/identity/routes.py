"""The HTTP side of identity."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.audit.outbox import OutboxFull
from city_platform.identity.bodies import (
    BODY_BYTES_MAX,
    Acceptance,
    MalformedBody,
    Me,
    NewUser,
    PasswordChange,
    RefreshToken,
    SetUp,
    SignIn,
    UserChange,
    as_document,
    decode_body,
)
from city_platform.identity.callers import Caller
from city_platform.identity.desk import IdentityDesk
from city_platform.identity.fronts import Fronts
from city_platform.identity.gate import caller_of
from city_platform.identity.operations import operation_named
from city_platform.identity.passwords import TooManySignIns
from city_platform.identity.people import People, Tenants
from city_platform.identity.refusals import Refusal
from runtime.http import BodyTooLarge, json_response, problem, read_body

_T = TypeVar("_T")
Handler = Callable[[Request], Awaitable[Response]]


class IdentityRoutes:
    """The routes and what they need; the gate before them knows the callers."""

    def __init__(self, desk: IdentityDesk, people: People, issuer: str, fronts: Fronts) -> None:
        self._desk = desk
        self._people = people
        self._issuer = issuer
        self._fronts = fronts

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/v1/sign-in", _guarded(self._sign_in), methods=["POST"]),
            Route("/v1/refresh", _guarded(self._refresh), methods=["POST"]),
            Route("/v1/sign-out", _guarded(self._sign_out), methods=["POST"]),
            Route("/v1/set-up", _guarded(self._set_up), methods=["POST"]),
            Route("/v1/invitations", _guarded(self._accept), methods=["POST"]),
            Route("/.well-known/jwks.json", _guarded(self._keys)),
            Route("/.well-known/openid-configuration", _guarded(self._describe)),
            Route("/v1/me", _guarded(self._me)),
            Route("/v1/me/password", _guarded(self._change_password), methods=["PUT"]),
            Route("/v1/users", _guarded(self._list)),
            Route("/v1/users", _guarded(self._create), methods=["POST"]),
            Route("/v1/users/{username}", _guarded(self._read)),
            Route("/v1/users/{username}", _guarded(self._change), methods=["PATCH"]),
            Route("/v1/users/{username}/invitation", _guarded(self._invite), methods=["POST"]),
            Route("/v1/keys", _guarded(self._rotate), methods=["POST"]),
        ]

    async def _sign_in(self, request: Request) -> Response:
        wanted = await _body(request, SignIn)
        address = self._fronts.address_of(request)
        return _private(
            await self._desk.sign_in(wanted.username, wanted.password, wanted.known_client, address)
        )

    async def _refresh(self, request: Request) -> Response:
        wanted = await _body(request, RefreshToken)
        return _private(await self._desk.refresh(wanted.refresh_token))

    async def _sign_out(self, request: Request) -> Response:
        await self._desk.sign_out((await _body(request, RefreshToken)).refresh_token)
        return Response(status_code=204)

    async def _set_up(self, request: Request) -> Response:
        wanted = await _body(request, SetUp)
        await self._desk.set_up(wanted.token, wanted.username, wanted.password)
        return Response(status_code=204)

    async def _accept(self, request: Request) -> Response:
        wanted = await _body(request, Acceptance)
        await self._desk.accept_invitation(wanted.token, wanted.password)
        return Response(status_code=204)

    async def _keys(self, request: Request) -> Response:
        return json_response(self._desk.keys.key_set())

    async def _describe(self, request: Request) -> Response:
        return json_response(
            {
                "issuer": self._issuer,
                "jwks_uri": f"{self._issuer}/.well-known/jwks.json",
                "id_token_signing_alg_values_supported": ["RS256"],
                "subject_types_supported": ["public"],
                "response_types_supported": ["token"],
            }
        )

    async def _me(self, request: Request) -> Response:
        caller = _caller(request)
        return json_response(
            Me(
                name=caller.name, kind=caller.kind, grants=sorted(caller.grants),
                operations=caller.operations,
            )
        )  # fmt: skip

    async def _change_password(self, request: Request) -> Response:
        wanted = await _body(request, PasswordChange)
        await self._desk.change_password(
            _caller(request).subject, wanted.password, wanted.new_password
        )
        return Response(status_code=204)

    async def _list(self, request: Request) -> Response:
        limit = request.query_params.get("limit", "100")
        if not (limit.isascii() and limit.isdecimal() and len(limit) < 10):
            return problem(400, "wrong query", "limit is a whole number")
        after = request.query_params.get("after", "")
        return json_response(
            await self._people.list(_tenants(request, "list_users"), after, int(limit))
        )

    async def _create(self, request: Request) -> Response:
        wanted = await _body(request, NewUser)
        tenants = _tenants(request, "create_user")
        made = await self._people.create(tenants, wanted, _caller(request).name)
        answer = _private(made, 201)
        answer.headers["Location"] = f"/v1/users/{made.username}"
        return answer

    async def _read(self, request: Request) -> Response:
        tenants = _tenants(request, "read_user")
        return json_response(await self._people.read(tenants, request.path_params["username"]))

    async def _change(self, request: Request) -> Response:
        wanted = await _body(request, UserChange)
        found = await self._people.change(
            _tenants(request, "change_user"), request.path_params["username"], wanted
        )
        answer = json_response(found)
        answer.headers["Content-Location"] = f"/v1/users/{found.username}"
        return answer

    async def _invite(self, request: Request) -> Response:
        tenants = _tenants(request, "invite_user")
        return _private(await self._people.invite(tenants, request.path_params["username"]), 201)

    async def _rotate(self, request: Request) -> Response:
        return json_response({"id": await self._desk.rotate_key()}, 201)


def _guarded(handler: Handler) -> Handler:
    """What is wrong with a request, as an answer."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as error:
            found = problem(error.status, error.title, error.detail)
            if error.status == 401:
                # RFC 9110 §15.5.2: it says how one signs in.
                found.headers["WWW-Authenticate"] = "Bearer"
            if error.retry_after_s:
                found.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
            return found
        except MalformedBody as error:
            return problem(400, "wrong body", str(error))
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        except TooManySignIns:
            found = problem(503, "too many sign-ins", "try again in a moment")
            found.headers["Retry-After"] = "1"
            return found
        except OutboxFull as error:
            return problem(503, "cannot be audited", f"{error}: try again later")

    return answer


async def _body(request: Request, kind: type[_T]) -> _T:
    return decode_body(await read_body(request, BODY_BYTES_MAX), kind)


def _caller(request: Request) -> Caller:
    caller = caller_of(request)
    if caller is None:
        raise Refusal(403, "not allowed", "there is no gate before this interface")
    return caller


def _tenants(request: Request, operation: str) -> Tenants:
    return _caller(request).tenants_for(operation_named(operation))


def _private(body: msgspec.Struct, status: int = 200) -> Response:
    """An answer with a secret in it, which nobody on the way may keep."""
    answer = json_response(as_document(body), status)
    answer.headers["Cache-Control"] = "no-store"
    return answer
