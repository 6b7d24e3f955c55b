"""What became of every certificate, which devices are due for another, and which are on their way
out: tables beside the things, in the same file, so that they change together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, cast

import msgspec

from city_platform.stores.certificate_states import (
    CertificateEvent,
    next_state,
)
from city_platform.stores.sqlite import transaction
from city_platform.stores.worker import Worker
from contracts.api import CertificateState, RevocationReason

LIST_LIMIT_MAX: Final = 1_000

# Made at each opening: databases of the first version do not have them. A certificate without a row
# in `certificate_states` is active or superseded, as its own row says.
SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS certificate_states ("
    " sha256 TEXT PRIMARY KEY, state TEXT NOT NULL, since_us INTEGER NOT NULL,"
    " reason TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS certificates_by_state ON certificate_states (state, sha256)",
    "CREATE INDEX IF NOT EXISTS certificates_by_expiry ON certificates (expires_at_us)",
    "CREATE TABLE IF NOT EXISTS rotations_due (thing TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS removals ("
    " thing TEXT PRIMARY KEY, who TEXT NOT NULL, steps_done INTEGER NOT NULL) WITHOUT ROWID",
)
_STATE: Final = (
    "coalesce(s.state, CASE WHEN c.active = 1 AND c.sha256 = t.certificate"
    " THEN 'active' ELSE 'superseded' END)"
)
_FROM: Final = (
    " FROM certificates c LEFT JOIN certificate_states s ON s.sha256 = c.sha256"
    " LEFT JOIN things t ON t.name = c.thing"
)
_RECORD: Final = (
    f"SELECT c.sha256, c.thing, c.der, c.expires_at_us, {_STATE},"
    " coalesce(s.since_us, 0), coalesce(s.reason, '')" + _FROM
)


class CertificateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate and what became of it. `since_us` is 0 while nobody has looked at it."""

    sha256: str
    thing: str
    der: bytes
    expires_at_us: int
    state: CertificateState
    since_us: int
    reason: str


class CertificateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What certificates must have; what is None is not asked. `after` is a digest to go on
    behind."""

    thing: str | None = None
    state: CertificateState | None = None
    expires_before_us: int | None = None
    since_before_us: int | None = None
    after: str = ""
    limit: int = 100


class Removal(msgspec.Struct, frozen=True):
    """A device on its way out, who asked for it, and how many steps are done."""

    thing: str
    who: str
    steps_done: int


class CertificateRegister(Protocol):
    """Certificates by their SHA-256."""

    async def certificates(self, query: CertificateQuery) -> list[CertificateRecord]:
        """By digest, at most `query.limit`."""

    async def certificate(self, sha256: str) -> CertificateRecord | None:
        """One, or None."""

    async def note_superseded(self, sha256s: Sequence[str], at_us: int) -> None:
        """These were replaced (a thing was put with another one), and that was seen now; what was
        told of one before stays."""

    async def tell(
        self,
        sha256s: Sequence[str],
        event: CertificateEvent,
        at_us: int,
        reason: RevocationReason | None = None,
    ) -> None:
        """Something became of these, all or none. Raises `ImpossibleCertificateEvent`, and
        `KeyError` for one that nobody knows."""

    async def blocked(self, things: Iterable[str]) -> set[str]:
        """Those whose own certificate was revoked and not replaced."""

    async def add_rotations(self, things: Sequence[str]) -> None:
        """These are to get another certificate."""

    async def rotations(self, limit: int) -> list[str]:
        """The next that are to get another certificate, by name."""

    async def end_rotations(self, things: Sequence[str]) -> None:
        """These have it, or cannot have one."""

    async def begin_removal(self, thing: str, who: str) -> Removal:
        """Keep that a device is to go; the one that was begun before, if it was."""

    async def end_removal_step(self, thing: str, steps_done: int) -> None:
        """Keep how far it is."""

    async def removals(self) -> list[Removal]:
        """All that have begun and not ended."""

    async def end_removal(self, thing: str) -> None:
        """Forget the thing, its groups, its policy and its removal; its certificates' states stay,
        so that the list of revoked ones stays whole."""


class SqliteCertificateRegister:
    """`CertificateRegister` in the thing registry's database, with its worker."""

    def __init__(self, connection: sqlite3.Connection, worker: Worker) -> None:
        self._connection = connection
        self._worker = worker
        for statement in SCHEMA:
            connection.execute(statement)

    async def certificates(self, query: CertificateQuery) -> list[CertificateRecord]:
        """See `CertificateRegister`."""
        return await self._worker.do(self._certificates, query)

    async def certificate(self, sha256: str) -> CertificateRecord | None:
        """See `CertificateRegister`."""
        rows = await self._worker.do(self._all, f"{_RECORD} WHERE c.sha256 = ?", (sha256,))
        return _record(rows[0]) if rows else None

    async def note_superseded(self, sha256s: Sequence[str], at_us: int) -> None:
        """See `CertificateRegister`."""
        await self._worker.do(
            self._many,
            "INSERT OR IGNORE INTO certificate_states VALUES (?, 'superseded', ?, '')",
            [(sha256, at_us) for sha256 in sha256s],
        )

    async def tell(
        self,
        sha256s: Sequence[str],
        event: CertificateEvent,
        at_us: int,
        reason: RevocationReason | None = None,
    ) -> None:
        """See `CertificateRegister`."""
        await self._worker.do(self._tell, sha256s, event, at_us, reason or "")

    async def blocked(self, things: Iterable[str]) -> set[str]:
        """See `CertificateRegister`."""
        names = msgspec.json.encode(list(things)).decode()
        rows = await self._worker.do(
            self._all,
            "SELECT t.name FROM things t JOIN certificate_states s ON s.sha256 = t.certificate"
            " WHERE s.state = 'revoked' AND t.name IN (SELECT value FROM json_each(?))",
            (names,),
        )
        return {name for (name,) in rows}

    async def add_rotations(self, things: Sequence[str]) -> None:
        """See `CertificateRegister`."""
        await self._worker.do(
            self._many, "INSERT OR IGNORE INTO rotations_due VALUES (?)", [(n,) for n in things]
        )

    async def rotations(self, limit: int) -> list[str]:
        """See `CertificateRegister`."""
        rows = await self._worker.do(
            self._all, "SELECT thing FROM rotations_due ORDER BY thing LIMIT ?", (limit,)
        )
        return [name for (name,) in rows]

    async def end_rotations(self, things: Sequence[str]) -> None:
        """See `CertificateRegister`."""
        await self._worker.do(
            self._many, "DELETE FROM rotations_due WHERE thing = ?", [(name,) for name in things]
        )

    async def begin_removal(self, thing: str, who: str) -> Removal:
        """See `CertificateRegister`."""
        await self._worker.do(
            self._many, "INSERT OR IGNORE INTO removals VALUES (?, ?, 0)", [(thing, who)]
        )
        rows = await self._worker.do(self._all, "SELECT * FROM removals WHERE thing = ?", (thing,))
        return Removal(*rows[0])

    async def end_removal_step(self, thing: str, steps_done: int) -> None:
        """See `CertificateRegister`."""
        await self._worker.do(
            self._many, "UPDATE removals SET steps_done = ? WHERE thing = ?", [(steps_done, thing)]
        )

    async def removals(self) -> list[Removal]:
        """See `CertificateRegister`."""
        rows = await self._worker.do(self._all, "SELECT * FROM removals ORDER BY thing", ())
        return [Removal(*row) for row in rows]

    async def end_removal(self, thing: str) -> None:
        """See `CertificateRegister`."""
        await self._worker.do(self._end_removal, thing)

    def _all(self, statement: str, values: Sequence[Any]) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def _many(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with transaction(self._connection) as connection:
            connection.executemany(statement, rows)

    def _certificates(self, query: CertificateQuery) -> list[CertificateRecord]:
        conditions, values = ["c.sha256 > ?"], list[str | int]([query.after])
        for condition, wanted in (
            ("c.thing = ?", query.thing),
            (f"{_STATE} = ?", query.state),
            ("c.expires_at_us < ?", query.expires_before_us),
            ("coalesce(s.since_us, 0) < ?", query.since_before_us),
        ):
            if wanted is not None:
                conditions.append(condition)
                values.append(wanted)
        rows = self._all(
            f"{_RECORD} WHERE {' AND '.join(conditions)} ORDER BY c.sha256 LIMIT ?",
            (*values, max(1, min(query.limit, LIST_LIMIT_MAX))),
        )
        return [_record(row) for row in rows]

    def _tell(
        self, sha256s: Sequence[str], event: CertificateEvent, at_us: int, reason: str
    ) -> None:
        with transaction(self._connection) as connection:
            for sha256 in sha256s:
                row = connection.execute(f"{_RECORD} WHERE c.sha256 = ?", (sha256,)).fetchone()
                if row is None:
                    raise KeyError(sha256)
                state = next_state(_record(row).state, event)
                connection.execute(
                    "INSERT OR REPLACE INTO certificate_states VALUES (?, ?, ?, ?)",
                    (sha256, state, at_us, reason),
                )

    def _end_removal(self, thing: str) -> None:
        with transaction(self._connection) as connection:
            row = connection.execute("SELECT policy FROM things WHERE name = ?", (thing,))
            for (policy,) in row.fetchall():
                connection.execute("DELETE FROM policies WHERE name = ?", (policy,))
            for table, column in (
                ("group_members", "thing"),
                ("rotations_due", "thing"),
                ("things", "name"),
                ("removals", "thing"),
            ):
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (thing,))
            connection.execute("UPDATE certificates SET active = 0 WHERE thing = ?", (thing,))


def _record(row: tuple[Any, ...]) -> CertificateRecord:
    sha256, thing, der, expires_at_us, state, since_us, reason = row
    return CertificateRecord(
        sha256=sha256,
        thing=thing,
        der=der,
        expires_at_us=expires_at_us,
        state=cast(CertificateState, state),
        since_us=since_us,
        reason=reason,
    )
