"""Acts of a component that no request stands for: they go the way of those that one does."""

from __future__ import annotations

from collections.abc import Callable

from city_platform.audit.entries import AuditEntry, AuditOutcome, shortened
from city_platform.audit.outbox import AuditOutbox
from runtime.clock import Clock

_ID_BYTES = 16
_NAME_LENGTH_MAX = 256


class OutboxActs:
    """Keeps acts in a component's outbox: `record` returns when they are synced."""

    def __init__(
        self, outbox: AuditOutbox, component: str, clock: Clock, draw: Callable[[int], bytes]
    ) -> None:
        self._outbox = outbox
        self._component = component
        self._clock = clock
        self._draw = draw

    async def record(
        self, who: str, operation: str, subject: str, outcome: AuditOutcome, detail: str
    ) -> None:
        """Keep that somebody did something to a device. Raises `OutboxFull`."""
        await self._outbox.add(
            AuditEntry(
                id=f"{self._component}:{self._draw(_ID_BYTES).hex()}",
                at_us=self._clock.wall_us(),
                operation=operation,
                outcome=outcome,
                source=self._component,
                who=shortened(who, _NAME_LENGTH_MAX),
                device=shortened(subject, _NAME_LENGTH_MAX),
                detail=shortened(detail),
            )
        )
