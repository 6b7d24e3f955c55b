"""Group commands and their members, in the database of the commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from city_platform.control.rows import CommandRow, GroupRow, Member, Progress
from city_platform.control.store import OPEN_STATES, CommandStore, command_of, select_commands
from contracts.api import CommandRequest, CommandState, CommandTarget

# Rows that one statement changes: others wait for the database meanwhile.
CHANGED_AT_ONCE: Final = 2_000
_COLUMNS: Final = (
    "id, request, target, issued_by, tenants, issued_at_us, ends_at_us, rate_per_s, devices, "
    "cancel_asked_at_us"
)
# With the state, so that the index gives them in order.
_WAITING: Final = "c.group_id = ? AND c.waits = 1 AND c.state = 'queued'"
_requests = msgspec.json.Decoder(CommandRequest)
_targets = msgspec.json.Decoder(CommandTarget)
_tenants = msgspec.json.Decoder(tuple[str, ...])


class GroupStore:
    """Group commands by id. All raise `sqlite3.Error`."""

    def __init__(self, commands: CommandStore) -> None:
        self._commits = commands.commits

    async def begin(self, group: GroupRow) -> None:
        """Write a group down that has no members yet; until `accept` nobody finds it."""
        await self._commits.submit("DELETE FROM commands WHERE group_id = ?", (group.id,))
        await self._commits.submit(
            f"INSERT OR REPLACE INTO group_commands ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",
            _columns(group),
        )

    async def add(self, group: GroupRow, members: Sequence[Member], first: int) -> None:
        """Add a page of members; the first one's number is `first`."""
        await self._commits.submit(
            "INSERT OR REPLACE INTO commands (id, endpoint, request, state, issued_at_us,"
            " expires_at_us, issued_by, tenant, group_id, waits)"
            " SELECT printf('%s-%06d', ?, ? + key), json_extract(value, '$[0]'), x'', 'queued',"
            " ?, ?, ?, json_extract(value, '$[1]'), ?, 1 FROM json_each(?)",
            (
                group.id,
                first,
                group.issued_at_us,
                group.ends_at_us,
                group.issued_by,
                group.id,
                msgspec.json.encode(list(members)).decode(),
            ),
        )

    async def accept(self, group: GroupRow) -> None:
        """All members are there: the group command is on its way."""
        await self._commits.submit(
            "UPDATE group_commands SET devices = ?, tenants = ?, accepted = 1 WHERE id = ?",
            (group.devices, _json(group.tenants), group.id),
        )

    async def drop(self, group_id: str) -> None:
        """It was not accepted: nothing of it stays."""
        await self._commits.submit("DELETE FROM commands WHERE group_id = ?", (group_id,))
        await self._commits.submit("DELETE FROM group_commands WHERE id = ?", (group_id,))

    async def not_accepted(self) -> list[str]:
        """Groups whose members were being listed when the process ended."""
        rows = await self._commits.query("SELECT id FROM group_commands WHERE accepted = 0")
        return [row[0] for row in rows]

    async def find(self, group_id: str) -> GroupRow | None:
        """The group command with this id."""
        rows = await self._commits.query(
            f"SELECT {_COLUMNS} FROM group_commands WHERE id = ? AND accepted = 1", (group_id,)
        )
        return _group(rows[0]) if rows else None

    async def search(self, before: tuple[int, str] | None, limit: int) -> list[GroupRow]:
        """At most `limit` group commands, newest first, behind (time, id)."""
        where, values = ("", ()) if before is None else (" AND (issued_at_us, id) < (?, ?)", before)
        rows = await self._commits.query(
            f"SELECT {_COLUMNS} FROM group_commands WHERE accepted = 1{where}"
            " ORDER BY issued_at_us DESC, id DESC LIMIT ?",
            (*values, limit),
        )
        return [_group(row) for row in rows]

    async def under_way(self) -> list[GroupRow]:
        """Groups with members that wait for their turn, oldest first, and those that are being
        cancelled."""
        rows = await self._commits.query(
            f"SELECT {_COLUMNS} FROM group_commands g WHERE accepted = 1 AND EXISTS (SELECT 1 FROM"
            " commands c WHERE c.group_id = g.id AND (c.waits = 1 OR (g.cancel_asked_at_us IS NOT"
            " NULL AND c.state IN (?, ?, ?)))) ORDER BY issued_at_us, id",
            OPEN_STATES,
        )
        return [_group(row) for row in rows]

    async def progress(self, group_id: str) -> Progress:
        """How many members are in which state."""
        rows = await self._commits.query(
            "SELECT waits, state, count(*), max(ended_at_us) FROM commands"
            " WHERE group_id = ? GROUP BY waits, state",
            (group_id,),
        )
        states: dict[CommandState, int] = {row[1]: row[2] for row in rows if not row[0]}
        found = Progress(sum(row[2] for row in rows if row[0]), states, None)
        ended = [row[3] for row in rows if row[3] is not None]
        return found._replace(ended_at_us=max(ended)) if found.has_ended and ended else found

    async def members(
        self, group_id: str, state: CommandState | None, after: str, limit: int
    ) -> list[CommandRow]:
        """At most `limit` commands of the group behind the id `after`, in their order."""
        where, values = ("", ()) if state is None else (" AND c.state = ?", (state,))
        rows = await self._commits.query(
            select_commands(f"c.group_id = ? AND c.id > ?{where} ORDER BY c.id LIMIT ?"),
            (group_id, after, *values, limit),
        )
        return [command_of(row) for row in rows]

    async def next_waiting(self, group_id: str, limit: int) -> list[CommandRow]:
        """The next members that have their turn."""
        rows = await self._commits.query(
            select_commands(f"{_WAITING} ORDER BY c.id LIMIT ?"),
            (group_id, limit),
        )
        return [command_of(row) for row in rows]

    async def open_members(self, group_id: str, after: str, limit: int) -> list[str]:
        """Ids of members that have had their turn and have no outcome."""
        rows = await self._commits.query(
            "SELECT id FROM commands WHERE group_id = ? AND waits = 0 AND state IN (?, ?, ?)"
            " AND id > ? ORDER BY id LIMIT ?",
            (group_id, *OPEN_STATES, after, limit),
        )
        return [row[0] for row in rows]

    def ask_cancel(self, group_id: str, now_us: int) -> asyncio.Future[None]:
        """Keep that the group is taken back; what it was first is what counts."""
        return self._commits.submit(
            "UPDATE group_commands SET cancel_asked_at_us = coalesce(cancel_asked_at_us, ?)"
            " WHERE id = ?",
            (now_us, group_id),
        )

    async def end_waiting(self, group_id: str, state: CommandState, now_us: int) -> None:
        """End all members that have not had their turn."""
        cancelled_us = now_us if state == "cancelled" else None
        while await self.next_waiting(group_id, 1):
            await self._commits.submit(
                "UPDATE commands SET state = ?, waits = 0, ended_at_us = ?, cancel_asked_at_us = ?"
                " WHERE id IN (SELECT id FROM commands WHERE group_id = ? AND waits = 1 LIMIT ?)",
                (state, now_us, cancelled_us, group_id, CHANGED_AT_ONCE),
            )


def _columns(group: GroupRow) -> tuple[Any, ...]:
    return (
        group.id,
        msgspec.json.encode(group.request),
        msgspec.json.encode(group.target),
        group.issued_by,
        _json(group.tenants),
        group.issued_at_us,
        group.ends_at_us,
        group.rate_per_s,
        group.devices,
        group.cancel_asked_at_us,
    )


def _group(row: Sequence[Any]) -> GroupRow:
    group_id, request, target, issued_by, tenants, issued, ends, rate, devices, cancelled = row
    return GroupRow(
        id=group_id,
        request=_requests.decode(request),
        target=_targets.decode(target),
        issued_by=issued_by,
        tenants=_tenants.decode(tenants),
        issued_at_us=issued,
        ends_at_us=ends,
        rate_per_s=rate,
        devices=devices,
        cancel_asked_at_us=cancelled,
    )


def _json(tenants: tuple[str, ...]) -> str:
    return msgspec.json.encode(tenants).decode()
