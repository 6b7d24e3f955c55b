"""Messages that could not become readings, with bytes and reason: interface and SQLite.

A letter that is put back into the spool is replayed: it stays, with who did it and at which place
of the spool it is now. Whether that helped follows from there: its place is stored, and no letter
came of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import msgspec

from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.telemetry_retention import ROWS_AT_ONCE, Bounds
from city_platform.stores.worker import Worker

DeadLetterReason = Literal[
    "malformed", "claims_another_device", "illegal_topic", "unknown_device", "time_ahead"
]
DeadLetterState = Literal["waiting", "replayed"]
REASONS: Final[tuple[DeadLetterReason, ...]] = get_args(DeadLetterReason)
STATES: Final[tuple[DeadLetterState, ...]] = get_args(DeadLetterState)

_SCHEMA = """
CREATE TABLE dead_letters (
    position INTEGER PRIMARY KEY, reason TEXT NOT NULL, topic TEXT NOT NULL, detail TEXT NOT NULL,
    endpoint TEXT NOT NULL, claimed TEXT NOT NULL, received_us INTEGER NOT NULL,
    payload BLOB NOT NULL
)
"""
# Made at each opening: databases of the first version do not have them.
_STATEMENTS: Final = (
    "CREATE TABLE IF NOT EXISTS replays ("
    " position INTEGER PRIMARY KEY, replayed_us INTEGER NOT NULL, who TEXT NOT NULL,"
    " replayed_as INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS dead_letters_of_device ON dead_letters (endpoint, position)",
)
_LETTER: Final = "d.position, d.reason, d.topic, d.detail, d.endpoint, d.claimed, d.received_us"
_FOUND: Final = (
    f"SELECT {_LETTER}, length(d.payload), r.replayed_us, r.who, r.replayed_as, EXISTS"
    " (SELECT 1 FROM dead_letters again WHERE again.position = r.replayed_as)"
    " FROM dead_letters d LEFT JOIN replays r ON r.position = d.position"
)


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


class LetterReplay(msgspec.Struct, frozen=True, kw_only=True):
    """Who put a letter back, when, and where it is now. `is_refused_again`: another letter came
    of it, at that place."""

    at_us: int
    who: str
    replayed_as: int
    is_refused_again: bool


class FoundLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter without its bytes, and what became of it."""

    position: int
    reason: DeadLetterReason
    topic: str
    detail: str
    endpoint: str
    claimed: str
    received_us: int
    payload_bytes: int
    replay: LetterReplay | None


class LetterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters; what is None is not asked. In the order they came, behind position `after`.

    `from_us` and `to_us` are of the receipt, [from, to).
    """

    reason: DeadLetterReason | None = None
    endpoint: str | None = None
    topic: str | None = None
    state: DeadLetterState | None = None
    from_us: int | None = None
    to_us: int | None = None
    after: int = -1
    limit: int = 100


class DeadLetterStore(Protocol):
    """Dead letters by position; bounded, the oldest go first."""

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep all of them; those that are there already stay as they are."""

    async def read(self, after: int = -1, limit: int = 100) -> list[DeadLetter]:
        """Letters with a position above `after`, in order."""

    def close(self) -> None:
        """Let go of what is held."""


class DeadLetterDesk(Protocol):
    """What people do with dead letters."""

    async def find(self, query: LetterQuery) -> list[FoundLetter]:
        """Letters of a query, in order."""

    async def get(self, position: int) -> DeadLetter | None:
        """One letter with its bytes."""

    async def describe(self, position: int) -> FoundLetter | None:
        """One letter without its bytes, and what became of it."""

    async def note_replay(self, position: int, who: str, at_us: int, replayed_as: int) -> None:
        """Keep that a letter was put back; the first time counts."""

    async def drop(self, position: int) -> bool:
        """Forget a letter; whether there was one."""

    async def sweep(self, bounds: Bounds) -> int:
        """Forget some of what is older or more than it may be; how many: 0 is the end."""


class SqliteDeadLetterStore:
    """`DeadLetterStore` and `DeadLetterDesk` in one SQLite file; a commit survives a power cut.

    A peer that only sends rubbish must not fill the disk: at most `letters_max` are kept.
    """

    def __init__(self, path: Path, letters_max: int = 100_000) -> None:
        self._connection = open_database(path, _SCHEMA)
        for statement in _STATEMENTS:
            self._connection.execute(statement)
        self._letters_max = letters_max
        self._worker = Worker("dead-letters")

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """See `DeadLetterStore`."""
        await self._worker.do(self._put, letters)

    async def read(self, after: int = -1, limit: int = 100) -> list[DeadLetter]:
        """See `DeadLetterStore`."""
        return await self._worker.do(self._read, after, limit)

    async def find(self, query: LetterQuery) -> list[FoundLetter]:
        """See `DeadLetterDesk`."""
        return await self._worker.do(self._find, query)

    async def get(self, position: int) -> DeadLetter | None:
        """See `DeadLetterDesk`."""
        found = await self._worker.do(self._read, position - 1, 1)
        return found[0] if found and found[0].position == position else None

    async def describe(self, position: int) -> FoundLetter | None:
        """See `DeadLetterDesk`."""
        found = await self.find(LetterQuery(after=position - 1, limit=1))
        return found[0] if found and found[0].position == position else None

    async def note_replay(self, position: int, who: str, at_us: int, replayed_as: int) -> None:
        """See `DeadLetterDesk`."""
        await self._worker.do(self._note_replay, position, who, at_us, replayed_as)

    async def drop(self, position: int) -> bool:
        """See `DeadLetterDesk`."""
        return await self._worker.do(self._drop, position)

    async def sweep(self, bounds: Bounds) -> int:
        """See `DeadLetterDesk`."""
        return await self._worker.do(self._sweep, bounds)

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
            last = connection.execute(
                "SELECT position FROM dead_letters ORDER BY position DESC LIMIT 1 OFFSET ?",
                (self._letters_max,),
            ).fetchone()
            if last is not None:
                self._forget("position <= ?", last[0])

    def _read(self, after: int, limit: int) -> list[DeadLetter]:
        rows = self._connection.execute(
            "SELECT * FROM dead_letters WHERE position > ? ORDER BY position LIMIT ?",
            (after, limit),
        )
        fields = DeadLetter.__struct_fields__
        return [DeadLetter(**dict(zip(fields, row, strict=True))) for row in rows]

    def _find(self, query: LetterQuery) -> list[FoundLetter]:
        conditions: list[str] = ["d.position > ?"]
        parameters: list[Any] = [query.after]
        for name, value in (
            ("reason =", query.reason),
            ("endpoint =", query.endpoint),
            ("topic =", query.topic),
            ("received_us >=", query.from_us),
            ("received_us <", query.to_us),
        ):
            if value is not None:
                conditions.append(f"d.{name} ?")
                parameters.append(value)
        if query.state is not None:
            conditions.append(f"r.position IS {'NULL' if query.state == 'waiting' else 'NOT NULL'}")
        rows = self._connection.execute(
            f"{_FOUND} WHERE {' AND '.join(conditions)} ORDER BY d.position LIMIT ?",
            (*parameters, query.limit),
        )
        return [_found(row) for row in rows]

    def _note_replay(self, position: int, who: str, at_us: int, replayed_as: int) -> None:
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO replays VALUES (?, ?, ?, ?)",
                (position, at_us, who, replayed_as),
            )

    def _drop(self, position: int) -> bool:
        with transaction(self._connection):
            return self._forget("position = ?", position) > 0

    def _sweep(self, bounds: Bounds) -> int:
        limits = []
        if bounds.before_us is not None:
            # By receipt, which grows with the position but for what was put back.
            row = self._connection.execute(
                "SELECT max(position) FROM (SELECT position FROM dead_letters"
                " WHERE received_us < ? ORDER BY position LIMIT ?)",
                (bounds.before_us, ROWS_AT_ONCE),
            ).fetchone()
            if row[0] is not None:
                return self._swept("position <= ? AND received_us < ?", row[0], bounds.before_us)
        if bounds.rows_max is not None:
            limits = self._connection.execute(
                "SELECT position FROM dead_letters ORDER BY position DESC LIMIT 1 OFFSET ?",
                (bounds.rows_max,),
            ).fetchall()
        return self._swept("position <= ?", limits[0][0]) if limits else 0

    def _swept(self, condition: str, *parameters: int) -> int:
        with transaction(self._connection):
            return self._forget(
                f"position IN (SELECT position FROM dead_letters WHERE {condition}"
                f" ORDER BY position LIMIT {ROWS_AT_ONCE})",
                *parameters,
            )

    def _forget(self, condition: str, *parameters: int) -> int:
        self._connection.execute(
            "DELETE FROM replays WHERE position IN"
            f" (SELECT position FROM dead_letters WHERE {condition})",
            parameters,
        )
        return self._connection.execute(
            f"DELETE FROM dead_letters WHERE {condition}", parameters
        ).rowcount


def _found(row: Sequence[Any]) -> FoundLetter:
    *letter, at_us, who, replayed_as, is_refused_again = row
    replay = None
    if at_us is not None:
        replay = LetterReplay(
            at_us=at_us, who=who, replayed_as=replayed_as, is_refused_again=bool(is_refused_again)
        )
    names = FoundLetter.__struct_fields__
    return FoundLetter(**dict(zip(names, [*letter, replay], strict=True)))
