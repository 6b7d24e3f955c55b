"""The audit log, searchable: the interface, and SQLite whose rows nobody changes or removes.

A commit survives a power cut. Triggers refuse UPDATE and DELETE: they stop mistakes; whoever opens
the file with another program is found by the chain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from city_platform.audit.chain import ChainHead, extend
from city_platform.audit.entries import AuditEntry
from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker

SEARCH_LIMIT_MAX = 1_000
# Own choices: an entry has its place in seven trees, mostly by names in no order. What is kept of
# them need not be read again, and what is written again and again goes to its place less often.
CACHE_KIB = 16_384
CHECKPOINT_PAGES = 8_000

_SCHEMA = """
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_us INTEGER NOT NULL,
    operation TEXT NOT NULL, outcome TEXT NOT NULL, source TEXT NOT NULL, who TEXT NOT NULL,
    tenant TEXT NOT NULL, device TEXT NOT NULL, reference TEXT NOT NULL, line BLOB NOT NULL
);
CREATE INDEX entries_by_who ON entries (who, sequence);
CREATE INDEX entries_by_device ON entries (device, sequence);
CREATE INDEX entries_by_reference ON entries (reference, sequence);
CREATE INDEX entries_by_tenant ON entries (tenant, sequence);
CREATE INDEX entries_by_time ON entries (at_us, sequence);
CREATE TABLE archived (only INTEGER PRIMARY KEY CHECK (only = 1), sequence INTEGER NOT NULL);
INSERT INTO archived VALUES (1, 0)
"""
_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS {name} BEFORE {what} ON entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
"""
_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_KNOWS_COMMAND = (
    "SELECT 1 FROM entries WHERE reference = ? AND source = 'topic' AND outcome = 'published'"
    " LIMIT 1"
)
_FIELDS = "e.sequence, e.id, e.at_us, e.operation, e.outcome, e.source, e.who, e.tenant, e.device, \
e.reference, e.line"
# Who asked for a command is known by the control API alone; a topic tells only what was claimed.
# Control's word alone says who asked for a command: what a topic claims may be anybody's. A member
# of a group command has the group's id, a hyphen and six digits.
_ATTRIBUTED = (
    "SELECT a.who FROM entries a WHERE a.reference IN (e.reference, CASE WHEN e.reference GLOB"
    " '*-[0-9][0-9][0-9][0-9][0-9][0-9]' THEN substr(e.reference, 1, length(e.reference) - 7)"
    " ELSE e.reference END) AND a.reference <> ''"
    " AND a.source = 'control' AND a.who <> '' ORDER BY a.sequence LIMIT 1"
)
_KNOWN = f"coalesce(({_ATTRIBUTED}), CASE e.source WHEN 'topic' THEN '' ELSE e.who END)"


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What entries must have; what is None is not asked. Newest first.

    `before` continues a search: only entries with a lower sequence. `operation` may end with `*`.
    With `is_attributed` False: commands that nobody asked the control API for.
    """

    who: str | None = None
    device: str | None = None
    operation: str | None = None
    outcome: str | None = None
    reference: str | None = None
    source: str | None = None
    tenants: Collection[str] | None = None
    from_us: int | None = None
    to_us: int | None = None
    is_attributed: bool | None = None
    before: int | None = None
    limit: int = 100


class FoundEntry(NamedTuple):
    """An entry, its place, its hash chain line, and who asked for it where that is known."""

    sequence: int
    entry: AuditEntry
    line: bytes
    attributed_to: str


class AuditLog(Protocol):
    """Entries in their order; they are added and never changed."""

    async def append(self, entries: Sequence[AuditEntry], ends: Collection[str] = ()) -> ChainHead:
        """Keep those whose ids are new; the head behind them, when that is synced.

        Those whose ids are in `ends` say how commands ended: they are kept only behind an entry
        that says that their command was published.
        """

    async def head(self) -> ChainHead:
        """Where the chain has come."""

    async def hash_at(self, sequence: int) -> str | None:
        """The hash of one entry, None when there is none."""

    async def has(self, entry_id: str) -> bool:
        """Whether an entry with this id was kept."""

    async def search(self, query: AuditQuery) -> list[FoundEntry]:
        """At most `query.limit` entries, newest first."""

    async def lines(self, after: int, limit: int) -> list[bytes]:
        """Lines behind a sequence, oldest first."""

    async def archived(self) -> int:
        """Up to which sequence the log is archived."""

    async def set_archived(self, sequence: int) -> None:
        """Keep that."""

    def close(self) -> None:
        """Let go of what is held."""


class SqliteAuditLog:
    """`AuditLog` in one SQLite file that its owner alone can read."""

    def __init__(self, path: Path, begin: ChainHead) -> None:
        self._connection = open_database(
            path, _SCHEMA, owner_only=True, cache_kib=CACHE_KIB, checkpoint_pages=CHECKPOINT_PAGES
        )
        for name, what in (("entries_stay", "DELETE"), ("entries_are_not_changed", "UPDATE")):
            self._connection.execute(_TRIGGER.format(name=name, what=what))
        self._worker = Worker("audit-log")
        self._begin = begin

    async def append(self, entries: Sequence[AuditEntry], ends: Collection[str] = ()) -> ChainHead:
        """See `AuditLog`."""
        return await self._worker.do(self._append, entries, ends)

    async def head(self) -> ChainHead:
        """See `AuditLog`."""
        return await self._worker.do(self._head)

    async def hash_at(self, sequence: int) -> str | None:
        """See `AuditLog`."""
        if not sequence:
            return self._begin.hash
        rows = await self._query("SELECT line FROM entries WHERE sequence = ?", (sequence,))
        return _hash_of(rows[0][0]) if rows else None

    async def has(self, entry_id: str) -> bool:
        """See `AuditLog`."""
        return bool(await self._query("SELECT 1 FROM entries WHERE id = ?", (entry_id,)))

    async def search(self, query: AuditQuery) -> list[FoundEntry]:
        """See `AuditLog`."""
        conditions, parameters = _conditions(query)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        limit = max(1, min(query.limit, SEARCH_LIMIT_MAX))
        rows = await self._query(
            f"SELECT {_FIELDS}, coalesce(({_ATTRIBUTED}), '') FROM entries e {where}"
            " ORDER BY e.sequence DESC LIMIT ?",
            (*parameters, limit),
        )
        return [_found(row) for row in rows]

    async def lines(self, after: int, limit: int) -> list[bytes]:
        """See `AuditLog`."""
        rows = await self._query(
            "SELECT line FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit)
        )
        return [row[0] for row in rows]

    async def archived(self) -> int:
        """See `AuditLog`."""
        return int((await self._query("SELECT sequence FROM archived"))[0][0])

    async def set_archived(self, sequence: int) -> None:
        """See `AuditLog`."""
        await self._worker.do(self._set_archived, sequence)

    def close(self) -> None:
        """See `AuditLog`."""
        self._worker.close()
        self._connection.close()

    async def _query(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return await self._worker.do(
            lambda: self._connection.execute(statement, parameters).fetchall()
        )

    def _head(self) -> ChainHead:
        row = self._connection.execute(
            "SELECT sequence, line FROM entries ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        return ChainHead(row[0], _hash_of(row[1])) if row else self._begin

    def _append(self, entries: Sequence[AuditEntry], ends: Collection[str]) -> ChainHead:
        with transaction(self._connection) as connection:
            head = self._head()
            execute = connection.execute
            for entry in entries:
                if entry.id in ends and not execute(_KNOWS_COMMAND, (entry.reference,)).fetchone():
                    continue
                line, next_head = extend(head, entry)
                if execute(_INSERT, _row(next_head.sequence, entry, line)).rowcount:
                    head = next_head
        return head

    def _set_archived(self, sequence: int) -> None:
        with transaction(self._connection) as connection:
            connection.execute("UPDATE archived SET sequence = ?", (sequence,))


def _row(sequence: int, entry: AuditEntry, line: bytes) -> tuple[Any, ...]:
    return (
        sequence, entry.id, entry.at_us, entry.operation, entry.outcome, entry.source, entry.who,
        entry.tenant, entry.device, entry.reference, line,
    )  # fmt: skip


def _found(row: tuple[Any, ...]) -> FoundEntry:
    sequence, *_, line, attributed_to = row
    entry = msgspec.json.decode(line, type=_Line).entry
    return FoundEntry(sequence, entry, line, attributed_to)


class _Line(msgspec.Struct, frozen=True):
    """As much of a line as a search needs; its hash is the verifier's business."""

    entry: AuditEntry


def _hash_of(line: bytes) -> str:
    # `…,"hash":"<64>"}`
    return line[-66:-2].decode("ascii")


def _conditions(query: AuditQuery) -> tuple[list[str], list[Any]]:
    found: list[tuple[str, list[Any]]] = []
    for name in ("device", "outcome", "reference", "source"):
        if (value := getattr(query, name)) is not None:
            found.append((f"e.{name} = ?", [value]))
    if query.who is not None:
        found.append((f"(e.who = ? OR ({_ATTRIBUTED}) = ?)", [query.who, query.who]))
    if query.operation is not None:
        found.append(_operation_condition(query.operation))
    if query.tenants is not None:
        tenants = sorted(query.tenants)
        found.append((f"e.tenant IN ({', '.join('?' * len(tenants))})", [*tenants]))
    if query.is_attributed is not None:
        sign = "<>" if query.is_attributed else "="
        found.append((f"{_KNOWN} {sign} ''", []))
        if not query.is_attributed:
            found.append(("e.source = 'topic'", []))
    bounds = (("at_us >=", query.from_us), ("at_us <=", query.to_us), ("sequence <", query.before))
    found += [(f"e.{name} ?", [value]) for name, value in bounds if value is not None]
    return [text for text, _ in found], [value for _, values in found for value in values]


def _operation_condition(operation: str) -> tuple[str, list[Any]]:
    if not operation.endswith("*"):
        return "e.operation = ?", [operation]
    begin = operation[:-1]
    return "substr(e.operation, 1, ?) = ?", [len(begin), begin]
