"""What the run has seen so far, for a story to wait on. Verdicts never come from here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from contracts.api import AlarmStored, Commit, DeadLettered, FeedLine
from contracts.journal import MessageSeen
from harness.errors import HarnessError


class Live:
    """Counters that the taps and the fleet's progress lines move, and waiting for them."""

    def __init__(self) -> None:
        self.started = 0
        self.registered = 0
        self.connected = 0
        self.unacknowledged: int | None = None
        # The newest event that the reader of the data interface has.
        self.delivered = 0
        # What each fleet process said last, and which of them are quiet.
        self._progress: dict[str, Mapping[str, int]] = {}
        self._quiet: dict[str, int] = {}
        self.online: set[str] = set()
        # The same, in the order in which they came online.
        self.online_in_order: list[str] = []
        self.readings: Counter[tuple[str, str]] = Counter()
        self.alarms: Counter[tuple[str, bool]] = Counter()
        self.latest: dict[tuple[str, str], float | int | bool | str] = {}
        self.gates: list[Mapping[str, Any]] = []
        self.dead_letters = 0
        self.stored = 0
        self.messages: Counter[str] = Counter()
        # What ended every wait: a process that died.
        self.failure: Exception | None = None
        self.has_failed = asyncio.Event()
        self._moved = asyncio.Event()

    def fleet_said(self, message: Mapping[str, Any], process: str = "fleet", of: int = 1) -> None:
        """A progress or quiet line of one of so many fleets."""
        progress = message.get("progress")
        if progress:
            self._progress[process] = progress
            self.started, self.registered, self.connected = (
                sum(each[what] for each in self._progress.values())
                for what in ("started", "registered", "connected")
            )
        if "quiet" in message:
            self._quiet[process] = message["quiet"]["unacknowledged"]
            if len(self._quiet) == of:
                self.unacknowledged = sum(self._quiet.values())
        self.move()

    def message_seen(self, record: MessageSeen) -> None:
        """The broker tap recorded a message."""
        self.messages[record.topic_kind] += 1
        self.move()

    def feed_seen(self, line: FeedLine) -> None:
        """The store tap read a line."""
        if isinstance(line, Commit):
            self.stored += len(line.readings)
            for endpoint, path, _time_us, value in line.readings:
                if endpoint not in self.online:
                    self.online.add(endpoint)
                    self.online_in_order.append(endpoint)
                self.readings[endpoint, path] += 1
                self.latest[endpoint, path] = value
        elif isinstance(line, AlarmStored):
            self.alarms[line.alarm, line.raised] += 1
        elif isinstance(line, DeadLettered):
            self.dead_letters += 1
        self.move()

    def fail(self, error: Exception) -> None:
        """End every wait with `error`."""
        self.failure = self.failure or error
        self.has_failed.set()
        self.move()

    def move(self) -> None:
        """Something changed: waiting conditions are tried again."""
        self._moved.set()

    async def until(self, claim: str, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until `condition` holds. Raises `TimeoutError` naming `claim` after `within_s`."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    if self.failure:
                        raise self.failure
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise NotReached(f"{claim}: not within {within_s:g} s") from None


class NotReached(HarnessError):
    """The story went on without a condition that it had waited for; the checks will tell why."""
