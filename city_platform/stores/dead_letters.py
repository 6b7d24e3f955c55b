"""Messages that could not become readings, with bytes and reason: interface and SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker

DeadLetterReason = Literal["malformed", "claims_another_device", "illegal_topic", "unknown_device"]

_SCHEMA = """
CREATE TABLE dead_letters (
    position INTEGER PRIMARY KEY, reason TEXT NOT NULL, topic TEXT NOT NULL, detail TEXT NOT NULL,
    endpoint TEXT NOT NULL, claimed TEXT NOT NULL, received_us INTEGER NOT NULL,
    payload BLOB NOT NULL
)
"""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message as it came. `position` is its place in the spool: a replay changes nothing.

    `endpoint` is the topic's, `claimed` whom the pack said it was from.
    """

    position: int
    reason: DeadLetterReason
    topic: str
    detail: str
    endpoint: str
    claimed: str
    received_us: int
    payload: bytes


class DeadLetterStore(Protocol):
    """Dead letters by position; bounded, the oldest go first."""

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep all of them; those that are there already stay as they are."""

    async def read(self, after: int = -1, limit: int = 100) -> list[DeadLetter]:
        """Letters with a position above `after`, in order."""

    def close(self) -> None:
        """Let go of what is held."""


class SqliteDeadLetterStore:
    """`DeadLetterStore` in one SQLite file; a commit survives a power cut.

    A peer that only sends rubbish must not fill the disk: at most `letters_max` are kept.
    """

    def __init__(self, path: Path, letters_max: int = 100_000) -> None:
        self._connection = open_database(path, _SCHEMA)
        self._letters_max = letters_max
        self._worker = Worker("dead-letters")

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetterStore`."""
        await self._worker.do(self._put, letters)

    async def read(self, after: int = -1, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetterStore`."""
        return await self._worker.do(self._read, after, limit)

    def close(self) -> None:
        """See `DeadLetterStore`."""
        self._worker.close()
        self._connection.close()

    def _put(self, letters: Sequence[DeadLetter]) -> None:
        with transaction(self._connection) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [msgspec.structs.astuple(letter) for letter in letters],
            )
            connection.execute(
                "DELETE FROM dead_letters WHERE position <= ("
                "SELECT position FROM dead_letters ORDER BY position DESC LIMIT 1 OFFSET ?)",
                (self._letters_max,),
            )

    def _read(self, after: int, limit: int) -> list[DeadLetter]:
        rows = self._connection.execute(
            "SELECT * FROM dead_letters WHERE position > ? ORDER BY position LIMIT ?",
            (after, limit),
        )
        fields = DeadLetter.__struct_fields__
        return [DeadLetter(**dict(zip(fields, row, strict=True))) for row in rows]
