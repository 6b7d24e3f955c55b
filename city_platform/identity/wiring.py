"""What a gate is made of when it stands before a real component."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from city_platform.audit.entries import AuditEntry, AuditOutcome, shortened
from city_platform.audit.outbox import AuditOutbox, OutboxFull
from city_platform.group_commit import Statement
from city_platform.identity.callers import Caller, Grant
from city_platform.identity.config import ALL_TENANTS, AccessConfig, Role, ServiceToken
from city_platform.identity.gate import Act, CannotRecord
from city_platform.identity.key_sets import FetchedKeys, Keys, issuer_url, load_from
from runtime.clock import Clock

if TYPE_CHECKING:
    from city_platform.identity.tokens import TokenVerifier

_ID_BYTES: Final = 16
_NAME_LENGTH_MAX: Final = 256


def service_caller(name: str, roles: Sequence[Role], tenants: Sequence[str]) -> Caller:
    """The caller behind a program's token."""
    return Caller(
        kind="service",
        name=f"service:{name}",
        subject=f"service:{name}",
        grants=frozenset(Grant(tenant, role) for tenant in tenants for role in roles),
    )


def own_caller(component: str, roles: Sequence[Role]) -> Caller:
    """The caller behind a component's own token."""
    return service_caller(f"{component}-token", roles, (ALL_TENANTS,))


def service_callers(tokens: Sequence[ServiceToken]) -> list[tuple[str, Caller]]:
    """Tokens with their callers. Raises `OSError`, and `ValueError` for an empty file."""
    found = []
    for one in tokens:
        token = Path(one.file).read_text().strip()
        if not token:
            raise ValueError(f"{one.file} is empty: it must hold the token of {one.name}")
        found.append((token, service_caller(one.name, one.roles, one.tenants)))
    return found


class LaterVerifier:
    """`Verifies` by a `TokenVerifier`, whose module is imported with the first token: off the event
    loop, and not while the component starts, which would take half as long again."""

    def __init__(self, keys: Keys, access: AccessConfig, wall_us: Callable[[], int]) -> None:
        self._keys = keys
        self._access = access
        self._wall_us = wall_us
        self._verifier: TokenVerifier | None = None

    async def verify(self, token: str) -> Caller:
        """See `Verifies`."""
        if self._verifier is None:
            await self.warm()
        assert self._verifier is not None
        return await self._verifier.verify(token)

    async def warm(self) -> None:
        """Import what is needed."""
        loop = asyncio.get_running_loop()
        module = await loop.run_in_executor(None, import_module, "city_platform.identity.tokens")
        if self._verifier is None:
            self._verifier = module.TokenVerifier(self._keys, self._access, self._wall_us)


def verify_by(access: AccessConfig, clock: Clock) -> LaterVerifier:
    """A verifier with the issuer's keys. Raises `ValueError` for an issuer that cannot be."""
    keys_file = access.keys_file
    if keys_file is None:
        load = load_from(issuer_url(access.issuer), access.keys_url, access.ca_file)
    else:

        async def load() -> bytes:
            return await asyncio.get_running_loop().run_in_executor(
                None, Path(keys_file).read_bytes
            )

    keys = FetchedKeys(
        load, clock.now_ns,
        cached_s=access.keys_cached_s, stale_s=access.keys_stale_s, pause_s=access.keys_pause_s,
    )  # fmt: skip
    return LaterVerifier(keys, access, clock.wall_us)


class OutboxAct:
    """`OpenAct` in the outbox."""

    def __init__(self, outbox: AuditOutbox, entry: AuditEntry) -> None:
        self.id = entry.id
        self.has_begun = False
        self._outbox = outbox
        self._entry = entry

    async def begin(self) -> None:
        """See `OpenAct`."""
        try:
            await self._outbox.begin(self._entry)
        except (OutboxFull, OSError, sqlite3.Error) as error:
            raise CannotRecord(str(error)) from error
        self.has_begun = True

    async def begin_with(self, keep: Callable[[Statement], Awaitable[None]]) -> None:
        """See `OpenAct`."""
        await self._outbox.begin_with(self._entry, keep)
        self.has_begun = True


class OutboxRecorder:
    """`Recorder` that keeps acts in the outbox of its component."""

    def __init__(
        self, outbox: AuditOutbox, component: str, clock: Clock, draw: Callable[[int], bytes]
    ) -> None:
        self._outbox = outbox
        self._component = component
        self._clock = clock
        self._draw = draw

    def open(self, act: Act) -> OutboxAct:
        """See `Recorder`."""
        try:
            self._outbox.check_room()
        except OutboxFull as error:
            raise CannotRecord(str(error)) from error
        act_id = f"{self._component}:{self._draw(_ID_BYTES).hex()}"
        return OutboxAct(self._outbox, self._entry(act_id, act, "unknown", "", ""))

    async def end(self, act_id: str, act: Act, status: int, reference: str) -> None:
        """See `Recorder`."""
        outcome = outcome_of(status)
        await self._outbox.end(self._entry(act_id, act, outcome, f"HTTP {status}", reference))

    def _entry(
        self, act_id: str, act: Act, outcome: AuditOutcome, detail: str, reference: str
    ) -> AuditEntry:
        return AuditEntry(
            id=act_id,
            at_us=self._clock.wall_us(),
            operation=act.operation,
            outcome=outcome,
            source=self._component,
            who=shortened(act.who, _NAME_LENGTH_MAX),
            tenant=act.tenant,
            device=shortened(act.device, _NAME_LENGTH_MAX),
            reference=shortened(reference or act.reference, _NAME_LENGTH_MAX),
            detail=detail,
        )


def outcome_of(status: int) -> AuditOutcome:
    """What an HTTP status is in the log."""
    if status < 400:
        return "succeeded"
    if status in (401, 403):
        return "denied"
    return "refused" if status < 500 else "failed"
