"""Group commands: who they are for is found out and written down before they are accepted."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from city_platform.control.callers import may_see
from city_platform.control.group_driver import GroupDriver
from city_platform.control.group_store import GroupStore
from city_platform.control.members import PAGE, Devices, listed, query_of
from city_platform.control.names import ResourceNames
from city_platform.control.requests import EXPIRES_IN_S_MAX, InvalidRequest, check_request, decode
from city_platform.control.rows import CommandRow, GroupRow, Member, Progress
from city_platform.control.service import CommandService, Unknown
from contracts.api import CommandState, GroupCommandRecord, GroupCommandRequest
from runtime.clock import Clock

# Explicit lists are in it.
GROUP_REQUEST_BYTES_MAX: Final = 2_097_152
RATE_PER_S_MIN: Final = 0.01
_TOLD_MISSING: Final = 5
_decoder = msgspec.json.Decoder(GroupCommandRequest)


class GroupLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of group commands."""

    # Devices that have their turn each second, unless the request says otherwise.
    rate_per_s: float = 200.0
    # The most that a request may ask for: what the broker and the servers behind it take.
    rate_per_s_max: float = 1_000.0
    # Devices of one group command.
    devices_max: int = 100_000


_NOBODY: Final = (
    "finds no device: GET /v1/groups of provisioning lists tenants and, as tenant/group, groups"
)


class BeingAccepted(Exception):
    """The same request, by its Idempotency-Key, is being accepted at this moment."""


class GroupService:
    """Group commands, and how far they are. All raise `sqlite3.Error`."""

    def __init__(
        self,
        groups: GroupStore,
        driver: GroupDriver,
        devices: Devices,
        commands: CommandService,
        clock: Clock,
        limits: GroupLimits,
    ) -> None:
        self._groups = groups
        self._driver = driver
        self._devices = devices
        self._commands = commands
        self._clock = clock
        self._limits = limits
        self._accepting: set[str] = set()

    def read(self, body: bytes, names: ResourceNames) -> GroupCommandRequest:
        """A checked request. Raises `InvalidRequest`."""
        request: GroupCommandRequest = decode(_decoder, body)
        try:
            command = check_request(request.command, names)
        except InvalidRequest as error:
            raise InvalidRequest("command", str(error)) from None
        query_of(request.target)
        limits = self._limits
        rate = limits.rate_per_s if request.rate_per_s is None else request.rate_per_s
        if not RATE_PER_S_MIN <= rate <= limits.rate_per_s_max:
            raise InvalidRequest(
                "rate_per_s", f"must be {RATE_PER_S_MIN:g} to {limits.rate_per_s_max:g}"
            )
        ends = EXPIRES_IN_S_MAX if request.ends_in_s is None else request.ends_in_s
        if math.isnan(ends) or not 0 < ends <= EXPIRES_IN_S_MAX:
            raise InvalidRequest("ends_in_s", f"must be above 0 and at most {EXPIRES_IN_S_MAX:g}")
        return msgspec.structs.replace(request, command=command, rate_per_s=rate, ends_in_s=ends)

    async def find(self, group_id: str) -> GroupRow | None:
        """The group command with this id."""
        return await self._groups.find(group_id)

    async def get(self, group_id: str, tenants: tuple[str, ...] | None) -> GroupRow:
        """The same for somebody with these tenants: all of its devices' must be among them.

        Raises `Unknown`.
        """
        group = await self._groups.find(group_id)
        if group is None or not _may_see_all(group, tenants):
            raise Unknown(f"there is no group command {group_id[:80]!r}")
        return group

    async def accept(
        self,
        group_id: str,
        request: GroupCommandRequest,
        issued_by: str,
        tenants: tuple[str, ...] | None,
    ) -> GroupRow:
        """Write down whom it is for, then begin. Raises `InvalidRequest`, `BeingAccepted` and
        `MembersUnavailable`; nothing of it stays then."""
        if group_id in self._accepting:
            raise BeingAccepted(f"{group_id} is being accepted")
        self._accepting.add(group_id)
        try:
            return await self._accept(self._row(group_id, request, issued_by), tenants)
        except BaseException:
            # What cannot be removed now is nobody's, and removed at the next start.
            with contextlib.suppress(sqlite3.Error):
                await self._groups.drop(group_id)
            raise
        finally:
            self._accepting.discard(group_id)

    async def cancel(self, group_id: str, tenants: tuple[str, ...] | None) -> GroupRow:
        """Take a group command back. Raises `Unknown`."""
        group = await self.get(group_id, tenants)
        if group.cancel_asked_at_us is None and not (
            (await self._groups.progress(group_id)).has_ended
        ):
            await self._driver.cancel(group)
        return await self.get(group_id, tenants)

    async def search(
        self, before: tuple[int, str] | None, limit: int, tenants: tuple[str, ...] | None
    ) -> list[GroupRow]:
        """At most `limit` group commands, newest first, that are there for these tenants."""
        found: list[GroupRow] = []
        while len(found) < limit:
            rows = await self._groups.search(before, limit)
            found += [row for row in rows if _may_see_all(row, tenants)]
            if len(rows) < limit:
                break
            before = (rows[-1].issued_at_us, rows[-1].id)
        return found[:limit]

    async def members(
        self, group_id: str, state: CommandState | None, after: str, limit: int
    ) -> list[CommandRow]:
        """At most `limit` of its commands, in their order; `state` is as the store has it."""
        rows = await self._groups.members(group_id, state, after, limit)
        return [self._commands.as_of_now(row) for row in rows]

    async def record(self, group: GroupRow) -> GroupCommandRecord:
        """What is told of a group command."""
        return record_of(group, await self._groups.progress(group.id))

    def _row(self, group_id: str, request: GroupCommandRequest, issued_by: str) -> GroupRow:
        now_us = self._clock.wall_us()
        assert request.rate_per_s is not None
        assert request.ends_in_s is not None
        return GroupRow(
            id=group_id,
            request=request.command,
            target=request.target,
            issued_by=issued_by,
            tenants=(),
            issued_at_us=now_us,
            ends_at_us=now_us + round(request.ends_in_s * 1e6),
            rate_per_s=request.rate_per_s,
        )

    async def _accept(self, group: GroupRow, tenants: tuple[str, ...] | None) -> GroupRow:
        await self._groups.begin(group)
        count, found = 0, set[str]()
        pages = self._pages(group, tenants)
        async with contextlib.aclosing(pages):
            async for page in pages:
                if count + len(page) > self._limits.devices_max:
                    raise InvalidRequest(
                        "target", f"finds more than {self._limits.devices_max} devices: narrow it"
                    )
                await self._groups.add(group, page, count)
                count += len(page)
                found |= {member.tenant for member in page}
        if not count:
            raise InvalidRequest("target", _NOBODY)
        group = msgspec.structs.replace(group, devices=count, tenants=tuple(sorted(found)))
        await self._groups.accept(group)
        self._driver.add(group)
        return group

    async def _pages(
        self, group: GroupRow, tenants: tuple[str, ...] | None
    ) -> AsyncGenerator[list[Member], None]:
        target = group.target
        if target.devices is not None:
            names = listed(target.devices)
            for first in range(0, len(names), PAGE):
                yield await self._of_list(names[first : first + PAGE], tenants)
            return
        query = query_of(target)
        assert query is not None
        for tenant in (None,) if tenants is None else tenants:
            async with contextlib.aclosing(self._devices.search(query, tenant)) as pages:
                async for page in pages:
                    yield [member for member in page if may_see(member.tenant, tenants)]

    async def _of_list(self, names: Sequence[str], tenants: tuple[str, ...] | None) -> list[Member]:
        known = await self._devices.tenants(names)
        # Another tenant's device is as if it were not there.
        missing = [name for name in names if name not in known or not may_see(known[name], tenants)]
        if missing:
            more = "" if len(missing) <= _TOLD_MISSING else f" and {len(missing) - _TOLD_MISSING}"
            raise InvalidRequest(
                "target.devices", f"there is no {', '.join(missing[:_TOLD_MISSING])}{more}"
            )
        return [Member(name, known[name]) for name in names]


def _may_see_all(group: GroupRow, tenants: tuple[str, ...] | None) -> bool:
    return tenants is None or set(group.tenants) <= set(tenants)


def record_of(group: GroupRow, progress: Progress) -> GroupCommandRecord:
    """What is told of a group command that is so far."""
    return GroupCommandRecord(
        id=group.id,
        state="ended" if progress.has_ended else "running",
        operation=group.request.operation,
        path=group.request.path,
        devices=group.devices,
        waiting=progress.waiting,
        states=progress.states,
        rate_per_s=group.rate_per_s,
        issued_at_us=group.issued_at_us,
        ends_at_us=group.ends_at_us,
        # A list may be long; its devices are in the group's commands.
        target=msgspec.structs.replace(group.target, devices=None),
        issued_by=group.issued_by,
        cancel_asked_at_us=group.cancel_asked_at_us,
        ended_at_us=progress.ended_at_us,
    )
