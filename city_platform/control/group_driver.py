"""Gives the devices of group commands their turns: paced, and as fast as what comes after takes."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from typing import Final

import msgspec

from city_platform.control.dispatch import AT_ONCE, Dispatch
from city_platform.control.group_store import GroupStore
from city_platform.control.pacing import Pace
from city_platform.control.rows import GroupRow
from runtime.clock import Clock

_log = logging.getLogger(__name__)

# How long nothing is tried after the disk refused or the broker was away.
PAUSE_S: Final = 1.0


class GroupDriver:
    """One per component. A member whose turn comes is kept as an open command, then published.

    While the broker is away, or as many commands are open as may be, nobody has a turn: a command
    that cannot go must not begin to expire.
    """

    def __init__(
        self, groups: GroupStore, dispatch: Dispatch, clock: Clock, open_commands_max: int
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._groups = groups
        self._dispatch = dispatch
        self._clock = clock
        self._open_commands_max = open_commands_max
        self._under_way: dict[str, tuple[GroupRow, Pace]] = {}
        self._cancelled: dict[str, GroupRow] = {}
        self._woken = asyncio.Event()
        # Who is taken back must not have a turn at the same moment.
        self._turn = asyncio.Lock()

    async def recover(self) -> None:
        """Take up what was under way when the process ended."""
        for group_id in await self._groups.not_accepted():
            await self._groups.drop(group_id)
        for group in await self._groups.under_way():
            self.add(group)

    def add(self, group: GroupRow) -> None:
        """A group was accepted."""
        if group.cancel_asked_at_us is not None:
            self._cancelled[group.id] = group
        else:
            self._under_way[group.id] = (group, Pace(group.rate_per_s, self._clock.now_ns()))
        self._woken.set()

    def wake(self) -> None:
        """The broker is back: turns may go on."""
        self._woken.set()

    async def cancel(self, group: GroupRow) -> None:
        """Take a group back; returns when that is kept. Raises `sqlite3.Error`."""
        async with self._turn:
            await self._groups.ask_cancel(group.id, self._clock.wall_us())
            self._under_way.pop(group.id, None)
            self._cancelled[group.id] = group
            self._woken.set()

    async def drive(self) -> None:
        """Give turns until cancelled."""
        while True:
            try:
                pause_s = await self._step()
            except sqlite3.Error as error:
                _log.warning("group commands wait for the disk: %s", error)
                self.counts["groups.waited_for_disk"] += 1
                pause_s = PAUSE_S
            self._woken.clear()
            if pause_s is None and (self._under_way or self._cancelled):
                continue
            try:
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _step(self) -> float | None:
        """One round over all groups; how long to wait after it, None when nothing is to be done."""
        async with self._turn:
            for group in list(self._cancelled.values()):
                await self._take_back(group)
                del self._cancelled[group.id]
            for group, pace in list(self._under_way.values()):
                await self._give_turns(group, pace)
        if not self._under_way:
            return None
        if not self._room():
            return PAUSE_S
        now_ns = self._clock.now_ns()
        return (min(pace.next_ns(now_ns) for _, pace in self._under_way.values()) - now_ns) / 1e9

    async def _give_turns(self, group: GroupRow, pace: Pace) -> None:
        now_us = self._clock.wall_us()
        if now_us >= group.ends_at_us:
            await self._groups.end_waiting(group.id, "expired", now_us)
            del self._under_way[group.id]
            return
        count = min(pace.due(self._clock.now_ns()), self._room(), AT_ONCE)
        if not count:
            return
        rows = await self._groups.next_waiting(group.id, count)
        if not rows:
            del self._under_way[group.id]
            return
        expires_at_us = now_us + round(group.request.expires_in_s * 1e6)
        await self._dispatch.issue_all(
            [
                msgspec.structs.replace(
                    row, waits=False, expires_at_us=min(expires_at_us, group.ends_at_us)
                )
                for row in rows
            ]
        )
        pace.take(len(rows))
        self.counts["groups.turns"] += len(rows)

    async def _take_back(self, group: GroupRow) -> None:
        now_us = self._clock.wall_us()
        await self._groups.end_waiting(group.id, "cancelled", now_us)
        after = ""
        while ids := await self._groups.open_members(group.id, after, AT_ONCE):
            for command_id in ids:
                self._dispatch.cancel(command_id)
            after = ids[-1]

    def _room(self) -> int:
        return min(self._dispatch.room, self._open_commands_max - self._dispatch.open_commands)
