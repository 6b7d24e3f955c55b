"""What people ask of telemetry and do to alarms, beside the path on which it is stored.

Questions are answered on a connection of their own. What writes (acknowledging, retention) takes
its turn with the commits, in transactions of some milliseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from city_platform.stores.alarm_register import COLUMNS as EPISODE_COLUMNS
from city_platform.stores.alarm_register import (
    AlarmLevelNews,
    AlarmQuery,
    AlarmStep,
    find_episodes,
    read_episode,
    standing_of,
    steps_of,
)
from city_platform.stores.alarm_states import AlarmEpisode
from city_platform.stores.device_states import KeptDeviceState, LastSeen
from city_platform.stores.telemetry_queries import (
    BucketPage,
    LatestValue,
    ReadingPage,
    find_buckets,
    find_latest,
    find_readings,
)
from city_platform.stores.telemetry_retention import (
    BoundsOf,
    Place,
    RetentionKind,
    Step,
    sweep_alarms,
    sweep_series,
    sweep_states,
)
from city_platform.stores.telemetry_store import CommitNews, SqliteTelemetryStore


class EpisodeStory(NamedTuple):
    """An episode and the changes of its state, in order."""

    episode: AlarmEpisode
    steps: list[AlarmStep]


class TelemetryDesk(Protocol):
    """Questions to the telemetry store, and what is done to alarms and old rows."""

    async def readings_page(
        self,
        endpoint: str,
        path: str | None,
        from_us: int,
        to_us: int,
        limit: int,
        before: tuple[int, str] | None,
    ) -> ReadingPage:
        """Readings in [from_us, to_us), newest first. Raises `QueryTooLarge`."""

    async def buckets(
        self, endpoint: str, path: str, from_us: int, to_us: int, width_us: int, limit: int
    ) -> BucketPage:
        """Readings of one path by buckets of time. Raises `QueryTooLarge`."""

    async def latest(self, endpoint: str) -> list[LatestValue]:
        """The newest reading of each path of a device. One that lies further ahead than a reading
        may, stored before that was refused, counts only where a path has no other."""

    async def episodes(self, query: AlarmQuery) -> list[AlarmEpisode]:
        """Episodes of alarms, newest first."""

    async def episode(self, number: int) -> EpisodeStory | None:
        """One episode, None when there is none of this number."""

    async def open_episodes(self, endpoint: str) -> list[AlarmEpisode]:
        """The episodes of a device that are not closed."""

    async def acknowledge(
        self, number: int, who: str, at_us: int, note: str
    ) -> AlarmEpisode | None:
        """The episode, acknowledged and durable; None when there is none. Again changes nothing."""

    async def settle(self, now_us: int) -> int:
        """End the flapping of alarms that have been calm; returns how many."""

    async def saw(self, seen: Sequence[LastSeen]) -> None:
        """Keep when devices were last heard."""

    async def kept_states(self) -> list[KeptDeviceState]:
        """Presence and last sign of life of all devices, by name."""

    async def levels(self) -> list[AlarmLevelNews]:
        """The devices with standing alarms."""

    async def news(self) -> CommitNews | None:
        """Levels and presence that changed since the last call, None when none did."""

    async def sweep(self, kind: RetentionKind, bounds_of: BoundsOf, place: Place) -> Step:
        """One step of forgetting rows of a kind that this store has."""


class SqliteTelemetryDesk:
    """`TelemetryDesk` of a `SqliteTelemetryStore`. `latest_us` tells the last time (Unix) that a
    device may say now."""

    def __init__(
        self, store: SqliteTelemetryStore, latest_us: Callable[[], int] = lambda: 2**63 - 1
    ) -> None:
        self._store = store
        self._latest_us = latest_us

    async def readings_page(
        self,
        endpoint: str,
        path: str | None,
        from_us: int,
        to_us: int,
        limit: int,
        before: tuple[int, str] | None,
    ) -> ReadingPage:
        """See `TelemetryDesk`."""
        return await self._store.read(find_readings, endpoint, path, from_us, to_us, limit, before)

    async def buckets(
        self, endpoint: str, path: str, from_us: int, to_us: int, width_us: int, limit: int
    ) -> BucketPage:
        """See `TelemetryDesk`."""
        return await self._store.read(find_buckets, endpoint, path, from_us, to_us, width_us, limit)

    async def latest(self, endpoint: str) -> list[LatestValue]:
        """See `TelemetryDesk`."""
        return await self._store.read(find_latest, endpoint, self._latest_us())

    async def episodes(self, query: AlarmQuery) -> list[AlarmEpisode]:
        """See `TelemetryDesk`."""
        return await self._store.read(find_episodes, query)

    async def episode(self, number: int) -> EpisodeStory | None:
        """See `TelemetryDesk`."""
        return await self._store.read(_story, number)

    async def open_episodes(self, endpoint: str) -> list[AlarmEpisode]:
        """See `TelemetryDesk`."""
        return await self._store.read(standing_of, endpoint)

    async def acknowledge(
        self, number: int, who: str, at_us: int, note: str
    ) -> AlarmEpisode | None:
        """See `TelemetryDesk`."""
        register = self._store.register
        return await self._store.write(lambda _: register.acknowledge(number, who, at_us, note))

    async def settle(self, now_us: int) -> int:
        """See `TelemetryDesk`."""
        register = self._store.register
        if not await self._store.inspect(lambda: register.has_calm(now_us)):
            return 0
        return await self._store.write(lambda _: register.settle(now_us))

    async def saw(self, seen: Sequence[LastSeen]) -> None:
        """See `TelemetryDesk`."""
        table = self._store.device_states
        await self._store.write(lambda _: table.saw(seen))

    async def kept_states(self) -> list[KeptDeviceState]:
        """See `TelemetryDesk`."""
        return await self._store.inspect(self._store.device_states.all)

    async def levels(self) -> list[AlarmLevelNews]:
        """See `TelemetryDesk`."""
        return await self._store.inspect(self._store.register.levels)

    async def news(self) -> CommitNews | None:
        """See `TelemetryDesk`."""
        # A look without changing threads: it is asked after each commit, and seldom has any.
        if not (self._store.register.has_news or self._store.device_states.has_news):
            return None
        return await self._store.inspect(self._store.take_news)

    async def sweep(self, kind: RetentionKind, bounds_of: BoundsOf, place: Place) -> Step:
        """See `TelemetryDesk`."""
        if kind == "readings":
            return await self._store.write(sweep_series, "readings", bounds_of, place)
        if kind == "conflicts":
            return await self._store.write(sweep_series, "conflicts", bounds_of, place)
        if kind == "alarms":
            return await self._store.write(sweep_alarms, bounds_of, place)
        if kind == "states":
            return await self._store.write(sweep_states, bounds_of, place)
        return Step(0, None)


def _story(connection: sqlite3.Connection, number: int) -> EpisodeStory | None:
    row = connection.execute(
        f"SELECT {EPISODE_COLUMNS} FROM episodes WHERE id = ?", (number,)
    ).fetchone()
    return None if row is None else EpisodeStory(read_episode(row), steps_of(connection, number))
