"""Whose a device is, by provisioning's directory: remembered until the directory's log of changes
names the device.

Who asks for one device at a time, a thousand times a second, does not read a database each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from city_platform.stores.device_directory import SqliteDeviceDirectory

# How old what is remembered may be: so often the log of changes is read.
CHECKED_S: Final = 10.0
# Own choices: a device is some 200 bytes, and of more changes all is forgotten at once.
REMEMBERED_MAX: Final = 50_000
CHANGES_MAX: Final = 1_000


class Directory:
    """The tenants of devices, at most ten seconds old; who is not there is asked for each time.

    Without a file nobody's device is known.
    """

    def __init__(self, file: str | None, now_ns: Callable[[], int]) -> None:
        self._directory = None if file is None else SqliteDeviceDirectory(Path(file))
        self._now_ns = now_ns
        self._tenants: dict[str, str] = {}
        self._revision: int | None = None
        self._fresh_until_ns = 0
        self._asked: list[str] = []
        self._reading: asyncio.Future[dict[str, str]] | None = None
        self._at_work: set[asyncio.Future[dict[str, str]]] = set()
        self._turn = asyncio.Lock()

    def remembered(self, endpoint: str) -> str | None:
        """The tenant, where it is known without asking; None says nothing."""
        return self._tenants.get(endpoint) if self._now_ns() < self._fresh_until_ns else None

    async def tenant_of(self, endpoint: str) -> str | None:
        """The tenant; None when the device is not known. Raises `sqlite3.Error`."""
        found = self.remembered(endpoint)
        if found is not None or self._directory is None:
            return found
        self._asked.append(endpoint)
        if self._reading is None:
            # All who ask until the directory has been read for those before are asked for at once.
            self._reading = asyncio.ensure_future(self._read(self._directory))
            self._at_work.add(self._reading)
            self._reading.add_done_callback(self._at_work.discard)
        return (await asyncio.shield(self._reading)).get(endpoint)

    def close(self) -> None:
        """Let go of the directory."""
        for reading in list(self._at_work):
            reading.cancel()
        if self._directory is not None:
            self._directory.close()

    async def _read(self, directory: SqliteDeviceDirectory) -> dict[str, str]:
        async with self._turn:
            asked, self._asked, self._reading = self._asked, [], None
            if self._now_ns() >= self._fresh_until_ns:
                await self._forget_changed(directory)
            remembered = self._tenants
            found = {name: remembered[name] for name in asked if name in remembered}
            if len(found) < len(asked):
                missing = [name for name in dict.fromkeys(asked) if name not in found]
                told = await directory.tenants(missing)
                self._remember(told)
                found |= told
            return found

    async def _forget_changed(self, directory: SqliteDeviceDirectory) -> None:
        # The time before the log is read, and the log before any device.
        now_ns = self._now_ns()
        known = self._revision
        changes = [] if known is None else await directory.changes(known, CHANGES_MAX)
        if known is None or len(changes) == CHANGES_MAX:
            self._revision = await directory.revision()
            self._tenants.clear()
        for change in changes:
            self._tenants.pop(change.endpoint, None)
            self._revision = max(self._revision or 0, change.revision)
        self._fresh_until_ns = now_ns + int(CHECKED_S * 1e9)

    def _remember(self, told: dict[str, str]) -> None:
        if len(self._tenants) + len(told) > REMEMBERED_MAX:
            self._tenants.clear()
        self._tenants |= told
