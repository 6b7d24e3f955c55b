"""Puts the gate before a component's routes: the one line that a component needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from city_platform.identity.config import AccessConfig
from city_platform.store_errors import StoreTrouble, TroubleAtReadiness
from runtime.clock import Clock
from runtime.correlation import Correlated
from runtime.http import make_app

if TYPE_CHECKING:
    from city_platform.audit.outbox import AuditOutbox
    from city_platform.group_commit import GroupCommit
    from city_platform.identity.gate import Verifies
    from city_platform.identity.wiring import LaterVerifier

# Programs that come with the first second wait for what the others need not.
WARM_AFTER_S: Final = 2.0


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
    state_dir: str | None = None,
    late_acts: Collection[str] = (),
    lanes: Sequence[Route] = (),
) -> AsyncIterator[ASGIApp]:
    """The application of `routes`, while the block runs.

    Without `access` everything but health asks for the token in `token_file`, and whoever has it
    may do everything: an installation on one machine. With it the bearer of that token is the
    program `service:<component>-token`, and everybody else comes in with an issuer's token.
    `/readyz` tells when there is no room in `state_dir`, or else in `access.state_dir`.
    `late_acts`: see `Gate`; `lanes`: see `make_app`.
    Raises `OSError`, and `ValueError` for a configuration that cannot be.
    """
    token = _read_token(token_file)
    trouble = _trouble(state_dir or (access.state_dir if access else None), clock)
    if access is None:
        app = make_app(routes, token, trouble.answers, lanes)
        yield Correlated(TroubleAtReadiness(app, trouble), draw)
        return
    # Imported now: who needs no gate does not pay for it.
    from city_platform.device_tenants import Directory
    from city_platform.identity.gate import Gate
    from city_platform.identity.operations import OperationTable
    from city_platform.identity.wiring import (
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
        if verifier is None:
            warming = asyncio.ensure_future(_warm(verifier := verify_by(access, clock)))
            opened.push_async_callback(_end, warming)
        own = (token, own_caller(component, access.token_roles))
        gate = Gate(
            make_app(routes, None, trouble.answers, lanes),
            OperationTable(component),
            [*service_callers(access.service_tokens), own],
            verifier,
            directory,
            None if acts is None else OutboxRecorder(acts, component, clock, draw),
            late_acts,
        )
        yield Correlated(TroubleAtReadiness(gate, trouble), draw)


def _trouble(folder: str | None, clock: Clock) -> StoreTrouble:
    return StoreTrouble(Path(folder) if folder else None, clock.now_ns)


async def _warm(verifier: LaterVerifier) -> None:
    """Be ready for the first person, once the component has had its start."""
    await asyncio.sleep(WARM_AFTER_S)
    await verifier.warm()


async def _end(task: asyncio.Future[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _read_token(path: str) -> str:
    # Not the one of `broker_access`: provisioning has no broker, and would import all of MQTT.
    return Path(path).read_text().strip()


@contextlib.asynccontextmanager
async def opened_outbox(
    access: AccessConfig, token_file: str, component: str, *, commits: GroupCommit | None = None
) -> AsyncIterator[AuditOutbox]:
    """The outbox of a component that has `state_dir`, and what sends it, while the block runs.

    For components that keep acts of their own, or with what they do in `commits`; give it to
    `gated` then.
    """
    from city_platform.audit.outbox import AuditOutbox

    outbox = AuditOutbox(
        Path(access.state_dir or ".") / f"audit_outbox_{component}.sqlite",
        lambda: (access.audit_api, access.audit_token_file or token_file),
        access.audit_waiting_max,
        commits=commits,
    )
    try:
        await outbox.open()
        task = asyncio.ensure_future(outbox.run())
        try:
            yield outbox
        finally:
            await _end(task)
    finally:
        await outbox.close()
