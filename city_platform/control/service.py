"""What control does for whoever asks: issue, find, list and take back commands to one device."""

from __future__ import annotations

from typing import Final

from city_platform.control.callers import Begins, may_see
from city_platform.control.dispatch import Dispatch
from city_platform.control.members import Devices
from city_platform.control.rows import CommandRow
from city_platform.control.store import CommandQuery, CommandStore
from contracts.api import CommandRecord, CommandRequest
from runtime.clock import Clock

NOT_ANNOUNCED: Final = (
    "no server has announced this device: the command is sent when one does, until it expires"
)
NEVER_ANNOUNCED: Final = (
    "no server announced this device in that time: it is switched off, or has another name"
)
NOT_ITS_TURN: Final = "it waits for its turn in its group command"


class TooManyOpen(Exception):
    """As many commands are open as may be."""


class UnknownDevice(Exception):
    """The device directory has no such device, and no server has announced one."""


class Unknown(Exception):
    """There is nothing of this id, or not for who asks; the text names it."""


class CommandService:
    """Commands to single devices."""

    def __init__(
        self,
        dispatch: Dispatch,
        store: CommandStore,
        devices: Devices,
        clock: Clock,
        open_commands_max: int,
    ) -> None:
        self._dispatch = dispatch
        self._store = store
        self._devices = devices
        self._clock = clock
        self._open_commands_max = open_commands_max

    async def issue(
        self,
        command_id: str,
        endpoint: str,
        request: CommandRequest,
        issued_by: str,
        tenant: str | None = None,
        act: Begins | None = None,
    ) -> CommandRow:
        """Keep and publish. `tenant` is the device's, None where it is not known yet; `act` begins
        in the same commit.

        Raises `TooManyOpen`, `UnknownDevice`, `MembersUnavailable` and `sqlite3.Error`.
        """
        if self._dispatch.open_commands >= self._open_commands_max:
            raise TooManyOpen(f"{self._open_commands_max} commands have no outcome yet")
        if tenant is None:
            tenant = await self._tenant_of(endpoint)
        now_us = self._clock.wall_us()
        return await self._dispatch.issue(
            CommandRow(
                id=command_id,
                endpoint=endpoint,
                request=request,
                state="queued",
                issued_at_us=now_us,
                expires_at_us=now_us + round(request.expires_in_s * 1e6),
                issued_by=issued_by,
                tenant=tenant,
            ),
            act,
        )

    async def _tenant_of(self, endpoint: str) -> str:
        """Whose it is. Raises `UnknownDevice`; one that a server has announced may be nobody's: it
        registered, and nobody imported it."""
        tenants = await self._devices.tenants([endpoint])
        if endpoint not in tenants and not self._dispatch.is_held(endpoint):
            raise UnknownDevice(endpoint)
        return tenants.get(endpoint, "")

    async def find(self, command_id: str) -> CommandRow | None:
        """A command, open or ended. Raises `sqlite3.Error`."""
        return await self._dispatch.find(command_id)

    async def get(self, command_id: str, tenants: tuple[str, ...] | None) -> CommandRow:
        """The same for somebody with these tenants. Raises `Unknown` and `sqlite3.Error`."""
        row = await self.find(command_id)
        if row is None or not may_see(row.tenant, tenants):
            raise Unknown(f"there is no command {command_id[:80]!r}")
        return row

    async def cancel(self, command_id: str, tenants: tuple[str, ...] | None) -> CommandRow:
        """Take a command back; one that has ended stays as it is. Raises as `get`."""
        row = await self.get(command_id, tenants)
        if row.waits:
            raise Unknown(f"{command_id} waits in its group command: take that back")
        self._dispatch.cancel(command_id)
        return await self.get(command_id, tenants)

    async def search(self, query: CommandQuery) -> list[CommandRow]:
        """Commands as they are now, newest first. Raises `sqlite3.Error`."""
        found = await self._store.search(query)
        return [self._dispatch.as_of_now(row) for row in found]

    def as_of_now(self, row: CommandRow) -> CommandRow:
        """What has become of a row since the store had it."""
        return self._dispatch.as_of_now(row)

    def record(self, row: CommandRow) -> CommandRecord:
        """What is told of a command."""
        detail = None
        if row.waits:
            detail = NOT_ITS_TURN
        elif row.state == "queued" and not self._dispatch.is_held(row.endpoint):
            detail = NOT_ANNOUNCED
        elif row.state == "expired" and row.sent_to is None and row.group_id is None:
            # One of a group may have expired without its turn.
            detail = NEVER_ANNOUNCED
        return CommandRecord(
            id=row.id,
            endpoint=row.endpoint,
            operation=row.request.operation,
            path=row.request.path,
            paths=row.request.paths,
            state=row.state,
            issued_at_us=row.issued_at_us,
            expires_at_us=row.expires_at_us,
            ended_at_us=row.ended_at_us,
            outcome=row.outcome,
            detail=detail,
            issued_by=row.issued_by,
            group=row.group_id,
            cancel_asked_at_us=row.cancel_asked_at_us,
        )
