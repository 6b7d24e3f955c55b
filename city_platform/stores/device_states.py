"""Presence and last sign of life of each device, in the telemetry store's database.

Presence is written with the batch that tells it. When a device was last heard is written now and
then: it moves with every pack, and a kill costs no more than that it is some seconds old.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple

from city_platform.presence import UNHEARD, DevicePresence, PresenceState, follow
from city_platform.stores.telemetry_records import PresenceRecord

STATEMENTS: Final = (
    "CREATE TABLE IF NOT EXISTS device_states ("
    " endpoint TEXT PRIMARY KEY, tenant TEXT NOT NULL, last_seen_us INTEGER NOT NULL,"
    " presence TEXT NOT NULL DEFAULT 'unknown', since_us INTEGER NOT NULL DEFAULT 0,"
    " boot TEXT NOT NULL DEFAULT '', connection INTEGER NOT NULL DEFAULT 0,"
    " ended INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL DEFAULT -1) WITHOUT ROWID",
)


class KeptDeviceState(NamedTuple):
    """What is kept of a device. Times are Unix microseconds of receipt."""

    endpoint: str
    tenant: str
    last_seen_us: int
    presence: PresenceState
    since_us: int


class LastSeen(NamedTuple):
    """When a device was last heard."""

    endpoint: str
    tenant: str
    last_seen_us: int


class PresenceNews(NamedTuple):
    """A device went online or offline."""

    endpoint: str
    tenant: str
    presence: PresenceState
    since_us: int


class DeviceStateTable:
    """Writes in the transaction at hand. `take_news` tells what changed since it was asked last."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._news: list[PresenceNews] = []
        for statement in STATEMENTS:
            connection.execute(statement)

    @property
    def has_news(self) -> bool:
        """Whether `take_news` would tell anything."""
        return bool(self._news)

    def forget_news(self) -> None:
        """The transaction was taken back."""
        self._news = []

    def take_news(self) -> list[PresenceNews]:
        """Devices that went online or offline; call it after the commit."""
        news, self._news = self._news, []
        return news

    def take(self, records: Iterable[PresenceRecord]) -> None:
        """What messages about connections make of what is known."""
        for told, tenant, received_us in records:
            known = self._known(told.endpoint)
            found = follow(known, told, received_us)
            if found is known:
                continue
            self._connection.execute(
                "INSERT INTO device_states VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (endpoint) DO UPDATE SET tenant = excluded.tenant,"
                " presence = excluded.presence, since_us = excluded.since_us,"
                " boot = excluded.boot, connection = excluded.connection,"
                " ended = excluded.ended, version = excluded.version",
                (
                    told.endpoint, tenant, received_us, found.state.value, found.since_us,
                    found.boot, found.connection, found.ended, found.version,
                ),
            )  # fmt: skip
            if found.state is not known.state:
                self._news.append(PresenceNews(told.endpoint, tenant, found.state, found.since_us))

    def saw(self, seen: Iterable[LastSeen]) -> None:
        """When devices were last heard; an older time changes nothing."""
        self._connection.executemany(
            "INSERT INTO device_states (endpoint, tenant, last_seen_us) VALUES (?, ?, ?)"
            " ON CONFLICT (endpoint) DO UPDATE SET tenant = excluded.tenant,"
            " last_seen_us = max(last_seen_us, excluded.last_seen_us)",
            seen,
        )

    def all(self) -> list[KeptDeviceState]:
        """Every device, by name."""
        rows = self._connection.execute(
            "SELECT endpoint, tenant, last_seen_us, presence, since_us FROM device_states"
            " ORDER BY endpoint"
        )
        return [
            KeptDeviceState(endpoint, tenant, seen_us, PresenceState(presence), since_us)
            for endpoint, tenant, seen_us, presence, since_us in rows
        ]

    def _known(self, endpoint: str) -> DevicePresence:
        row = self._connection.execute(
            "SELECT presence, since_us, boot, connection, ended, version FROM device_states"
            " WHERE endpoint = ?",
            (endpoint,),
        ).fetchone()
        if row is None:
            return UNHEARD
        presence, since_us, boot, connection, ended, version = row
        return DevicePresence(
            PresenceState(presence), since_us, boot, connection, bool(ended), version
        )
