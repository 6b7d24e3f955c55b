"""Keeps how far commands have come: at once, a little later, and again when the disk refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

from city_platform.control.rows import CommandRow, HolderRow
from city_platform.control.store import CommandStore

# How long the disk may be behind on how far a command has come. Most have ended by then, and that
# is kept at once; after a restart one that is kept as `queued` is published again under its id.
KEEP_LATER_S = 0.1
# What could not be kept is tried again after this: a full disk or a locked database.
KEEP_AGAIN_S = 1.0

Kept = Callable[[bool], None]


class Keeper:
    """What is newer than the store says, until the store has it."""

    def __init__(self, store: CommandStore, counts: Counter[str]) -> None:
        self._store = store
        self._counts = counts
        self._later: dict[str, CommandRow] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Commands that have ended and are not yet kept so.
        self._ending: dict[str, CommandRow] = {}
        self._refused: dict[str, CommandRow] = {}
        self._refused_holders: dict[str, HolderRow | None] = {}
        self._again: asyncio.TimerHandle | None = None
        # What is told when each of the store's commits has ended: many rows may share one.
        self._keeping: dict[asyncio.Future[None], list[Callable[[bool], None]]] = {}

    @property
    def is_failing(self) -> bool:
        """Whether the disk refuses what is to be kept."""
        return bool(self._refused or self._refused_holders)

    def ending(self, command_id: str) -> CommandRow | None:
        """A command that has ended, which the store does not know yet."""
        return self._ending.get(command_id)

    def keep(
        self, row: CommandRow, *, is_urgent: bool = True, kept: Kept | None = None
    ) -> asyncio.Future[None]:
        """Keep a row as it is now; `kept` is told whether that worked, before it is tried again."""
        self._later.pop(row.id, None)
        self._refused.pop(row.id, None)
        future = self._store.put(row) if is_urgent else self._store.put_patiently(row)
        if row.is_final:
            self._ending[row.id] = row
        self._watch(future, partial(self._ended, row, kept))
        return future

    def keep_later(self, row: CommandRow) -> None:
        """Keep a row soon, with others."""
        self._later[row.id] = row
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEEP_LATER_S, self._keep_all_later)

    def keep_holder(self, endpoint: str, holder: HolderRow | None) -> asyncio.Future[None]:
        """Keep who holds a device; None: nobody does."""
        self._refused_holders.pop(endpoint, None)
        future = (
            self._store.remove_holder(endpoint)
            if holder is None
            else self._store.put_holder(holder)
        )
        self._watch(future, partial(self._holder_ended, endpoint, holder))
        return future

    async def close(self) -> None:
        """Wait for what is being kept, and try what was refused a last time."""
        if self._timer is not None:
            self._timer.cancel()
        if self._again is not None:
            self._again.cancel()
        self._keep_all_later()
        self._keep_again()
        if self._keeping:
            await asyncio.gather(*self._keeping, return_exceptions=True)
        if self._again is not None:
            self._again.cancel()

    def _keep_all_later(self) -> None:
        self._timer = None
        for row in list(self._later.values()):
            self.keep(row)

    def _keep_again(self) -> None:
        self._again = None
        for row in list(self._refused.values()):
            self.keep(row)
        for endpoint, holder in list(self._refused_holders.items()):
            self.keep_holder(endpoint, holder)

    def _watch(self, future: asyncio.Future[None], ended: Callable[[bool], None]) -> None:
        watching = self._keeping.get(future)
        if watching is None:
            watching = self._keeping[future] = []
            future.add_done_callback(self._tell)
        watching.append(ended)

    def _tell(self, done: asyncio.Future[None]) -> None:
        worked = not done.cancelled() and done.exception() is None
        for ended in self._keeping.pop(done):
            if not worked and not done.cancelled():
                self._counts["states_not_kept"] += 1
            ended(worked)

    def _ended(self, row: CommandRow, kept: Kept | None, worked: bool) -> None:
        if kept is not None:
            kept(worked)
        elif not worked and not self._has_newer(row):
            self._refused[row.id] = row
            self._try_again()
        if worked and self._ending.get(row.id) is row:
            del self._ending[row.id]

    def _has_newer(self, row: CommandRow) -> bool:
        """Whether something newer is on its way to the store already."""
        is_due = row.id in self._refused or row.id in self._later
        return is_due or self._ending.get(row.id, row) is not row

    def _holder_ended(self, endpoint: str, holder: HolderRow | None, worked: bool) -> None:
        if not worked:
            self._refused_holders.setdefault(endpoint, holder)
            self._try_again()

    def _try_again(self) -> None:
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(KEEP_AGAIN_S, self._keep_again)
