"""The dashboard's application: pages, its own routes, the proxies, each behind what guards it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from city_platform.dashboard.gate import CookieJar, SessionGate, finder
from city_platform.dashboard.headers import Hardened
from city_platform.dashboard.pages import Pages
from city_platform.dashboard.proxy import Proxy, proxied
from city_platform.dashboard.sessions import Sessions
from city_platform.identity.operations import HEALTH_PATHS, OperationTable
from runtime.http import make_app

# Paths of pages by the component that is behind them.
PREFIXES: Final[Mapping[str, str]] = {
    "provisioning": "/api/provisioning",
    "control": "/api/control",
    "ingestion": "/api/telemetry",
    "audit": "/api/audit",
    "identity": "/api/identity",
}
COUNTS: Final = frozenset({"/v1/counts", "/metrics"})
_PACKED_BYTES_MIN: Final = 1_024
_PACKING: Final = 4


class Application:
    """One ASGI application; it sends requests where their paths belong."""

    def __init__(
        self,
        pages: Pages,
        routes: Sequence[BaseRoute],
        open_routes: ASGIApp,
        proxies: Mapping[str, Proxy],
        sessions: Sessions,
        jar: CookieJar,
        origin: str | None,
    ) -> None:
        self._pages = pages
        # Health for everybody, counters for who has the dashboard's own token.
        self._open = open_routes
        own = finder(OperationTable("dashboard"))
        self._own = SessionGate(make_app(routes, None), own, sessions, jar, origin)
        self._proxies: list[tuple[str, ASGIApp]] = []
        for component, proxy in proxies.items():
            prefix = PREFIXES[component]
            gate = SessionGate(proxy, proxied(component, prefix), sessions, jar, origin)
            self._proxies.append((f"{prefix}/", _packed(component, gate)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        await self._of(scope["path"])(scope, receive, send)

    def _of(self, path: str) -> ASGIApp:
        if path in HEALTH_PATHS or path in COUNTS:
            return self._open
        for prefix, app in self._proxies:
            if path.startswith(prefix):
                return app
        if path == "/api" or path.startswith("/api/") or path == "/live":
            return self._own
        return self._pages


def hardened(app: ASGIApp, is_secure: bool) -> ASGIApp:
    """The application with the headers that every answer has."""
    return Hardened(app, is_secure)


def _packed(component: str, app: ASGIApp) -> ASGIApp:
    # Invitations are secrets: they are not packed together with what a request may choose.
    if component == "identity":
        return app
    return GZipMiddleware(app, _PACKED_BYTES_MIN, _PACKING)
