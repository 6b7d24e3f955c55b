"""Where each device stands and whose it is: the interface, and SQLite until the graph comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker

SEARCH_LIMIT_MAX = 10_000

# In the order of a search's answer: its first page must not sort all of a tenant's devices. Made at
# each opening, because databases of the first version do not have them.
_SEARCH_INDEXES = (
    "CREATE INDEX IF NOT EXISTS devices_of_tenant ON devices (tenant, endpoint)",
    "CREATE INDEX IF NOT EXISTS devices_of_site ON devices (tenant, site, endpoint)",
)

_SCHEMA = """
CREATE TABLE devices (
    endpoint TEXT PRIMARY KEY, tenant TEXT NOT NULL, site TEXT NOT NULL, name TEXT NOT NULL,
    model TEXT NOT NULL, serial TEXT NOT NULL, street TEXT NOT NULL, latitude REAL NOT NULL,
    longitude REAL NOT NULL, installed_on TEXT NOT NULL, attributes BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX devices_of_group ON devices (tenant, site, name);
CREATE TABLE attributes (
    endpoint TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (endpoint, name)
) WITHOUT ROWID;
CREATE INDEX devices_of_attribute ON attributes (name, value, endpoint)
"""


# Each device once, in the order of their last changes; a deleted one stays. Whoever keeps something
# that is derived from the directory goes on from the last revision that it has.
_CHANGES = (
    "CREATE TABLE changes (revision INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL"
    " UNIQUE)",
    "INSERT INTO changes (endpoint) SELECT endpoint FROM devices ORDER BY endpoint",
    "CREATE TABLE firmware (endpoint TEXT PRIMARY KEY, version TEXT NOT NULL) WITHOUT ROWID",
)
_CHANGED = "INSERT OR REPLACE INTO changes (endpoint) VALUES (?)"


class DirectoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A device on its pole. Positions are WGS 84 degrees, `installed_on` an ISO 8601 day."""

    endpoint: str
    tenant: str
    site: str
    group: str
    model: str
    serial: str
    street: str
    latitude: float
    longitude: float
    installed_on: str
    attributes: dict[str, str]


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """An area between two parallels and two meridians, in degrees, edges included."""

    south: float
    west: float
    north: float
    east: float


class DeviceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What devices must have; what is None is not asked. `after` continues a search."""

    tenant: str | None = None
    site: str | None = None
    group: str | None = None
    model: str | None = None
    box: Box | None = None
    attributes: Mapping[str, str] = {}
    after: str = ""
    limit: int = 1_000


class DirectoryChange(msgspec.Struct, frozen=True, kw_only=True):
    """The last change of one device. `entry` is None when the device was deleted; `firmware` is
    what it reported, None while it has not."""

    revision: int
    endpoint: str
    entry: DirectoryEntry | None
    firmware: str | None


class DeviceDirectory(Protocol):
    """Devices by endpoint name, and searched by tenant, site, group, position and attributes."""

    async def put(self, entries: Sequence[DirectoryEntry]) -> None:
        """Put or replace all of them, or none."""

    async def get(self, endpoint: str) -> DirectoryEntry | None:
        """The device, or None."""

    async def tenants(self, endpoints: Iterable[str]) -> dict[str, str]:
        """The tenant of each of `endpoints` that exists."""

    async def search(self, query: DeviceQuery) -> list[DirectoryEntry]:
        """At most `query.limit` devices, by endpoint name."""

    async def delete(self, endpoints: Sequence[str]) -> None:
        """Forget these devices, all of them or none; one that is not there does no harm."""

    async def put_firmware(self, endpoint: str, version: str) -> bool:
        """Keep what a device says it runs. False when there is no such device."""

    async def revision(self) -> int:
        """The last change's number; 0 when nothing has ever been put."""

    async def changes(self, after: int, limit: int) -> list[DirectoryChange]:
        """Changes past revision `after`, oldest first: of each device the last one alone."""

    def close(self) -> None:
        """Let go of what is held."""


class SqliteDeviceDirectory:
    """`DeviceDirectory` in one SQLite file; a commit survives a power cut.

    Other processes may read the same file at the same time.
    """

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path, _SCHEMA)
        for index in _SEARCH_INDEXES:
            self._connection.execute(index)
        self._make_changes()
        self._worker = Worker("device-directory")

    async def put(self, entries: Sequence[DirectoryEntry]) -> None:
        """See `DeviceDirectory`."""
        await self._worker.do(self._put, entries)

    async def get(self, endpoint: str) -> DirectoryEntry | None:
        """See `DeviceDirectory`."""
        return await self._worker.do(self._get, endpoint)

    async def tenants(self, endpoints: Iterable[str]) -> dict[str, str]:
        """See `DeviceDirectory`."""
        return await self._worker.do(self._tenants, list(endpoints))

    async def search(self, query: DeviceQuery) -> list[DirectoryEntry]:
        """See `DeviceDirectory`."""
        return await self._worker.do(self._search, query)

    async def delete(self, endpoints: Sequence[str]) -> None:
        """See `DeviceDirectory`."""
        await self._worker.do(self._delete, endpoints)

    async def put_firmware(self, endpoint: str, version: str) -> bool:
        """See `DeviceDirectory`."""
        return await self._worker.do(self._put_firmware, endpoint, version)

    async def revision(self) -> int:
        """See `DeviceDirectory`."""
        return await self._worker.do(self._revision)

    async def changes(self, after: int, limit: int) -> list[DirectoryChange]:
        """See `DeviceDirectory`."""
        return await self._worker.do(self._changes, after, limit)

    def close(self) -> None:
        """See `DeviceDirectory`."""
        self._worker.close()
        self._connection.close()

    def _put(self, entries: Sequence[DirectoryEntry]) -> None:
        with transaction(self._connection) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(entry) for entry in entries],
            )
            connection.executemany(
                "DELETE FROM attributes WHERE endpoint = ?",
                [(entry.endpoint,) for entry in entries],
            )
            connection.executemany(
                "INSERT INTO attributes VALUES (?, ?, ?)",
                [
                    (entry.endpoint, name, value)
                    for entry in entries
                    for name, value in entry.attributes.items()
                ],
            )
            connection.executemany(_CHANGED, [(entry.endpoint,) for entry in entries])

    def _make_changes(self) -> None:
        """Databases of the first version have no log of changes: theirs begins with all devices."""
        wanted = "SELECT 1 FROM sqlite_master WHERE name = 'changes'"
        if self._connection.execute(wanted).fetchone():
            return
        with transaction(self._connection) as connection:
            # Another process may have been first.
            if not connection.execute(wanted).fetchone():
                for statement in _CHANGES:
                    connection.execute(statement)

    def _delete(self, endpoints: Sequence[str]) -> None:
        names = [(endpoint,) for endpoint in endpoints]
        with transaction(self._connection) as connection:
            for table in ("devices", "attributes", "firmware"):
                connection.executemany(f"DELETE FROM {table} WHERE endpoint = ?", names)
            connection.executemany(_CHANGED, names)

    def _put_firmware(self, endpoint: str, version: str) -> bool:
        with transaction(self._connection) as connection:
            there = connection.execute(
                "INSERT INTO firmware SELECT endpoint, ? FROM devices WHERE endpoint = ?"
                " ON CONFLICT (endpoint) DO UPDATE SET version = excluded.version",
                (version, endpoint),
            )
            if there.rowcount:
                connection.execute(_CHANGED, (endpoint,))
        return bool(there.rowcount)

    def _revision(self) -> int:
        row = self._connection.execute("SELECT max(revision) FROM changes").fetchone()
        return row[0] or 0

    def _changes(self, after: int, limit: int) -> list[DirectoryChange]:
        rows = self._connection.execute(
            "SELECT c.revision, c.endpoint, f.version, d.* FROM changes c"
            " LEFT JOIN devices d ON d.endpoint = c.endpoint"
            " LEFT JOIN firmware f ON f.endpoint = c.endpoint"
            " WHERE c.revision > ? ORDER BY c.revision LIMIT ?",
            (after, limit),
        )
        return [
            DirectoryChange(
                revision=revision,
                endpoint=endpoint,
                firmware=firmware,
                entry=None if row[0] is None else _entry(tuple(row)),
            )
            for revision, endpoint, firmware, *row in rows
        ]

    def _get(self, endpoint: str) -> DirectoryEntry | None:
        row = self._connection.execute(
            "SELECT * FROM devices WHERE endpoint = ?", (endpoint,)
        ).fetchone()
        return _entry(row) if row else None

    def _tenants(self, endpoints: list[str]) -> dict[str, str]:
        rows = self._connection.execute(
            "SELECT endpoint, tenant FROM devices"
            " WHERE endpoint IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(endpoints).decode(),),
        )
        return dict(rows)

    def _search(self, query: DeviceQuery) -> list[DirectoryEntry]:
        conditions, values = _conditions(query)
        rows = self._connection.execute(
            f"SELECT * FROM devices WHERE {' AND '.join(conditions)} ORDER BY endpoint LIMIT ?",
            (*values, max(0, min(query.limit, SEARCH_LIMIT_MAX))),
        )
        return [_entry(row) for row in rows]


def _conditions(query: DeviceQuery) -> tuple[list[str], list[str | float]]:
    conditions, values = ["endpoint > ?"], list[str | float]([query.after])
    for column, wanted in (
        ("tenant", query.tenant),
        ("site", query.site),
        ("name", query.group),
        ("model", query.model),
    ):
        if wanted is not None:
            conditions.append(f"{column} = ?")
            values.append(wanted)
    if query.box is not None:
        conditions.append("latitude BETWEEN ? AND ? AND longitude BETWEEN ? AND ?")
        values += [query.box.south, query.box.north, query.box.west, query.box.east]
    for name, value in query.attributes.items():
        conditions.append("endpoint IN (SELECT endpoint FROM attributes WHERE name=? AND value=?)")
        values += [name, value]
    return conditions, values


def _row(entry: DirectoryEntry) -> tuple[str | float | bytes, ...]:
    return (
        entry.endpoint,
        entry.tenant,
        entry.site,
        entry.group,
        entry.model,
        entry.serial,
        entry.street,
        entry.latitude,
        entry.longitude,
        entry.installed_on,
        msgspec.json.encode(entry.attributes),
    )


def _entry(row: tuple[Any, ...]) -> DirectoryEntry:
    endpoint, tenant, site, group, model, serial, street, latitude, longitude, day, attributes = row
    return DirectoryEntry(
        endpoint=endpoint,
        tenant=tenant,
        site=site,
        group=group,
        model=model,
        serial=serial,
        street=street,
        latitude=latitude,
        longitude=longitude,
        installed_on=day,
        attributes=msgspec.json.decode(attributes, type=dict[str, str]),
    )
