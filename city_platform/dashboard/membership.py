"""Which devices there are, as provisioning's device directory tells it: who came, who went.

Open maps are told of both. The directory numbers its changes, so that a page keeps one number, and
gets what came after it; it is looked at only while somebody looks at a map.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

from city_platform.dashboard.columns import state_document
from city_platform.dashboard.following import Bell
from city_platform.dashboard.live_state import LiveState, Sight
from city_platform.stores.device_directory import (
    DeviceDirectory,
    DirectoryChange,
    DirectoryEntry,
)

# Adding a device shows on others' maps after this at the latest; one's own change shows at once.
PAUSE_S: Final = 2.0


class Membership:
    """Follows a directory; without one nothing ever changes. `looked_at`: whether anybody looks."""

    def __init__(
        self, directory: DeviceDirectory | None, bell: Bell, looked_at: Callable[[], bool]
    ) -> None:
        self._directory = directory
        self._bell = bell
        self._looked_at = looked_at
        self._wanted = asyncio.Event()
        self.revision = 0

    def wake(self) -> None:
        """Look soon: devices were changed, or somebody began to look."""
        self._wanted.set()

    async def run(self) -> None:
        """Look while somebody does, until cancelled."""
        while self._directory is not None:
            self._wanted.clear()
            pause_s = None
            if self._looked_at():
                await self.look()
                pause_s = PAUSE_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def look(self) -> int:
        """The directory's revision now; who waits is woken when it is another one."""
        if self._directory is not None:
            try:
                revision = await self._directory.revision()
            except sqlite3.Error:
                # Locked, or on its way: what is known holds until the next look.
                return self.revision
            if revision != self.revision:
                self.revision = revision
                self._bell.ring()
        return self.revision

    async def changes(self, after: int, devices_max: int) -> Sequence[DirectoryChange] | None:
        """What changed after a revision, each device once; None: too many, or unreadable."""
        if self._directory is None:
            return None
        try:
            found = await self._directory.changes(after, devices_max + 1)
        except sqlite3.Error:
            return None
        return None if len(found) > devices_max else found

    def close(self) -> None:
        """Let go of the directory."""
        if self._directory is not None:
            self._directory.close()


def told_changes(
    changes: Sequence[DirectoryChange], state: LiveState, sight: Sight
) -> dict[str, Any] | None:
    """What a reader is told of these; None: a device went of which nobody knows whose it was."""
    added, removed = [], []
    for change in changes:
        if change.entry is not None:
            if sight.sees(change.entry.tenant):
                added.append(_row(change.entry, state, sight))
            elif not _may_name(change.endpoint, state, sight):
                continue
            else:
                # It has become another tenant's.
                removed.append(change.endpoint)
        elif _may_name(change.endpoint, state, sight):
            removed.append(change.endpoint)
        elif state.get(change.endpoint) is None:
            return None
    return {"added": added, "removed": removed}


def _may_name(endpoint: str, state: LiveState, sight: Sight) -> bool:
    """Whether a reader may hear the name of a device that is gone."""
    known = state.get(endpoint)
    return sight.tenants is None or (known is not None and sight.sees(known.tenant))


def _row(entry: DirectoryEntry, state: LiveState, sight: Sight) -> dict[str, Any]:
    return {
        "endpoint": entry.endpoint,
        "longitude": round(entry.longitude, 7),
        "latitude": round(entry.latitude, 7),
        "model": entry.model,
        "tenant": entry.tenant,
        "site": entry.site,
        "street": entry.street,
        **state_document(state.get(entry.endpoint), sight.sees_telemetry(entry.tenant)),
    }
