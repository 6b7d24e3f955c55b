"""Every command for audit, and who holds which device: SQLite, synced on commit.

`synchronous=FULL`: what was kept survives the kill of the process and a power cut.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from city_platform.control.desk import CommandRow, HolderRow
from city_platform.group_commit import GroupCommit
from city_platform.stores.sqlite import open_database
from city_platform.stores.worker import Worker
from contracts.api import FINAL_COMMAND_STATES, CommandRequest
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
_COLUMNS = (
    "id, endpoint, request, state, issued_at_us, expires_at_us, ended_at_us, outcome, sent_to"
)
_PUT = f"INSERT OR REPLACE INTO commands ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_requests = msgspec.json.Decoder(CommandRequest)
_outcomes = msgspec.json.Decoder(Outcome)
_logs = msgspec.json.Decoder(tuple[str, str])


class CommandStore:
    """Commands by id and holders by endpoint."""

    def __init__(self, path: Path) -> None:
        # Commands carry what operators write to devices: nobody else reads them.
        database = open_database(path, _SCHEMA, owner_only=True)
        self._commits = GroupCommit(database, Worker("control-commands"))

    async def open_commands(self) -> list[CommandRow]:
        """Commands without a final state, oldest first."""
        final = sorted(FINAL_COMMAND_STATES)
        marks = ", ".join("?" * len(final))
        rows = await self._commits.query(
            f"SELECT {_COLUMNS} FROM commands WHERE state NOT IN ({marks}) ORDER BY issued_at_us",
            final,
        )
        return [_command(row) for row in rows]

    async def find(self, command_id: str) -> CommandRow | None:
        """The command with this id."""
        rows = await self._commits.query(
            f"SELECT {_COLUMNS} FROM commands WHERE id = ?", (command_id,)
        )
        return _command(rows[0]) if rows else None

    def put(self, row: CommandRow) -> asyncio.Future[None]:
        """Keep a command as it is now; the future is done when that is synced."""
        return self._commits.submit(_PUT, _columns(row))

    def put_patiently(self, row: CommandRow) -> asyncio.Future[None]:
        """The same, one future for all that are kept together."""
        return self._commits.submit_patiently(_PUT, _columns(row))

    async def holders(self) -> list[HolderRow]:
        """Who holds which device."""
        rows = await self._commits.query(
            "SELECT endpoint, server, epoch, registration_id FROM holders ORDER BY endpoint"
        )
        return [HolderRow(*row) for row in rows]

    def put_holder(self, holder: HolderRow) -> asyncio.Future[None]:
        """Keep who holds a device; one future for all that are kept together."""
        return self._commits.submit_patiently(
            "INSERT OR REPLACE INTO holders (endpoint, server, epoch, registration_id) "
            "VALUES (?, ?, ?, ?)",
            holder,
        )

    def remove_holder(self, endpoint: str) -> asyncio.Future[None]:
        """Nobody holds the device now."""
        return self._commits.submit_patiently("DELETE FROM holders WHERE endpoint = ?", (endpoint,))

    async def close(self) -> None:
        """Sync what was put and close."""
        await self._commits.close()


def _columns(row: CommandRow) -> tuple[Any, ...]:
    return (
        row.id,
        row.endpoint,
        msgspec.json.encode(row.request),
        row.state,
        row.issued_at_us,
        row.expires_at_us,
        row.ended_at_us,
        None if row.outcome is None else msgspec.json.encode(row.outcome),
        None if row.sent_to is None else msgspec.json.encode(row.sent_to),
    )


def _command(row: tuple[Any, ...]) -> CommandRow:
    command_id, endpoint, request, state, issued, expires, ended, outcome, sent_to = row
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
    )
