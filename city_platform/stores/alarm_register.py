"""The episodes of alarms in the telemetry store's database: written with the batch that tells them.

What stands is in memory too, because every boolean reading of a mapped resource is compared with
it. All that writes runs in the store's writing thread, in a transaction that the caller opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from city_platform.stores.alarm_states import (
    AlarmChange,
    AlarmEpisode,
    AlarmLevel,
    AlarmSignal,
    AlarmState,
    FlappingLimits,
    acknowledged,
    changed,
    is_same_episode,
    level_of,
    opened,
    settled,
)
from city_platform.stores.telemetry_records import AlarmRecord, ReadingRecord
from contracts.telemetry import Severity

# Made at each opening: databases of the first version do not have them.
STATEMENTS: Final = (
    "CREATE TABLE IF NOT EXISTS episodes ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL, tenant TEXT NOT NULL,"
    " path TEXT NOT NULL, alarm TEXT NOT NULL, severity TEXT NOT NULL, state TEXT NOT NULL,"
    " is_raised INTEGER NOT NULL, source TEXT NOT NULL, raised_us INTEGER NOT NULL,"
    " changed_us INTEGER NOT NULL, cleared_us INTEGER, received_us INTEGER NOT NULL,"
    " raises INTEGER NOT NULL, value REAL, threshold REAL, acknowledged_us INTEGER,"
    " acknowledged_by TEXT NOT NULL, note TEXT NOT NULL, changes TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS episodes_by_alarm ON episodes (endpoint, path, alarm, id)",
    "CREATE INDEX IF NOT EXISTS episodes_by_tenant ON episodes (tenant, id)",
    "CREATE INDEX IF NOT EXISTS episodes_by_state ON episodes (state, id)",
    "CREATE TABLE IF NOT EXISTS episode_steps ("
    " episode INTEGER NOT NULL, number INTEGER NOT NULL, at_us INTEGER NOT NULL,"
    " state TEXT NOT NULL, who TEXT NOT NULL, note TEXT NOT NULL,"
    " PRIMARY KEY (episode, number)) WITHOUT ROWID",
)
_FIELDS: Final = AlarmEpisode.__struct_fields__
COLUMNS: Final = ", ".join(_FIELDS)
_PUT: Final = (
    f"INSERT OR REPLACE INTO episodes ({COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})"
)
# The table of steps is for people: an episode that goes on for ever does not fill the disk.
STEPS_MAX: Final = 200

_Key = tuple[str, str, str]
Signals = Mapping[tuple[int, int], AlarmSignal]


class AlarmLevelNews(NamedTuple):
    """The standing alarms of a device changed: how bad it looks now."""

    endpoint: str
    tenant: str
    level: AlarmLevel


class AlarmStep(NamedTuple):
    """One change of an episode's state: when (device time; of an acknowledgement ours), who."""

    at_us: int
    state: AlarmState
    who: str
    note: str


class AlarmQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which episodes; what is None is not asked. Newest first; `before` is an id to go on behind.

    `from_us` and `to_us` are of the raising, [from, to). `tenants`: those of the caller.
    """

    tenants: Collection[str] | None = None
    endpoint: str | None = None
    alarm: str | None = None
    states: Sequence[AlarmState] | None = None
    severities: Sequence[Severity] | None = None
    from_us: int | None = None
    to_us: int | None = None
    before: int | None = None
    limit: int = 100


class AlarmRegister:
    """Takes what batches tell of alarms. `news` are levels that changed since they were taken."""

    def __init__(
        self, connection: sqlite3.Connection, signals: Signals, limits: FlappingLimits
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._signals = signals
        # By path: the resource's signal, or None; an installation has some hundred paths.
        self._by_path: dict[str, AlarmSignal | None] = {}
        for statement in STATEMENTS:
            connection.execute(statement)
        self.load()

    def load(self) -> None:
        """Read what stands: at the start, and after a transaction that was taken back."""
        self._news: dict[str, str] = {}
        self._standing: dict[_Key, AlarmEpisode] = {}
        self._of_device: dict[str, dict[object, Severity]] = {}
        for row in self._connection.execute(
            f"SELECT {COLUMNS} FROM episodes WHERE state IN"
            " ('raised', 'acknowledged', 'flapping', 'acknowledged_flapping')"
        ):
            self._stand(read_episode(row))

    @property
    def has_news(self) -> bool:
        """Whether `take_news` would tell anything."""
        return bool(self._news)

    def levels(self) -> list[AlarmLevelNews]:
        """Every device with an alarm that stands."""
        tenants = {episode.endpoint: episode.tenant for episode in self._standing.values()}
        return [self._level(endpoint, tenant) for endpoint, tenant in tenants.items()]

    def take_news(self) -> list[AlarmLevelNews]:
        """Devices whose standing alarms changed since the last call; call it after the commit."""
        news, self._news = self._news, {}
        return [self._level(endpoint, tenant) for endpoint, tenant in news.items()]

    def take_alarms(self, found: Iterable[AlarmRecord], received_us: int) -> None:
        """Alarms as devices sent them, each for the first time."""
        for alarm, _, tenant in found:
            self._take(
                AlarmChange(
                    endpoint=alarm.endpoint, tenant=tenant, path=alarm.path, alarm=alarm.alarm,
                    is_raised=alarm.raised, severity=alarm.severity, time_us=alarm.time_us,
                    received_us=received_us, source="device", value=alarm.value,
                    threshold=alarm.threshold,
                )
            )  # fmt: skip

    def take_readings(self, stored: list[ReadingRecord], received_us: int) -> None:
        """Readings that were stored: those of mapped signals raise and clear alarms."""
        of_device = self._of_device
        for reading in stored:
            # All but a few: no truth value, or false where nothing stands.
            if reading[4] != "boolean" or not (reading[3] or reading[0] in of_device):
                continue
            signal = self._signal(reading.path)
            if signal is None:
                continue
            standing = self._standing.get((reading.endpoint, reading.path, signal.alarm))
            # A signal is a level: only its edges say something.
            if bool(reading.value) is not (standing is not None and standing.is_raised):
                self._take(_signalled(signal, reading, received_us))

    def has_calm(self, now_us: int) -> bool:
        """Whether `settle` would find any."""
        return any(settled(one, now_us, self._limits) is not one for one in self._standing.values())

    def settle(self, now_us: int) -> int:
        """End the flapping of what has been calm; returns how many."""
        found = 0
        for episode in list(self._standing.values()):
            calm = settled(episode, now_us, self._limits)
            if calm is not episode:
                self._put(episode, calm, now_us)
                found += 1
        return found

    def acknowledge(self, number: int, who: str, at_us: int, note: str) -> AlarmEpisode | None:
        """The episode, acknowledged; None when there is none. Again, it changes nothing."""
        row = self._connection.execute(
            f"SELECT {COLUMNS} FROM episodes WHERE id = ?", (number,)
        ).fetchone()
        if row is None:
            return None
        episode = read_episode(row)
        found = acknowledged(episode, who, at_us, note)
        if found is not episode:
            self._put(episode, found, at_us, who, note)
        return found

    def _signal(self, path: str) -> AlarmSignal | None:
        if path not in self._by_path:
            _, object_id, _, resource_id, *rest = path.split("/")
            key = (int(object_id), int(resource_id))
            if len(self._by_path) >= 10_000:
                self._by_path.clear()
            self._by_path[path] = None if rest else self._signals.get(key)
        return self._by_path[path]

    def _take(self, change: AlarmChange) -> None:
        key = (change.endpoint, change.path, change.alarm)
        episode = self._standing.get(key) or self._last(key)
        if episode is not None and is_same_episode(episode, change, self._limits):
            found = changed(episode, change, self._limits)
            if found is not episode:
                self._put(episode, found, change.time_us)
        elif change.is_raised and (episode is None or episode.changed_us < change.time_us):
            self._put(None, opened(change, self._next_id()), change.time_us)

    def _last(self, key: _Key) -> AlarmEpisode | None:
        row = self._connection.execute(
            f"SELECT {COLUMNS} FROM episodes WHERE endpoint = ? AND path = ? AND alarm = ?"
            " ORDER BY id DESC LIMIT 1",
            key,
        ).fetchone()
        return None if row is None else read_episode(row)

    def _next_id(self) -> int:
        row = self._connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'episodes'"
        ).fetchone()
        return 1 if row is None else int(row[0]) + 1

    def _put(
        self,
        before: AlarmEpisode | None,
        episode: AlarmEpisode,
        at_us: int,
        who: str = "",
        note: str = "",
    ) -> None:
        row = list(msgspec.structs.astuple(episode))
        row[-1] = ",".join(map(str, episode.changes))
        self._connection.execute(_PUT, row)
        if before is None or before.state != episode.state:
            self._connection.execute(
                "INSERT INTO episode_steps SELECT ?, count(*), ?, ?, ?, ? FROM episode_steps"
                " WHERE episode = ? HAVING count(*) < ?",
                (episode.id, at_us, episode.state, who, note, episode.id, STEPS_MAX),
            )
        self._stand(episode)
        self._news[episode.endpoint] = episode.tenant

    def _stand(self, episode: AlarmEpisode) -> None:
        severities = self._of_device.setdefault(episode.endpoint, {})
        if episode.is_standing:
            self._standing[episode.key] = episode
            severities[episode.key] = episode.severity
            return
        self._standing.pop(episode.key, None)
        severities.pop(episode.key, None)
        if not severities:
            del self._of_device[episode.endpoint]

    def _level(self, endpoint: str, tenant: str) -> AlarmLevelNews:
        return AlarmLevelNews(endpoint, tenant, level_of(self._of_device.get(endpoint, {})))


def find_episodes(connection: sqlite3.Connection, query: AlarmQuery) -> list[AlarmEpisode]:
    """Episodes of a query, newest first."""
    conditions, parameters = _conditions(query)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM episodes {where} ORDER BY id DESC LIMIT ?",
        (*parameters, query.limit),
    )
    return [read_episode(row) for row in rows]


def standing_of(connection: sqlite3.Connection, endpoint: str) -> list[AlarmEpisode]:
    """The episodes of a device that are not closed, newest first, at most 100."""
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM episodes WHERE endpoint = ? AND state <> 'closed'"
        " ORDER BY id DESC LIMIT 100",
        (endpoint,),
    )
    return [read_episode(row) for row in rows]


def steps_of(connection: sqlite3.Connection, number: int) -> list[AlarmStep]:
    """The changes of an episode's state, in order."""
    rows = connection.execute(
        "SELECT at_us, state, who, note FROM episode_steps WHERE episode = ? ORDER BY number",
        (number,),
    )
    return [AlarmStep(*row) for row in rows]


def read_episode(row: Sequence[Any]) -> AlarmEpisode:
    """An episode from its row."""
    fields = dict(zip(_FIELDS, row, strict=True))
    fields["is_raised"] = bool(fields["is_raised"])
    fields["changes"] = tuple(int(one) for one in fields["changes"].split(",") if one)
    return AlarmEpisode(**fields)


def _signalled(signal: AlarmSignal, reading: ReadingRecord, received_us: int) -> AlarmChange:
    return AlarmChange(
        endpoint=reading.endpoint, tenant=reading.tenant, path=reading.path, alarm=signal.alarm,
        is_raised=bool(reading.value), severity=signal.severity, time_us=reading.time_us,
        received_us=received_us, source="signal",
    )  # fmt: skip


def _conditions(query: AlarmQuery) -> tuple[list[str], list[Any]]:
    found: list[tuple[str, Sequence[Any]]] = []
    for name, given in (
        ("tenant", query.tenants),
        ("state", query.states),
        ("severity", query.severities),
    ):
        if given is not None:
            found.append((f"{name} IN ({', '.join('?' * len(given))})", sorted(given)))
    for name, value in (
        ("endpoint =", query.endpoint),
        ("alarm =", query.alarm),
        ("raised_us >=", query.from_us),
        ("raised_us <", query.to_us),
        ("id <", query.before),
    ):
        if value is not None:
            found.append((f"{name} ?", [value]))
    return [text for text, _ in found], [value for _, values in found for value in values]
