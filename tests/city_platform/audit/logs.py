"""Audit logs to test with: entries, a clock that the test moves, and a log that is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from city_platform.audit.chain import ChainHead, extend, genesis
from city_platform.audit.config import AuditLimits
from city_platform.audit.entries import AuditEntry
from city_platform.audit.keeper import AuditKeeper
from city_platform.audit.signing import Signer, open_signer
from city_platform.audit.verify import DATABASE, HEAD_FILE
from city_platform.stores.audit_log import SqliteAuditLog
from city_platform.stores.object_store import FileObjectStore

NOW_US = 1_780_000_000_000_000


class HandClock:
    """`Clock` that stands still until it is moved; set back, only its wall clock is."""

    def __init__(self, wall_us: int = NOW_US) -> None:
        self._wall_us = wall_us
        self._now_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def wall_us(self) -> int:
        return self._wall_us

    def move(self, seconds: float) -> None:
        self._wall_us += int(seconds * 1e6)
        self._now_ns += max(0, int(seconds * 1e9))


def entry(number: int, **changes: object) -> AuditEntry:
    fields: dict[str, object] = {
        "id": f"control:{number}",
        "at_us": NOW_US + number,
        "operation": "issue_command",
        "outcome": "succeeded",
        "source": "control",
        "who": "ann",
        "tenant": "harbour",
        "device": f"lamp-{number}",
        "reference": f"cmd-{number}",
    }
    return AuditEntry(**(fields | changes))  # type: ignore[arg-type] # fields of many types


def lines_of(entries: Iterable[AuditEntry], begin: ChainHead) -> tuple[list[bytes], ChainHead]:
    lines, head = [], begin
    for one in entries:
        line, head = extend(head, one)
        lines.append(line)
    return lines, head


def signer_in(folder: Path, seed: int = 1) -> Signer:
    return open_signer(folder / "audit.key", lambda count: bytes([seed]) * count)


@contextlib.asynccontextmanager
async def keeping(
    folder: Path, clock: HandClock | None = None, limits: AuditLimits | None = None
) -> AsyncIterator[tuple[AuditKeeper, SqliteAuditLog]]:
    """A keeper at work in `folder`; all is archived when it ends."""
    signer = signer_in(folder)
    log = SqliteAuditLog(folder / DATABASE, genesis(signer.public_key))
    objects = FileObjectStore(folder / "objects")
    keeper = AuditKeeper(
        log,
        objects,
        signer,
        clock or HandClock(),
        folder / HEAD_FILE,
        limits or AuditLimits(archive_entries_max=4),
    )
    try:
        await keeper.open()
        task = asyncio.ensure_future(keeper.run())
        try:
            yield keeper, log
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await keeper.close()
    finally:
        log.close()
        objects.close()


def keep(folder: Path, count: int, first: int = 0) -> None:
    """Keep `count` entries in a log in `folder`, and end."""

    async def story() -> None:
        async with keeping(folder) as (keeper, _):
            for number in range(first, first + count):
                await keeper.keep(entry(number))

    asyncio.run(story())
