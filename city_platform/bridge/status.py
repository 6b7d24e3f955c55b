"""What a bridge tells of itself and when: statuses, and the last will. Without I/O."""

from __future__ import annotations

from typing import Final

import msgspec

from city_platform.bridge.core import BridgeCore
from city_platform.bridge.link import Link
from contracts.bridge_status import BridgeState, BridgeStatus

_STATES: Final[dict[Link, BridgeState]] = {
    Link.OFFLINE: "connecting",
    Link.OPENING: "connecting",
    Link.SNAPSHOT: "connecting",
    Link.LIVE: "live",
}


class StatusReporter:
    """Makes a bridge's statuses: one on every change of its state, and one every `every_s`.

    `instance` tells this process from those before and after it. Times are Unix microseconds.
    """

    def __init__(self, core: BridgeCore, instance: str, every_s: float, now_us: int) -> None:
        self._core = core
        self._instance = instance
        self._every_s = every_s
        self._sequence = 0
        self._told: BridgeState | None = None
        self._told_us = self._since_us = now_us
        self._events = self._commands = 0

    def will(self) -> bytes:
        """What the broker is to say when it loses this bridge."""
        return msgspec.json.encode(
            BridgeStatus(
                server=self._core.server,
                instance=self._instance,
                sequence=0,
                state="lost",
                at_us=self._since_us,
                since_us=self._since_us,
                every_s=self._every_s,
            )
        )

    @property
    def has_changed(self) -> bool:
        """Whether the state is another one than was told."""
        return _STATES[self._core.link] != self._told

    def due_us(self) -> int:
        """When the next status is due though nothing has changed."""
        return self._told_us + round(self._every_s * 1e6)

    def take(self, now_us: int) -> bytes:
        """The status now, to be published."""
        return self._status(_STATES[self._core.link], now_us)

    def stop(self, now_us: int) -> bytes:
        """The last one: this bridge ends because it was told to."""
        return self._status("stopped", now_us)

    def _status(self, state: BridgeState, now_us: int) -> bytes:
        counts = self._core.counts
        passed_s = (now_us - self._told_us) / 1e6
        events, commands = counts["events"], counts["commands_passed_on"]
        load = self._core.load(
            _rate(events - self._events, passed_s), _rate(commands - self._commands, passed_s)
        )
        self._events, self._commands = events, commands
        if state != self._told:
            self._told, self._since_us = state, now_us
        self._told_us = now_us
        self._sequence += 1
        return msgspec.json.encode(
            BridgeStatus(
                server=self._core.server,
                instance=self._instance,
                sequence=self._sequence,
                state=state,
                at_us=now_us,
                since_us=self._since_us,
                every_s=self._every_s,
                load=load,
                counts=dict(sorted(counts.items())),
            )
        )


def _rate(count: int, passed_s: float) -> float:
    return round(count / passed_s, 3) if passed_s > 0 else 0.0
