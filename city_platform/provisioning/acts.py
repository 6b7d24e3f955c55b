"""What provisioning does and somebody must be able to find again: the interface of its audit."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

ActOutcome = Literal["succeeded", "refused", "failed"]

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
