"""The durable form of where each device stands: SQLite, one row a device.

A commit is synced (`synchronous=FULL`): it survives the kill of the process and a power cut.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from city_platform.bootstrap.drives import DeviceStand, Stand
from city_platform.group_commit import GroupCommit
from city_platform.stores.sqlite import open_database
from city_platform.stores.worker import Worker

_SCHEMA = """
CREATE TABLE stands (
    endpoint TEXT PRIMARY KEY, stand TEXT NOT NULL, server TEXT NOT NULL,
    registration_id TEXT NOT NULL, version TEXT NOT NULL, confirmed_version TEXT,
    since_us INTEGER NOT NULL
) WITHOUT ROWID
"""
# `value` of an Enum is computed in Python.
_STAND_NAMES = {stand: stand.value for stand in Stand}
_COLUMNS = "endpoint, stand, server, registration_id, version, confirmed_version, since_us"
_PUT = f"INSERT OR REPLACE INTO stands ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"


class StandStore:
    """Rows by endpoint."""

    def __init__(self, path: Path) -> None:
        self._commits = GroupCommit(open_database(path, _SCHEMA), Worker("bootstrap-stands"))

    async def load(self) -> list[DeviceStand]:
        """All rows."""
        rows = await self._commits.query(f"SELECT {_COLUMNS} FROM stands ORDER BY endpoint")
        names = _COLUMNS.split(", ")
        return [msgspec.convert(dict(zip(names, row, strict=True)), DeviceStand) for row in rows]

    def put(self, row: DeviceStand) -> asyncio.Future[None]:
        """Keep a row; the future is done when it is synced, with all that are kept together.

        Only the PUBACK of an event waits for it: the credentials are on their way before.
        """
        return self._commits.submit_patiently(
            _PUT,
            (
                row.endpoint,
                _STAND_NAMES[row.stand],
                row.server,
                row.registration_id,
                row.version,
                row.confirmed_version,
                row.since_us,
            ),
        )

    async def close(self) -> None:
        """Sync what was put and close."""
        await self._commits.close()
