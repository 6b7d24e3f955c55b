"""Sign in, see who one is, sign out; set-up and invitation links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from city_platform.dashboard.gate import CookieJar, guarded, session_of
from city_platform.dashboard.map_routes import no_component
from city_platform.dashboard.sessions import Session, Sessions
from city_platform.dashboard.token_sources import SignInRefused
from city_platform.dashboard.upstream import Upstream, Whole
from city_platform.identity.bodies import BODY_BYTES_MAX, MalformedBody, SignIn, decode_body
from city_platform.identity.operations import operation_named
from runtime.http import BodyTooLarge, json_response, problem, read_body

# What of identity's answer a browser is told.
_PASSED = ("retry-after",)


class SessionRoutes:
    """The routes and what they need. `facts` are told with every session: what is there."""

    def __init__(
        self,
        sessions: Sessions,
        jar: CookieJar,
        identity: Upstream | None,
        facts: Mapping[str, Any],
    ) -> None:
        self._sessions = sessions
        self._jar = jar
        self._identity = identity
        self._facts = facts

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/api/session", guarded(self._sign_in), methods=["POST"]),
            Route("/api/session", self._tell),
            Route("/api/session", guarded(self._sign_out), methods=["DELETE"]),
            Route("/api/set-up", guarded(self._set_up), methods=["POST"]),
            Route("/api/invitations", guarded(self._accept), methods=["POST"]),
        ]

    async def _sign_in(self, request: Request) -> Response:
        if self._identity is None:
            return problem(404, "no passwords here", "sign in at the installation's issuer")
        try:
            wanted = decode_body(await read_body(request, BODY_BYTES_MAX), SignIn)
            known = self._jar.known_client(request.headers) or None
            wanted = msgspec.structs.replace(wanted, known_client=known)
            # Of the connection itself: what headers say of it, anybody can write.
            client = request.client.host if request.client is not None else ""
            session = await self._sessions.sign_in(wanted, client)
        except MalformedBody as error:
            return problem(400, "wrong body", str(error))
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        except SignInRefused as error:
            return _passed_on(error.answer)
        answer = self._told(session)
        self._jar.put(answer.headers, session)
        if session.known_client is not None:
            self._jar.put_known_client(answer.headers, session.known_client)
            session.known_client = None
        return answer

    async def _tell(self, request: Request) -> Response:
        return self._told(session_of(request))

    async def _sign_out(self, request: Request) -> Response:
        await self._sessions.end(session_of(request))
        answer = Response(status_code=204)
        self._jar.drop(answer.headers)
        return answer

    async def _set_up(self, request: Request) -> Response:
        return await self._pass_on(request, "/v1/set-up")

    async def _accept(self, request: Request) -> Response:
        return await self._pass_on(request, "/v1/invitations")

    async def _pass_on(self, request: Request, path: str) -> Response:
        if self._identity is None:
            return no_component("identity")
        try:
            body = await read_body(request, BODY_BYTES_MAX)
        except BodyTooLarge as error:
            return problem(413, "request too large", str(error))
        return _passed_on(await self._identity.ask("POST", path, body=body))

    def _told(self, session: Session) -> Response:
        tenants = session.caller.tenants_for(operation_named("search_devices"))
        answer = json_response(
            {
                "name": session.caller.name,
                "grants": msgspec.to_builtins(sorted(session.caller.grants)),
                "operations": session.caller.operations,
                "tenants": None if tenants is None else sorted(tenants),
                "csrf": session.csrf,
                "ends_at_us": session.ends_at_us,
                **self._facts,
            }
        )
        answer.headers["Cache-Control"] = "no-store"
        return answer


def _passed_on(found: Whole) -> Response:
    """An answer of identity that holds no token."""
    kind = found.headers.get("content-type", "application/json")
    answer = Response(found.body, found.status, media_type=kind if found.body else None)
    for name in _PASSED:
        if name in found.headers:
            answer.headers[name] = found.headers[name]
    answer.headers["Cache-Control"] = "no-store"
    return answer
