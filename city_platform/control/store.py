"""Every command for audit, and who holds which device: SQLite, synced on commit.

`synchronous=FULL`: what was kept survives the kill of the process and a power cut.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from city_platform.control.rows import CommandRow, HolderRow
from city_platform.group_commit import GroupCommit, Statement
from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker
from contracts.api import FINAL_COMMAND_STATES, CommandRequest, CommandState
from contracts.data_interface import Outcome

_SCHEMA = """
CREATE TABLE commands (
    id TEXT PRIMARY KEY, endpoint TEXT NOT NULL, request BLOB NOT NULL, state TEXT NOT NULL,
    issued_at_us INTEGER NOT NULL, expires_at_us INTEGER NOT NULL, ended_at_us INTEGER,
    outcome BLOB, sent_to BLOB
) WITHOUT ROWID;
CREATE INDEX commands_by_state ON commands (state);
CREATE INDEX commands_by_device ON commands (endpoint, issued_at_us);
CREATE TABLE holders (
    endpoint TEXT PRIMARY KEY, server TEXT NOT NULL, epoch TEXT NOT NULL,
    registration_id TEXT NOT NULL
) WITHOUT ROWID
"""
# What databases of the first version do not have; made at each opening.
_ADDED_COLUMNS: Final = (
    ("commands", "issued_by", "TEXT NOT NULL DEFAULT 'control'"),
    ("commands", "tenant", "TEXT NOT NULL DEFAULT ''"),
    ("commands", "group_id", "TEXT"),
    ("commands", "cancel_asked_at_us", "INTEGER"),
    ("commands", "waits", "INTEGER NOT NULL DEFAULT 0"),
    ("holders", "registered_at_us", "INTEGER NOT NULL DEFAULT 0"),
)
_ADDED: Final = (
    "CREATE INDEX IF NOT EXISTS commands_by_time ON commands (issued_at_us, id)",
    "CREATE INDEX IF NOT EXISTS commands_by_tenant ON commands (tenant, issued_at_us, id)",
    "CREATE INDEX IF NOT EXISTS commands_of_group ON commands (group_id)"
    " WHERE group_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS states_of_group ON commands (group_id, waits, state)"
    " WHERE group_id IS NOT NULL",
    # A group's request is kept once, and not with each of its commands. One that is not accepted
    # yet is nobody's: its members are still being listed.
    "CREATE TABLE IF NOT EXISTS group_commands (id TEXT PRIMARY KEY, request BLOB NOT NULL,"
    " target BLOB NOT NULL, issued_by TEXT NOT NULL, tenants TEXT NOT NULL,"
    " issued_at_us INTEGER NOT NULL, ends_at_us INTEGER NOT NULL, rate_per_s REAL NOT NULL,"
    " devices INTEGER NOT NULL, cancel_asked_at_us INTEGER, accepted INTEGER NOT NULL DEFAULT 0)"
    " WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS group_commands_by_time ON group_commands (issued_at_us, id)",
)
_COLUMNS = (
    "id, endpoint, request, state, issued_at_us, expires_at_us, ended_at_us, outcome, sent_to, "
    "issued_by, tenant, group_id, cancel_asked_at_us, waits"
)
# What changes while a command comes on; the rest, and its indexes, stay as they were.
_MOVES = ("state", "ended_at_us", "outcome", "sent_to", "cancel_asked_at_us", "waits")
_PUT = (
    f"INSERT INTO commands ({_COLUMNS}) VALUES ({', '.join('?' * 14)}) ON CONFLICT (id) DO UPDATE"
    f" SET {', '.join(f'{name} = excluded.{name}' for name in _MOVES)}"
)
_SELECT = (
    "SELECT c.id, c.endpoint, coalesce(g.request, c.request), c.state, c.issued_at_us,"
    " c.expires_at_us, c.ended_at_us, c.outcome, c.sent_to, c.issued_by, c.tenant, c.group_id,"
    " c.cancel_asked_at_us, c.waits"
    " FROM commands c LEFT JOIN group_commands g ON g.id = c.group_id"
)
_requests = msgspec.json.Decoder(CommandRequest)
_outcomes = msgspec.json.Decoder(Outcome)
_logs = msgspec.json.Decoder(tuple[str, str])

BUSY_TIMEOUT_MS: Final = 1_000
# A commit costs as much as ten commands' rows: at 500 commands a second each is of two or three.
# With ten milliseconds fewer are made, and a command's round trip takes half as long again.
GATHER_S: Final = 0.004
# Own choices: a command's id is in no order, and it is written twice within a second; its pages are
# kept, and go where they belong when most of them are written no more.
CACHE_KIB: Final = 8_192
CHECKPOINT_PAGES: Final = 8_000
OPEN_STATES: Final = sorted({"queued", "sent", "delivered"} - FINAL_COMMAND_STATES)


class CommandQuery(NamedTuple):
    """Which commands are asked for, newest first; what is None is not asked.

    `tenants` None: of all. `before` is (time, id) of the last one that is known.
    """

    endpoint: str | None = None
    tenants: tuple[str, ...] | None = None
    state: CommandState | None = None
    from_us: int | None = None
    to_us: int | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


class CommandStore:
    """Commands by id and holders by endpoint. All raise `sqlite3.Error`."""

    def __init__(self, path: Path) -> None:
        # Commands carry what operators write to devices: nobody else reads them.
        database = open_database(
            path, _SCHEMA, owner_only=True, cache_kib=CACHE_KIB, checkpoint_pages=CHECKPOINT_PAGES
        )
        # Who asks is told soon that the database is locked; what must be kept is tried again.
        database.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _add_what_is_new(database)
        self.commits = GroupCommit(database, Worker("control-commands"), GATHER_S)

    async def open_commands(self) -> list[CommandRow]:
        """Commands without a final state, oldest first, but those that wait for their turn."""
        rows = await self.commits.query(
            f"{_SELECT} WHERE c.state IN (?, ?, ?) AND c.waits = 0 ORDER BY c.issued_at_us, c.id",
            OPEN_STATES,
        )
        return [command_of(row) for row in rows]

    async def find(self, command_id: str) -> CommandRow | None:
        """The command with this id."""
        rows = await self.commits.query(f"{_SELECT} WHERE c.id = ?", (command_id,))
        return command_of(rows[0]) if rows else None

    async def search(self, query: CommandQuery) -> list[CommandRow]:
        """At most `limit` commands, newest first."""
        conditions, values = _conditions(query)
        rows = await self.commits.query(
            f"{_SELECT} WHERE {' AND '.join(conditions)}"
            " ORDER BY c.issued_at_us DESC, c.id DESC LIMIT ?",
            (*values, query.limit),
        )
        return [command_of(row) for row in rows]

    def put(self, row: CommandRow) -> asyncio.Future[None]:
        """Keep a command as it is now; the future is done when that is synced."""
        return self.commits.submit(_PUT, _columns(row))

    def put_behind(self, row: CommandRow, statement: Statement) -> asyncio.Future[None]:
        """The same in one commit with another statement: both are there, or none."""
        return self.commits.submit_all((statement, (_PUT, _columns(row))))

    def put_patiently(self, row: CommandRow) -> asyncio.Future[None]:
        """The same, one future for all that are kept together."""
        return self.commits.submit_patiently(_PUT, _columns(row))

    async def holders(self) -> list[HolderRow]:
        """Who holds which device."""
        rows = await self.commits.query(
            "SELECT endpoint, server, epoch, registration_id, registered_at_us"
            " FROM holders ORDER BY endpoint"
        )
        return [HolderRow(*row) for row in rows]

    def put_holder(self, holder: HolderRow) -> asyncio.Future[None]:
        """Keep who holds a device; one future for all that are kept together."""
        return self.commits.submit_patiently(
            "INSERT OR REPLACE INTO holders"
            " (endpoint, server, epoch, registration_id, registered_at_us) VALUES (?, ?, ?, ?, ?)",
            holder,
        )

    def remove_holder(self, endpoint: str) -> asyncio.Future[None]:
        """Nobody holds the device now."""
        return self.commits.submit_patiently("DELETE FROM holders WHERE endpoint = ?", (endpoint,))

    async def close(self) -> None:
        """Sync what was put and close."""
        await self.commits.close()


def select_commands(conditions: str) -> str:
    """A statement that finds commands; its rows are for `command_of`."""
    return f"{_SELECT} WHERE {conditions}"


def command_of(row: Sequence[Any]) -> CommandRow:
    """The command in a row of `select_commands`."""
    command_id, endpoint, request, state, issued, expires, ended, outcome, sent_to, *more = row
    issued_by, tenant, group_id, cancel_asked_at_us, waits = more
    return CommandRow(
        id=command_id,
        endpoint=endpoint,
        request=_requests.decode(request),
        state=state,
        issued_at_us=issued,
        expires_at_us=expires,
        ended_at_us=ended,
        outcome=None if outcome is None else _outcomes.decode(outcome),
        sent_to=None if sent_to is None else _logs.decode(sent_to),
        issued_by=issued_by,
        tenant=tenant,
        group_id=group_id,
        cancel_asked_at_us=cancel_asked_at_us,
        waits=bool(waits),
    )


def _add_what_is_new(database: sqlite3.Connection) -> None:
    with transaction(database):
        for table, column, kind in _ADDED_COLUMNS:
            known = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            if column not in known:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        for statement in _ADDED:
            database.execute(statement)


def _conditions(query: CommandQuery) -> tuple[list[str], list[Any]]:
    conditions, values = ["1"], list[Any]()
    if query.endpoint is not None:
        conditions.append("c.endpoint = ?")
        values.append(query.endpoint)
    if query.tenants is not None:
        conditions.append(f"c.tenant IN ({', '.join('?' * len(query.tenants))})")
        values += query.tenants
    if query.state is not None:
        conditions.append("c.state = ?")
        values.append(query.state)
    if query.from_us is not None:
        conditions.append("c.issued_at_us >= ?")
        values.append(query.from_us)
    if query.to_us is not None:
        conditions.append("c.issued_at_us < ?")
        values.append(query.to_us)
    if query.before is not None:
        conditions.append("(c.issued_at_us, c.id) < (?, ?)")
        values += query.before
    return conditions, values


def _columns(row: CommandRow) -> tuple[Any, ...]:
    return (
        row.id,
        row.endpoint,
        b"" if row.group_id is not None else msgspec.json.encode(row.request),
        row.state,
        row.issued_at_us,
        row.expires_at_us,
        row.ended_at_us,
        None if row.outcome is None else msgspec.json.encode(row.outcome),
        None if row.sent_to is None else msgspec.json.encode(row.sent_to),
        row.issued_by,
        row.tenant,
        row.group_id,
        row.cancel_asked_at_us,
        row.waits,
    )
