"""`GET /api/sign-in…`: which ways there are to sign in, and the way over another issuer."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from city_platform.dashboard.gate import CookieJar
from city_platform.dashboard.oidc import ATTEMPT_S, OidcIssuer, OidcRefused
from city_platform.dashboard.sessions import Sessions
from city_platform.dashboard.upstream import UpstreamUnavailable
from runtime.http import json_response, problem

START: Final = "/api/sign-in/start"
CALLBACK: Final = "/api/sign-in/callback"
# A page of the dashboard, and nothing that a browser takes for another host.
_PAGE: Final = re.compile(r"/(?![/\\])[A-Za-z0-9/_.~:?=&%+-]{0,512}", re.ASCII)
_log = logging.getLogger(__name__)


class OidcRoutes:
    """The routes and what they need. `issuer` is None where people have passwords alone."""

    def __init__(
        self,
        issuer: OidcIssuer | None,
        sessions: Sessions,
        jar: CookieJar,
        public_url: str | None,
        ways: Mapping[str, Any],
    ) -> None:
        self._issuer = issuer
        self._sessions = sessions
        self._jar = jar
        self._public_url = public_url
        self._ways = ways

    @property
    def routes(self) -> list[BaseRoute]:
        """For the application."""
        return [
            Route("/api/sign-in", self._tell),
            Route("/api/sign-in/start", self._start),
            Route("/api/sign-in/callback", self._finish),
        ]

    async def _tell(self, request: Request) -> Response:
        return json_response(dict(self._ways))

    async def _start(self, request: Request) -> Response:
        if self._issuer is None:
            return problem(404, "no issuer", "people sign in here by name and password")
        to = request.query_params.get("to", "/")
        redirect_uri = f"{self._origin(request)}{CALLBACK}"
        try:
            attempt_id, url = await self._issuer.begin(
                redirect_uri, to if _PAGE.fullmatch(to) else "/"
            )
        except UpstreamUnavailable as error:
            _log.warning("a sign-in could not begin: %s", error)
            return _back("unavailable")
        answer = RedirectResponse(url, 303)
        self._jar.put_attempt(answer.headers, attempt_id, ATTEMPT_S)
        return answer

    async def _finish(self, request: Request) -> Response:
        if self._issuer is None:
            return problem(404, "no issuer", "people sign in here by name and password")
        attempt_id = self._jar.attempt_id(request.headers)
        try:
            tokens, to = await self._issuer.finish(attempt_id, request.query_params)
            session = await self._sessions.begin_at_issuer(tokens)
        except OidcRefused as error:
            self._sessions.counts["sign_ins.refused"] += 1
            return self._without_attempt(_back(str(error)))
        except UpstreamUnavailable as error:
            _log.warning("a sign-in could not end: %s", error)
            return self._without_attempt(_back("unavailable"))
        answer = RedirectResponse(to, 303)
        self._jar.put(answer.headers, session)
        return self._without_attempt(answer)

    def _without_attempt(self, answer: Response) -> Response:
        self._jar.drop_attempt(answer.headers)
        return answer

    def _origin(self, request: Request) -> str:
        if self._public_url is not None:
            return self._public_url.rstrip("/")
        return f"{request.url.scheme}://{request.url.netloc}"


def _back(why: str) -> Response:
    """To the page for signing in, which says what went wrong."""
    return RedirectResponse(f"/?sign-in={why}", 303)
