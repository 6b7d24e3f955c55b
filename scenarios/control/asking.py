"""What stories ask of the control API, also while it is killed and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from contracts.api import (
    FINAL_COMMAND_STATES,
    CommandPage,
    CommandRecord,
    CommandRequest,
    GroupCommandRecord,
    GroupCommandRequest,
)
from contracts.journal import CommandConcluded, CommandIssued
from harness.runner.run import Run
from runtime.http_client import HttpClient, HttpError

PAGE: Final = 500
ASKED_EVERY_S: Final = 0.25
ASKED_AGAIN_S: Final = 0.5

Answer = TypeVar("Answer")


class Asking:
    """Control's operator: who gets no answer asks again, of a control that may have moved."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def send(self, endpoint: str, request: CommandRequest) -> CommandRecord:
        """Send a command once: where no answer came, what became of it is looked up first."""
        since_us = self._run.clock.wall_us()
        path = f"/v1/devices/{endpoint}/commands"

        async def try_once(client: HttpClient) -> CommandRecord:
            page = await client.get(f"{path}?from_us={since_us}", CommandPage)
            for known in page.commands:
                if (known.operation, known.path) == (request.operation, request.path):
                    return known
            return await client.post(path, request, CommandRecord)

        return await self._until_answered(try_once)

    async def send_to_group(self, request: GroupCommandRequest) -> GroupCommandRecord:
        """Send a group command."""
        return await self._until_answered(
            lambda client: client.post("/v1/commands", request, GroupCommandRecord)
        )

    async def until_group_ended(self, group: GroupCommandRecord, within_s: float) -> bool:
        """Wait until every device of a group command has its outcome; whether it has."""
        due_ns = self._run.clock.now_ns() + int(within_s * 1e9)
        while group.state != "ended":
            if self._run.clock.now_ns() > due_ns:
                self._run.give_up(f"the group command has not ended within {within_s:g} s")
                return False
            await asyncio.sleep(ASKED_EVERY_S)
            path = f"/v1/group-commands/{group.id}"
            group = await self._until_answered(
                lambda client, path=path: client.get(path, GroupCommandRecord)  # type: ignore[misc] # bound now
            )
        return True

    async def members(self, group: GroupCommandRecord) -> list[CommandRecord]:
        """The commands of a group, by pages."""
        found: list[CommandRecord] = []
        cursor: str | None = None
        while True:
            more = f"&cursor={cursor}" if cursor else ""
            path = f"/v1/group-commands/{group.id}/commands?limit={PAGE}{more}"
            page = await self._get_page(path)
            found += page.commands
            if page.next_cursor is None:
                return found
            cursor = page.next_cursor

    async def until_final(self, record: CommandRecord, due_ns: int) -> CommandRecord:
        """Wait for a command's outcome, until `due_ns`; the last that is known of it."""
        while record.state not in FINAL_COMMAND_STATES and self._run.clock.now_ns() < due_ns:
            await asyncio.sleep(ASKED_EVERY_S)
            record = await self._get_record(f"/v1/commands/{record.id}")
        return record

    def journal_issued(
        self, record: CommandRecord, at_ns: int, intended_ns: int, value: int | None = None
    ) -> None:
        """Record that a command was issued."""
        self._run.journal.record(
            CommandIssued(
                at_ns=at_ns,
                id=record.id,
                endpoint=record.endpoint,
                path=record.path,
                intended_at_ns=intended_ns,
                value=value,
            )
        )

    def journal_concluded(self, record: CommandRecord) -> None:
        """Record how a command ended; one that has not is left out."""
        if record.state in FINAL_COMMAND_STATES:
            outcome = record.outcome
            self._run.journal.record(
                CommandConcluded(
                    at_ns=self._run.clock.now_ns(),
                    id=record.id,
                    endpoint=record.endpoint,
                    state=record.state,
                    code=(outcome.code or "") if outcome else "",
                )
            )

    async def _get_page(self, path: str) -> CommandPage:
        return await self._until_answered(lambda client: client.get(path, CommandPage))

    async def _get_record(self, path: str) -> CommandRecord:
        return await self._until_answered(lambda client: client.get(path, CommandRecord))

    async def _until_answered(self, ask: Callable[[HttpClient], Awaitable[Answer]]) -> Answer:
        while True:
            try:
                async with self._run.bench.http("control") as client:
                    return await ask(client)
            except HttpError as error:
                if error.status != 503:
                    raise
            except OSError:
                # Killed, and on its way back, perhaps on another port.
                pass
            await asyncio.sleep(ASKED_AGAIN_S)
