"""Identity's stores, desk and HTTP interface, put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from joserfc.jwk import RSAKey
from starlette.types import ASGIApp

from city_platform.audit.outbox import AuditOutbox
from city_platform.counts_http import standard_routes
from city_platform.identity.config import AccessConfig, HttpsListen, IdentityConfig
from city_platform.identity.desk import IdentityDesk, Keep
from city_platform.identity.fronts import Fronts, read_tokens
from city_platform.identity.gated import gated
from city_platform.identity.passwords import Passwords
from city_platform.identity.people import People
from city_platform.identity.routes import IdentityRoutes
from city_platform.identity.tokens import TokenVerifier
from city_platform.stores.users import SqliteUserStore
from runtime.clock import Clock
from runtime.component import Ready, say
from runtime.http import bind, serving

HOUSEKEEPING_S = 600.0
_log = logging.getLogger(__name__)


class _LatestKeys:
    """The desk's signing keys as they are now: it replaces them when it rotates."""

    def __init__(self, desk: IdentityDesk) -> None:
        self._desk = desk

    async def find(self, key_id: str) -> RSAKey | None:
        """See `key_sets.Keys`."""
        return await self._desk.keys.find(key_id)


async def serve(
    config: IdentityConfig,
    clock: Clock,
    ready: Ready,
    draw: Callable[[int], bytes],
    tell: Callable[[Mapping[str, object]], None] = say,
) -> None:
    """Answer until cancelled. `tell` prints the link of the first start."""
    async with contextlib.AsyncExitStack() as opened:
        listener = bind(config.http_host, config.http_port)
        opened.callback(listener.close)
        host, port = listener.getsockname()[:2]
        issuer = (config.public_url or f"http://{_in_url(host)}:{port}").rstrip("/")
        access = _access(config, issuer)
        state = Path(config.state_dir)
        outbox = AuditOutbox(
            state / "audit_outbox.sqlite",
            lambda: (config.audit_api, config.token_file),
            access.audit_waiting_max,
        )
        opened.push_async_callback(outbox.close)
        await outbox.open()
        store = SqliteUserStore(state / "users.sqlite")
        opened.callback(store.close)
        desk = _desk(store, config, issuer, clock, draw, outbox.add)
        opened.callback(desk.close)
        page = config.set_up_url or f"{issuer}/set-up"
        token = await desk.open()
        if token is not None:
            # Behind `#`, so that no server on the way writes it down.
            tell({"set_up": f"{page}#token={token}"})
        people = People(
            store, config, clock, desk.new_token, lambda new: f"{page}#invitation={new}"
        )
        fronts = Fronts(read_tokens(config.front_token_files or (config.token_file,)), desk.counts)
        routes = [
            *standard_routes(lambda: {**desk.counts, **outbox.counts}, "identity"),
            *IdentityRoutes(desk, people, issuer, fronts).routes,
        ]
        verifier = TokenVerifier(_LatestKeys(desk), access, clock.wall_us)
        app = await opened.enter_async_context(
            gated(
                routes, access, config.token_file, "identity", clock, draw,
                verifier=verifier, outbox=outbox, state_dir=config.state_dir,
            )
        )  # fmt: skip
        addresses = {"http": await opened.enter_async_context(serving(app, listener))}
        if config.https is not None:
            addresses["https"] = await _serve_https(app, config.https, opened)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(outbox.run())
            tasks.create_task(_keep_house(desk))
            ready(addresses)


async def _serve_https(app: ASGIApp, https: HttpsListen, opened: contextlib.AsyncExitStack) -> str:
    """Serve `app` over HTTPS as long as `opened` is; returns the address."""
    listener = bind(https.host, https.port)
    opened.callback(listener.close)
    tls = (https.certificate_file, https.key_file)
    return await opened.enter_async_context(serving(app, listener, tls=tls))


def _desk(
    store: SqliteUserStore,
    config: IdentityConfig,
    issuer: str,
    clock: Clock,
    draw: Callable[[int], bytes],
    keep: Keep,
) -> IdentityDesk:
    passwords = Passwords(config.password_cost, config.sign_ins_waiting_max)
    return IdentityDesk(store, passwords, config, issuer, clock, draw, keep)


def _access(config: IdentityConfig, issuer: str) -> AccessConfig:
    return AccessConfig(issuer=issuer, audience=config.audience, token_roles=config.token_roles)


async def _keep_house(desk: IdentityDesk) -> None:
    """Rotate and drop keys, and forget ended sessions, when their time has come."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_S)
        try:
            await desk.age_keys()
        except Exception:  # a task's boundary: a full disk must not end the component
            _log.exception("signing keys were not looked after")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
