"""The dashboard as a component: pages in front, the platform's other components behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from city_platform.counts_http import metrics_route
from city_platform.dashboard.application import PREFIXES, Application, hardened
from city_platform.dashboard.bridge_routes import BridgeRoutes
from city_platform.dashboard.config import DashboardConfig
from city_platform.dashboard.device_routes import DeviceRoutes
from city_platform.dashboard.fleet import Fleet
from city_platform.dashboard.following import Bell, ChangeSource, CommandWatch
from city_platform.dashboard.gate import CookieJar, origin_of
from city_platform.dashboard.import_routes import ImportRoutes
from city_platform.dashboard.live import LiveFeeds
from city_platform.dashboard.live_state import LiveState
from city_platform.dashboard.map_routes import MapRoutes
from city_platform.dashboard.membership import Membership
from city_platform.dashboard.oidc import OidcIssuer
from city_platform.dashboard.oidc_routes import START, OidcRoutes
from city_platform.dashboard.pages import NOT_BUILT, Pages, load_pages
from city_platform.dashboard.proxy import Proxy
from city_platform.dashboard.sealed_sessions import SealedSessions
from city_platform.dashboard.session_routes import SessionRoutes
from city_platform.dashboard.sessions import Session, Sessions
from city_platform.dashboard.token_sources import (
    IDENTITY,
    ISSUER,
    IdentityTokens,
    TokenSource,
)
from city_platform.dashboard.upstream import Answer, Upstream
from city_platform.identity.operations import Match
from city_platform.stores.device_directory import SqliteDeviceDirectory
from runtime.clock import Clock
from runtime.component import Ready
from runtime.correlation import Correlated
from runtime.http import bind, json_response, make_app, problem, serving

BUILT: Final = Path(__file__).parent / "web" / "dist"
CITY_BYTES_MAX: Final = 32 * 1024 * 1024
_EPOCH_BYTES: Final = 6
_log = logging.getLogger(__name__)


async def run(
    config: DashboardConfig,
    clock: Clock,
    ready: Ready,
    *,
    draw: Callable[[int], bytes] = os.urandom,
) -> None:
    """Serve pages until cancelled; ready with `{"http": address}`, the pages' URL beside it.

    `draw` is the source of session ids and tokens. Raises `OSError` when a file that the
    configuration names cannot be read.
    """
    async with contextlib.AsyncExitStack() as opened:
        dashboard = await _Dashboard.open(config, clock, draw, opened)
        listener = bind(config.http_host, config.http_port)
        opened.callback(listener.close)
        tls = None
        if config.tls is not None:
            tls = (config.tls.certificate_file, config.tls.key_file)
        async with (
            serving(Correlated(dashboard.app, draw), listener, tls=tls) as address,
            asyncio.TaskGroup() as tasks,
        ):
            for job in dashboard.jobs:
                tasks.create_task(job())
            url = config.public_url or f"{'https' if tls else 'http'}://{address}"
            ready({"http": address, "url": url})
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                dashboard.live.close()


class _Dashboard:
    """Everything that one run holds, put together."""

    def __init__(self, config: DashboardConfig, clock: Clock, draw: Callable[[int], bytes]) -> None:
        self.config = config
        self.clock = clock
        self.draw = draw
        self.counts: Counter[str] = Counter()
        self.upstreams = _upstreams(config)
        self.door = None if config.identity is None else _upstream(config, "identity")
        self.bell = Bell()
        limits = config.limits
        self.state = LiveState(draw(_EPOCH_BYTES).hex(), limits.devices_max, limits.paths_max)
        provisioning = self.upstreams.get("provisioning")
        self.membership = Membership(
            None if config.directory_file is None
            else SqliteDeviceDirectory(Path(config.directory_file)),
            self.bell, lambda: self.live.readers > 0,
        )  # fmt: skip
        self.fleet: Fleet | None = None
        if provisioning is not None:
            self.fleet = Fleet(
                provisioning, clock.now_ns, self.membership.look,
                devices_max=limits.devices_max, cached_s=limits.devices_cached_s,
            )  # fmt: skip
        state_dir = Path(config.state_dir)
        self.issuer = None if config.oidc is None else OidcIssuer(config.oidc, clock, draw)
        self.sessions = Sessions(
            self._token_sources(), SealedSessions(_made(state_dir / "sessions"), draw),
            clock, draw, session_s=config.session_s, sessions_max=limits.sessions_max,
        )  # fmt: skip
        self.import_routes = ImportRoutes(provisioning, limits.manifest_bytes_max)
        self.source = ChangeSource(
            self.upstreams.get("ingestion"),
            _token(config.changes_token_file or config.token_file),
            self.state,
            self.bell,
            self.counts,
        )
        self.commands = CommandWatch(
            self.upstreams.get("control"),
            _token(config.commands_token_file or config.token_file),
            self.bell,
            lambda: self.live.readers > 0,
        )
        self.live = LiveFeeds(
            self.state, self.source, self.commands, self.membership, self.bell, self.sessions,
            limits,
        )  # fmt: skip

    @classmethod
    async def open(
        cls,
        config: DashboardConfig,
        clock: Clock,
        draw: Callable[[int], bytes],
        opened: contextlib.AsyncExitStack,
    ) -> _Dashboard:
        """Made, with its files read; what it holds is let go of with `opened`."""
        found = cls(config, clock, draw)
        opened.push_async_callback(found.close)
        await found.read_files()
        return found

    async def read_files(self) -> None:
        """Read pages, city and token, and put the application together."""
        loop = asyncio.get_running_loop()
        folder = Path(self.config.web_dir) if self.config.web_dir else BUILT
        pages = Pages(await loop.run_in_executor(None, load_pages, folder))
        if not pages.are_built:
            _log.warning("%s (looked in %s)", NOT_BUILT, folder)
        city = await loop.run_in_executor(None, _city, self.config.city_file)
        token = await loop.run_in_executor(None, _token(self.config.token_file))
        public = self.config.public_url
        is_secure = self.config.tls is not None or (public or "").startswith("https://")
        jar = CookieJar(is_secure, self.config.session_s)
        self.app: ASGIApp = hardened(
            Application(
                pages,
                [
                    *SessionRoutes(
                        self.sessions, jar, self.upstreams.get("identity"), self._facts()
                    ).routes,
                    *OidcRoutes(self.issuer, self.sessions, jar, public, self._ways()).routes,
                    *MapRoutes(self.fleet, self.state, city).routes,
                    *self.import_routes.routes,
                    *DeviceRoutes(self.upstreams, self.state).routes,
                    *BridgeRoutes(self.upstreams).routes,
                    *self.live.routes,
                ],
                make_app(self._open_routes(pages), token),
                {name: self._proxy(name, one, jar) for name, one in self.upstreams.items()},
                self.sessions,
                jar,
                origin_of(public) if public else None,
            ),
            is_secure,
        )

    @property
    def jobs(self) -> list[Callable[[], Any]]:
        """What runs beside the server."""
        return [self.sessions.keep_house, self.source.run, self.commands.run, self.membership.run]

    async def close(self) -> None:
        """Let go of everything."""
        if self.fleet is not None:
            await self.fleet.close()
        await self.sessions.close()
        self.import_routes.close()
        for one in self.upstreams.values():
            one.close()
        if self.door is not None:
            self.door.close()
        self.membership.close()
        if self.issuer is not None:
            self.issuer.close()

    def _token_sources(self) -> dict[str, TokenSource]:
        found: dict[str, TokenSource] = {}
        if self.door is not None:
            file = self.config.identity_token_file or self.config.token_file
            found[IDENTITY] = IdentityTokens(self.upstreams["identity"], self.door, _token(file))
        if self.issuer is not None:
            found[ISSUER] = self.issuer
        if not found:
            raise ValueError("nobody could sign in: name identity, or oidc, in the configuration")
        return found

    def _ways(self) -> dict[str, Any]:
        """How people sign in, for the page that asks them to."""
        oidc = self.config.oidc
        return {
            "password": "identity" in self.upstreams,
            "issuer": None if oidc is None else {"label": oidc.label, "start": START},
        }

    def _facts(self) -> dict[str, Any]:
        names = {"ingestion": "telemetry"}
        return {
            "has": {names.get(name, name): name in self.upstreams for name in PREFIXES},
            "bridges": "control" in self.upstreams,
        }

    def _open_routes(self, pages: Pages) -> list[BaseRoute]:
        async def healthy(request: Request) -> Response:
            return json_response({"status": "ok"})

        async def is_ready(request: Request) -> Response:
            if not pages.are_built:
                return problem(503, "not ready", NOT_BUILT)
            return json_response({"status": "ready", "telemetry": self.source.source})

        async def counted(request: Request) -> Response:
            return json_response(dict(sorted(self.all_counts().items())))

        return [
            Route("/healthz", healthy),
            Route("/readyz", is_ready),
            Route("/v1/counts", counted),
            metrics_route(self.all_counts, "dashboard"),
        ]

    def all_counts(self) -> dict[str, int]:
        """Everything counted, and how full what is."""
        return {
            **self.counts,
            **self.sessions.counts,
            "sessions": len(self.sessions),
            "live_feeds": self.live.readers,
            "devices_with_state": len(self.state),
        }

    def _proxy(self, component: str, upstream: Upstream, jar: CookieJar) -> Proxy:
        async def watch(
            session: Session,
            match: Match,
            request: Request,
            answer: Answer,
            headers: MutableHeaders,
        ) -> None:
            self.counts[f"passed_on.{component}"] += 1
            if component == "provisioning" and request.method != "GET":
                self.membership.wake()
            elif component == "control" and request.method != "GET":
                self.commands.wake()
            elif match.operation.name == "change_password" and answer.status == 204:
                # Identity has ended all of the user's sessions; this one goes at once.
                await self.sessions.end(session)
                jar.drop(headers)

        limits = self.config.limits
        return Proxy(
            upstream, PREFIXES[component],
            body_bytes_max=limits.body_bytes_max, upload_bytes_max=limits.manifest_bytes_max,
            watch=watch,
        )  # fmt: skip


def _upstreams(config: DashboardConfig) -> dict[str, Upstream]:
    return {name: _upstream(config, name) for name in PREFIXES if _address(config, name)}


def _upstream(config: DashboardConfig, name: str) -> Upstream:
    limits = config.limits
    return Upstream(
        name, _address(config, name) or "",
        within_s=limits.answer_within_s, requests_max=limits.requests_max,
    )  # fmt: skip


def _address(config: DashboardConfig, name: str) -> str | None:
    addresses = {
        "identity": config.identity,
        "provisioning": config.provisioning,
        "control": config.control,
        "ingestion": config.ingestion,
        "audit": config.audit,
    }
    return addresses[name]


def _token(file: str) -> Callable[[], str]:
    """Reads a token each time, so that a changed one is taken up."""
    return lambda: Path(file).read_text().strip()


def _city(file: str | None) -> bytes | None:
    if file is None:
        return None
    with Path(file).open("rb") as found:
        return found.read(CITY_BYTES_MAX)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
