"""How every bridge stands: from its statuses, its last will, and its silence. Without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from contracts.bridge_status import (
    PERIODS_SILENT_MAX,
    BridgeStanding,
    BridgeState,
    BridgeStatus,
)

# Processes of a bridge that are remembered as gone, and bridges that are remembered at all.
PAST_MAX: Final = 16
BRIDGES_MAX: Final = 10_000


class _Heard(NamedTuple):
    """The newest of one bridge. `since_us` and `heard_at_us` are by the clock of who listens."""

    status: BridgeStatus
    state: BridgeState
    since_us: int
    heard_at_us: int
    restarts: int


class BridgeRoster:
    """Bridges by their servers' names. Times are Unix microseconds, of the listener's clock."""

    def __init__(self) -> None:
        self._heard: dict[str, _Heard] = {}
        self._past: dict[str, deque[str]] = {}

    def hear(self, status: BridgeStatus, now_us: int) -> bool:
        """Take a status; whether it is news. One that comes late or twice is none."""
        before = self._heard.get(status.server)
        if before is None:
            if len(self._heard) >= BRIDGES_MAX:
                return False
            self._heard[status.server] = _Heard(status, status.state, now_us, now_us, 0)
            return True
        if status.instance != before.status.instance:
            return self._hear_another(before, status, now_us)
        if status.state == "lost":
            if before.state in ("lost", "stopped"):
                return False
            self._heard[status.server] = before._replace(state="lost", since_us=now_us)
            return True
        if status.sequence <= before.status.sequence:
            return False
        since_us = before.since_us if before.state == status.state else now_us
        self._heard[status.server] = before._replace(
            status=status, state=status.state, since_us=since_us, heard_at_us=now_us
        )
        return True

    def standings(self, held: Mapping[str, int], now_us: int) -> list[BridgeStanding]:
        """All bridges that were heard of, and those of servers that hold devices, by name."""
        return [
            self._standing(server, held.get(server, 0), now_us)
            for server in sorted({*self._heard, *held})
        ]

    def _hear_another(self, before: _Heard, status: BridgeStatus, now_us: int) -> bool:
        past = self._past.setdefault(status.server, deque(maxlen=PAST_MAX))
        # The will of a process that another follows says nothing of that one.
        if status.instance in past or status.state == "lost":
            return False
        past.append(before.status.instance)
        self._heard[status.server] = _Heard(
            status, status.state, now_us, now_us, before.restarts + 1
        )
        return True

    def _standing(self, server: str, held: int, now_us: int) -> BridgeStanding:
        heard = self._heard.get(server)
        if heard is None:
            return BridgeStanding(
                server=server, state="unknown", since_us=None, heard_at_us=None, devices_held=held
            )
        state, since_us = _told_or_silent(heard, now_us)
        return BridgeStanding(
            server=server,
            state=state,
            since_us=since_us,
            heard_at_us=heard.heard_at_us,
            devices_held=held,
            restarts=heard.restarts,
            load=heard.status.load if state in ("live", "connecting") else None,
            counts=heard.status.counts,
        )


def _told_or_silent(
    heard: _Heard, now_us: int
) -> tuple[Literal["connecting", "live", "stopped", "lost"], int]:
    silent_us = now_us - heard.heard_at_us
    is_silent = silent_us > heard.status.every_s * PERIODS_SILENT_MAX * 1e6
    if heard.state in ("live", "connecting") and is_silent:
        return "lost", heard.heard_at_us
    return heard.state, heard.since_us
