"""The gate before the dashboard's own routes and its proxy: session, role, and no forged requests.

A session is a cookie that scripts cannot read. What changes something also carries the session's
CSRF token, and comes from a page of this very origin. The table of operations says who may what,
for the dashboard's routes as for everybody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from city_platform.dashboard.sessions import Session, Sessions
from city_platform.dashboard.upstream import UpstreamUnavailable
from city_platform.identity.operations import HEALTH_PATHS, Match, OperationTable
from city_platform.identity.operations import Scope as TenantScope
from runtime.http import problem

CSRF_HEADER: Final = "x-csrf-token"
SESSION: Final = "session"
MATCH: Final = "match"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_COOKIES_LENGTH_MAX: Final = 8_192
# 90 days, as long as identity knows it unless it was told otherwise.
KNOWN_AGE_S: Final = 7_776_000
KNOWN_LENGTH_MAX: Final = 1_024

Finder = Callable[[Scope], Match | None]


class CookieJar:
    """The session's cookie. `is_secure`: pages come over TLS; no plain connection carries it."""

    def __init__(self, is_secure: bool, session_s: float) -> None:
        # RFC 6265bis §4.1.3.2: a browser takes a cookie of this name from this very host only.
        self.name = "__Host-lamplighter" if is_secure else "lamplighter"
        secure = "; Secure" if is_secure else ""
        self._flags = f"; HttpOnly; SameSite=Strict; Path=/{secure}"
        # A browser comes back from the issuer's site, and has to bring this one along.
        self._attempt_name = f"{self.name}-sign-in"
        self._attempt_flags = f"; HttpOnly; SameSite=Lax; Path=/{secure}"
        self._known_name = f"{self.name}-known"
        self._age_s = int(session_s)

    def session_id(self, headers: Headers) -> str:
        """The id that a request carries, empty when it carries none."""
        return self._value(headers, self.name)

    def attempt_id(self, headers: Headers) -> str:
        """The sign-in at an issuer that this browser has begun, empty when it has none."""
        return self._value(headers, self._attempt_name)

    def known_client(self, headers: Headers) -> str:
        """What identity gave this browser at an earlier sign-in, empty when it has none."""
        return self._value(headers, self._known_name)[:KNOWN_LENGTH_MAX]

    def put_known_client(self, headers: MutableHeaders, known_client: str) -> None:
        """Have the browser keep it, also when its session has ended."""
        age = f"Max-Age={KNOWN_AGE_S}"
        headers.append("Set-Cookie", f"{self._known_name}={known_client}; {age}{self._flags}")

    def _value(self, headers: Headers, name: str) -> str:
        text = "; ".join(headers.getlist("cookie"))
        if len(text) > _COOKIES_LENGTH_MAX:
            return ""
        try:
            found = SimpleCookie(text).get(name)
        except CookieError:
            return ""
        return found.value if found is not None and found.value.isascii() else ""

    def put(self, headers: MutableHeaders, session: Session) -> None:
        """Have the browser keep the session's id."""
        headers["Set-Cookie"] = f"{self.name}={session.id}; Max-Age={self._age_s}{self._flags}"

    def put_attempt(self, headers: MutableHeaders, attempt_id: str, lasts_s: int) -> None:
        """Have the browser keep which sign-in it has begun."""
        value = f"{self._attempt_name}={attempt_id}; Max-Age={lasts_s}{self._attempt_flags}"
        headers.append("Set-Cookie", value)

    def drop_attempt(self, headers: MutableHeaders) -> None:
        """Have the browser forget that."""
        headers.append("Set-Cookie", f"{self._attempt_name}=; Max-Age=0{self._attempt_flags}")

    def drop(self, headers: MutableHeaders) -> None:
        """Have the browser forget it."""
        headers["Set-Cookie"] = f"{self.name}=; Max-Age=0{self._flags}"


class SessionGate:
    """Lets through what the session's user may do; handlers find it by `session_of`.

    `find` gives the operation of a request, None when there is none: that is answered 404.
    """

    def __init__(
        self, app: ASGIApp, find: Finder, sessions: Sessions, jar: CookieJar, origin: str | None
    ) -> None:
        self._app = app
        self._find = find
        self._sessions = sessions
        self._jar = jar
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        answer: ASGIApp = self._app
        if scope["path"] not in HEALTH_PATHS:
            answer = await self._refusal(scope) or self._app
        await answer(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        match = self._find(scope)
        if match is None:
            return problem(404, "no such operation", f"{scope['method']} {scope['path'][:200]}")
        is_safe = scope["method"] in _SAFE_METHODS
        if not is_safe and not self._is_own_page(headers, scope):
            return problem(403, "another site asks", "open the dashboard and do it there")
        scope[MATCH] = match
        if match.operation.scope is TenantScope.PUBLIC:
            return None if is_safe or _is_json(headers) else _not_json()
        try:
            session = await self._sessions.find(self._jar.session_id(headers))
        except UpstreamUnavailable as error:
            return _waits(error)
        if session is None:
            return problem(401, "not signed in", "sign in: there is no session, or it has ended")
        if not is_safe and not session.is_csrf(headers.get(CSRF_HEADER, "")):
            return problem(403, "csrf token missing", f"send {CSRF_HEADER} of GET /api/session")
        if not session.caller.may_somewhere(match.operation):
            return denied(match)
        scope[SESSION] = session
        return None

    def _is_own_page(self, headers: Headers, scope: Scope) -> bool:
        # Both are set by browsers alone, and no script can forge them; programs send none.
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        if self._origin is not None:
            return origin == self._origin
        return origin == f"{scope['scheme']}://{headers.get('host', '')}"


def finder(table: OperationTable, prefix: str = "") -> Finder:
    """Finds operations by the path behind `prefix`."""

    def find(scope: Scope) -> Match | None:
        path: str = scope["path"]
        return table.find(scope["method"], path.removeprefix(prefix))

    return find


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, as a browser names them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def session_of(request: Request) -> Session:
    """The session of a request that came through the gate."""
    found = request.scope[SESSION]
    assert isinstance(found, Session)
    return found


def denied(match: Match) -> Response:
    """What somebody is told who may not."""
    roles = " or ".join(match.operation.roles) or "nobody's"
    where = " for all tenants" if match.operation.scope is TenantScope.INSTALLATION else ""
    return problem(403, "not allowed", f"{match.operation.name} needs the role {roles}{where}")


def guarded(
    handler: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """A handler whose component may be away."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except UpstreamUnavailable as error:
            return unreachable(error)

    return answer


def unreachable(error: UpstreamUnavailable) -> Response:
    """A component could not be asked."""
    return problem(502, "a component cannot be asked", f"{error}; try again in a moment")


def _waits(error: UpstreamUnavailable) -> Response:
    answer = problem(503, "cannot renew the session", f"{error}; try again in a moment")
    answer.headers["Retry-After"] = "2"
    return answer


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _not_json() -> Response:
    # A form of another site cannot send it: nobody is signed in by somebody else's page.
    return problem(415, "wrong content type", "send Content-Type: application/json")
