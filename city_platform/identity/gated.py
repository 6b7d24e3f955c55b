"""Puts the gate before a component's routes: the one line that a component needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from city_platform.identity.config import AccessConfig, Role
from runtime.clock import Clock
from runtime.http import make_app

if TYPE_CHECKING:
    from city_platform.audit.outbox import AuditOutbox
    from city_platform.identity.gate import Verifies

# What a component's own token may do: everything but to manage people.
TOKEN_ROLES: Final[tuple[Role, ...]] = ("provisioner", "analyst", "controller", "service")


@contextlib.asynccontextmanager
async def gated(
    routes: Sequence[BaseRoute],
    access: AccessConfig | None,
    token_file: str,
    component: str,
    clock: Clock,
    draw: Callable[[int], bytes],
    *,
    verifier: Verifies | None = None,
    outbox: AuditOutbox | None = None,
) -> AsyncIterator[ASGIApp]:
    """The application of `routes`, while the block runs.

    Without `access` everything but health asks for the token in `token_file`, and whoever has it
    may do everything: an installation on one machine. With it the bearer of that token is the
    program `service:<component>-token`, and everybody else comes in with an issuer's token.
    Raises `OSError`, and `ValueError` for a configuration that cannot be.
    """
    token = _read_token(token_file)
    if access is None:
        yield make_app(routes, token)
        return
    # Imported now: who needs no gate does not pay for it.
    from city_platform.identity.gate import Gate
    from city_platform.identity.operations import OperationTable
    from city_platform.identity.wiring import (
        Directory,
        OutboxRecorder,
        own_caller,
        service_callers,
        verify_by,
    )

    async with contextlib.AsyncExitStack() as opened:
        directory = Directory(access.directory_file, clock.now_ns)
        opened.callback(directory.close)
        acts = outbox
        if acts is None and access.state_dir is not None:
            acts = await opened.enter_async_context(opened_outbox(access, token_file, component))
        yield Gate(
            make_app(routes, None),
            OperationTable(component),
            [*service_callers(access.service_tokens), (token, own_caller(component, TOKEN_ROLES))],
            verifier or verify_by(access, clock),
            directory,
            None if acts is None else OutboxRecorder(acts, component, clock, draw),
        )


def _read_token(path: str) -> str:
    # Not the one of `broker_access`: provisioning has no broker, and would import all of MQTT.
    return Path(path).read_text().strip()


@contextlib.asynccontextmanager
async def opened_outbox(
    access: AccessConfig, token_file: str, component: str
) -> AsyncIterator[AuditOutbox]:
    """The outbox of a component that has `state_dir`, and what sends it, while the block runs.

    For components that keep acts of their own; give it to `gated` then.
    """
    from city_platform.audit.outbox import AuditOutbox

    outbox = AuditOutbox(
        Path(access.state_dir or ".") / f"audit_outbox_{component}.sqlite",
        lambda: (access.audit_api, access.audit_token_file or token_file),
        access.audit_waiting_max,
    )
    try:
        await outbox.open()
        task = asyncio.ensure_future(outbox.run())
        try:
            yield outbox
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    finally:
        await outbox.close()
