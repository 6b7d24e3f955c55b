"""What provisioning does and somebody must be able to find again: the interface of its audit."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, Protocol

from city_platform.identity.config import AccessConfig
from runtime.clock import Clock

if TYPE_CHECKING:
    from city_platform.audit.outbox import AuditOutbox

ActOutcome = Literal["succeeded", "refused", "failed"]

# The gate keeps that somebody asked for an operation, under the operation's name, and how that was
# answered. That it has come to its end, perhaps much later, is an entry of its own: like the end of
# a command. So each name is in the log once for each time that it was done.
ENDED_NAMES: Final[Mapping[str, str]] = {"remove_device": "device_removed"}

_log = logging.getLogger(__name__)


class ActLog(Protocol):
    """Keeps acts. Whoever implements it keeps them before `record` returns."""

    async def record(
        self, who: str, operation: str, subject: str, outcome: ActOutcome, detail: str
    ) -> None:
        """Somebody did something to a device, and how it ended. Never told a secret."""


class LoggedActs:
    """`ActLog` in the component's log, for an installation without an audit component."""

    async def record(
        self, who: str, operation: str, subject: str, outcome: ActOutcome, detail: str
    ) -> None:
        """See `ActLog`."""
        _log.info("%s: %s of %s %s: %s", who, operation, subject, outcome, detail)


class EndedActs:
    """`ActLog` that tells `acts` of ends alone: that they were asked for is the gate's to tell."""

    def __init__(self, acts: ActLog) -> None:
        self._acts = acts

    async def record(
        self, who: str, operation: str, subject: str, outcome: ActOutcome, detail: str
    ) -> None:
        """See `ActLog`."""
        name = ENDED_NAMES.get(operation, operation)
        await self._acts.record(who, name, subject, outcome, detail)


async def opened_acts(
    access: AccessConfig | None,
    token_file: str,
    clock: Clock,
    draw: Callable[[int], bytes],
    opened: contextlib.AsyncExitStack,
) -> tuple[ActLog, AuditOutbox | None]:
    """Where acts are kept, and the outbox that the gate is to share; `opened` closes it.

    Without access, or where it names no folder for acts that wait, they are in the log.
    """
    if access is None or access.state_dir is None:
        return LoggedActs(), None
    # Imported now: an installation without audit does not pay for it.
    from city_platform.audit.acts import OutboxActs
    from city_platform.identity.gated import opened_outbox

    outbox = await opened.enter_async_context(opened_outbox(access, token_file, "provisioning"))
    return EndedActs(OutboxActs(outbox, "provisioning", clock, draw)), outbox
