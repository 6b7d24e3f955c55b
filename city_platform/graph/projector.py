"""Keeps the device graph up with the device directory, which is the truth.

A kill loses nothing: the graph says how far it has followed which directory, in the same write as
what it followed. What is not whole, or follows another directory, or is ahead of this one because
that came out of a backup, is filled again from nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from city_platform.graph.backend import GraphUnavailable
from city_platform.graph.device_graph import DeviceGraph, Projection
from city_platform.graph.devices import found_device
from city_platform.graph.outage import RETRY_S_MIN, Outage, retry_s
from city_platform.stores.device_directory import DeviceDirectory, DirectoryChange
from city_platform.stores.passing import is_passing
from contracts.api import FoundDevice

BATCH_FILLING: Final = 500

_log = logging.getLogger(__name__)


class GraphProjector:
    """`run` follows the directory whenever `wake` is called or somebody waits in `caught_up`.

    `settle_s` is how long it leaves the machine to an import that goes on; who waits cuts it short.
    `chance`, numbers from [0, 1), spreads its tries while the graph is away. `last_problem` says
    why the graph is behind; it is empty while nothing is wrong.
    """

    def __init__(
        self,
        directory: DeviceDirectory,
        graph: DeviceGraph,
        source: str,
        now_ns: Callable[[], int],
        chance: Callable[[], float],
        settle_s: float = 2.0,
    ) -> None:
        self._directory = directory
        self._graph = graph
        self._source = source
        self._now_ns = now_ns
        self._chance = chance
        self._outage = Outage()
        self._settle_s = settle_s
        self._position: Projection | None = None
        self._wanted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._moved = asyncio.Event()
        self._failures = 0
        self.last_problem = ""

    @property
    def revision(self) -> int:
        """The directory's revision that the graph has; 0 while it is being filled."""
        position = self._position
        return position.revision if position is not None and position.whole else 0

    @property
    def away_s(self) -> float:
        """For how long the graph could not be followed; 0 while it can."""
        return self._outage.lasts_s(self._now_ns())

    def wake(self) -> None:
        """The directory has changed."""
        self._wanted.set()

    async def caught_up(self, within_s: float) -> bool:
        """Whether the graph has all that the directory has now, waiting so long for it at most, and
        no longer than until the next try to write to it fails."""
        wanted, failures = await self._directory.revision(), self._failures
        if self._has(wanted):
            return True
        self._wanted.set()
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self._has(wanted) and failures == self._failures:
                    self._moved.clear()
                    await self._moved.wait()
        return self._has(wanted)

    def doubt(self, error: GraphUnavailable) -> None:
        """The graph failed somebody: look where it is before anybody asks it again."""
        self._failed(error)
        self._wanted.set()
        self._hurry.set()

    async def check(self, within_s: float) -> str:
        """Ask the graph whether it is as it was left. What is the matter; empty when nothing is,
        and while it is being filled."""
        position = self._position
        if position is None:
            return self.last_problem
        try:
            async with asyncio.timeout(within_s):
                found = await self._graph.projection()
            if found != position and position == self._position:
                raise GraphUnavailable("the device graph is not what was written to it")
        except GraphUnavailable as error:
            self.doubt(error)
        except TimeoutError:
            return f"the device graph did not answer within {within_s:g} s"
        return self.last_problem

    async def run(self) -> None:
        """Follow until cancelled; begins with what the graph lacks."""
        self._wanted.set()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._pause(self._settle_s)
            try:
                await self.follow()
                self._is_back()
            except (GraphUnavailable, OSError, sqlite3.Error) as error:
                self._failed(_unavailable(error))
                self._outage.failed(self._now_ns())
                pause_s = retry_s(self._outage.failures, self._chance())
                self._tell(pause_s)
                await asyncio.sleep(min(RETRY_S_MIN, pause_s))
                # Who asks for something meanwhile has it tried sooner.
                await self._pause(pause_s - RETRY_S_MIN)
                self._wanted.set()

    async def follow(self) -> None:
        """Bring the graph up to the directory's last change.

        Raises `GraphUnavailable`, and `OSError` or `sqlite3.Error` when the directory cannot be
        read.
        """
        await self._graph.open()
        position = await self._begin()
        while changes := await self._directory.changes(position.revision, self._batch(position)):
            position = position._replace(revision=changes[-1].revision)
            if position.whole:
                await self._graph.put(_present(changes), _gone(changes), position)
            else:
                await self._graph.create(_present(changes), position)
        if not position.whole:
            position = position._replace(whole=True)
            await self._graph.create([], position)
        self._position = position
        self._moved.set()

    def _is_back(self) -> None:
        self.last_problem = ""
        if self._outage.failures:
            _log.warning("the device graph is up to date again, after %.1f s", self.away_s)
            self._outage.ended()

    def _tell(self, pause_s: float) -> None:
        """Say it at the beginning, and when it lasts; not with every try."""
        if self._outage.failures == 1:
            _log.warning(
                "the device graph is behind, again in %.1f s: %s", pause_s, self.last_problem
            )
        if self._outage.is_notice_due(self._now_ns()):
            _log.error(
                "the device graph has been away for %.0f s (%d tries): searches are refused, all "
                "else works; it is looked for each %.0f s: %s",
                self.away_s, self._outage.failures, pause_s, self.last_problem,
            )  # fmt: skip

    def _failed(self, error: GraphUnavailable) -> None:
        self._position = None
        self._failures += 1
        self.last_problem = str(error)
        self._moved.set()

    def _batch(self, position: Projection) -> int:
        """A graph that is being filled answers nobody: no search waits behind a large write."""
        return self._graph.batch_devices if position.whole else BATCH_FILLING

    def _has(self, revision: int) -> bool:
        position = self._position
        return position is not None and position.whole and position.revision >= revision

    async def _pause(self, pause_s: float) -> None:
        """Wait, unless somebody is in a hurry."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._hurry.wait()
        self._hurry.clear()

    async def _begin(self) -> Projection:
        """Where to go on; an emptied graph where what is there cannot be gone on with."""
        if self._position is not None:
            return self._position
        found = await self._graph.projection()
        newest = await self._directory.revision()
        if (
            found is not None
            and found.source == self._source
            and found.whole
            and found.revision <= newest
        ):
            return found
        empty = Projection(self._source, 0, whole=False)
        await self._graph.clear(empty)
        return empty


def _unavailable(error: Exception) -> GraphUnavailable:
    """Why the graph is behind. Raises `error` when trying again mends nothing."""
    if isinstance(error, GraphUnavailable):
        return error
    if not is_passing(error):
        raise error
    return GraphUnavailable(f"the device directory cannot be read: {error}")


def _present(changes: Sequence[DirectoryChange]) -> list[FoundDevice]:
    return [
        found_device(change.entry, change.firmware)
        for change in changes
        if change.entry is not None
    ]


def _gone(changes: Sequence[DirectoryChange]) -> list[str]:
    return [change.endpoint for change in changes if change.entry is None]
