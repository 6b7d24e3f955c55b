"""The devices' pre-shared keys and which of them the LwM2M server still has to be told.

One SQLite file that its owner alone can read: the only place on the platform that keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker

_SCHEMA = """
CREATE TABLE keys (
    endpoint TEXT PRIMARY KEY, identity TEXT NOT NULL UNIQUE, key BLOB NOT NULL,
    handed_over INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_to_hand_over ON keys (endpoint) WHERE handed_over = 0
"""


class PreSharedKey(msgspec.Struct, frozen=True):
    """One device's key for DTLS with its LwM2M server; also a line of the server's security API
    (the key as base64)."""

    endpoint: str
    identity: str
    key: bytes

    def __repr__(self) -> str:
        return f"PreSharedKey(endpoint={self.endpoint!r}, identity={self.identity!r}, …)"


class PreSharedKeyStore(Protocol):
    """Keys by endpoint name; an identity belongs to one endpoint."""

    async def put(self, keys: Sequence[PreSharedKey]) -> None:
        """Put or replace all of them, or none; what changed is to be handed over again."""

    async def get(self, endpoints: Iterable[str]) -> dict[str, PreSharedKey]:
        """The keys of those of `endpoints` that have one."""

    async def holders(self, identities: Iterable[str]) -> dict[str, str]:
        """Which endpoint has each of `identities` that is taken."""

    async def to_hand_over(self, after: str, limit: int) -> list[PreSharedKey]:
        """Keys that the server does not have yet, by endpoint name, of endpoints past `after`."""

    async def mark_handed_over(self, keys: Sequence[PreSharedKey]) -> None:
        """The server has these; a key that was changed meanwhile stays to be handed over."""

    async def delete(self, endpoints: Sequence[str]) -> None:
        """Forget these devices' keys, all of them or none; one that is not there does no harm."""

    def close(self) -> None:
        """Let go of what is held."""


class SqlitePreSharedKeyStore:
    """`PreSharedKeyStore` in one owner-only SQLite file; a commit survives a power cut."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path, _SCHEMA, owner_only=True)
        self._worker = Worker("pre-shared-keys")

    async def put(self, keys: Sequence[PreSharedKey]) -> None:
        """See `PreSharedKeyStore`."""
        await self._worker.do(self._put, keys)

    async def get(self, endpoints: Iterable[str]) -> dict[str, PreSharedKey]:
        """See `PreSharedKeyStore`."""
        return await self._worker.do(self._get, list(endpoints))

    async def holders(self, identities: Iterable[str]) -> dict[str, str]:
        """See `PreSharedKeyStore`."""
        return await self._worker.do(self._holders, list(identities))

    async def to_hand_over(self, after: str, limit: int) -> list[PreSharedKey]:
        """See `PreSharedKeyStore`."""
        return await self._worker.do(self._to_hand_over, after, limit)

    async def mark_handed_over(self, keys: Sequence[PreSharedKey]) -> None:
        """See `PreSharedKeyStore`."""
        await self._worker.do(self._mark_handed_over, keys)

    async def delete(self, endpoints: Sequence[str]) -> None:
        """See `PreSharedKeyStore`."""
        await self._worker.do(self._delete, endpoints)

    def close(self) -> None:
        """See `PreSharedKeyStore`."""
        self._worker.close()
        self._connection.close()

    def _put(self, keys: Sequence[PreSharedKey]) -> None:
        with transaction(self._connection) as connection:
            connection.executemany(
                "INSERT INTO keys VALUES (?, ?, ?, 0) ON CONFLICT (endpoint) DO UPDATE"
                " SET identity = excluded.identity, key = excluded.key, handed_over = 0"
                " WHERE identity <> excluded.identity OR key <> excluded.key",
                [(key.endpoint, key.identity, key.key) for key in keys],
            )

    def _delete(self, endpoints: Sequence[str]) -> None:
        with transaction(self._connection) as connection:
            connection.executemany(
                "DELETE FROM keys WHERE endpoint = ?", [(endpoint,) for endpoint in endpoints]
            )

    def _get(self, endpoints: list[str]) -> dict[str, PreSharedKey]:
        rows = self._connection.execute(
            "SELECT endpoint, identity, key FROM keys"
            " WHERE endpoint IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(endpoints).decode(),),
        )
        return {row[0]: PreSharedKey(*row) for row in rows}

    def _holders(self, identities: list[str]) -> dict[str, str]:
        rows = self._connection.execute(
            "SELECT identity, endpoint FROM keys"
            " WHERE identity IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(identities).decode(),),
        )
        return dict(rows)

    def _to_hand_over(self, after: str, limit: int) -> list[PreSharedKey]:
        rows = self._connection.execute(
            "SELECT endpoint, identity, key FROM keys WHERE handed_over = 0"
            " AND endpoint > ? ORDER BY endpoint LIMIT ?",
            (after, limit),
        )
        return [PreSharedKey(*row) for row in rows]

    def _mark_handed_over(self, keys: Sequence[PreSharedKey]) -> None:
        with transaction(self._connection) as connection:
            connection.executemany(
                "UPDATE keys SET handed_over = 1 WHERE endpoint = ? AND identity = ? AND key = ?",
                [(key.endpoint, key.identity, key.key) for key in keys],
            )
