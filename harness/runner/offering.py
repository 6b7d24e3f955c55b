"""Offers commands to the control API open-loop: each is posted when it is intended, whatever became
of those before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from contracts.api import FINAL_COMMAND_STATES, CommandRecord, CommandRequest
from contracts.journal import CommandConcluded, CommandIssued
from fake_devices.fleet.loop_health import LagBook
from runtime.clock import Clock
from runtime.http_client import HttpClient, HttpError
from runtime.journal import JournalSink

COMMAND_EXPIRES_S: Final = 60.0
# By then the platform has said how every command ended, or does not come to it.
COMMANDS_END_WITHIN_S: Final = COMMAND_EXPIRES_S + 15.0
# The device's clock: every model has it, reading it disturbs nothing, and no value is the same.
PATH: Final = "/3/0/13"
PROCESS: Final = "runner"
KIND: Final = "command"
# Requests to the control API at one time; further commands wait, and their wait counts.
CONNECTIONS: Final = 16
# Commands that may wait; more is a control API that does not answer.
WAITING_MAX: Final = 20_000
_SAMPLE_EVERY: Final = 500
_ASKED_EVERY_S: Final = 0.1


class CommandOffering:
    """Reads of one resource, of one device after the other.

    `targets` are the devices that may be asked now; without any a command is missed, and counted.
    """

    def __init__(
        self,
        connect: Callable[[], HttpClient],
        targets: Callable[[], Sequence[str]],
        journal: JournalSink,
        clock: Clock,
    ) -> None:
        self._targets = targets
        self._journal = journal
        self._clock = clock
        self._lags = LagBook()
        self._idle: asyncio.Queue[HttpClient] = asyncio.Queue()
        self._clients = [connect() for _ in range(CONNECTIONS)]
        for client in self._clients:
            self._idle.put_nowait(client)
        self._under_way: set[asyncio.Task[None]] = set()
        self._issued: list[CommandRecord] = []

    async def follow(self, times_s: Iterable[float], began_ns: int) -> None:
        """Post a command at each of these times, and wait until every one has its final state."""
        try:
            for number, at_s in enumerate(times_s):
                intended_ns = began_ns + round(at_s * 1e9)
                await asyncio.sleep(max(0.0, (intended_ns - self._clock.now_ns()) / 1e9))
                self._post_soon(number, intended_ns)
            await asyncio.gather(*self._under_way)
            self._sample()
            # Of what has no final state by then the checks say that it is unknown.
            with suppress(TimeoutError):
                async with asyncio.timeout(COMMANDS_END_WITHIN_S):
                    await asyncio.gather(*(self._conclude(record) for record in self._issued))
        finally:
            for task in self._under_way:
                task.cancel()
            for client in self._clients:
                await client.close()

    def _post_soon(self, number: int, intended_ns: int) -> None:
        targets = self._targets()
        if not targets or len(self._under_way) >= WAITING_MAX:
            self._lags.miss(KIND)
            return
        task = asyncio.create_task(self._post(targets[number % len(targets)], intended_ns))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if not number % _SAMPLE_EVERY:
            self._sample()

    async def _post(self, endpoint: str, intended_ns: int) -> None:
        request = CommandRequest(operation="read", path=PATH, expires_in_s=COMMAND_EXPIRES_S)
        try:
            async with self._client() as client:
                self._lags.add(KIND, self._clock.now_ns() - intended_ns)
                path = f"/v1/devices/{endpoint}/commands"
                record = await client.post(path, request, CommandRecord)
        except (HttpError, OSError):
            self._lags.miss(KIND)
            return
        self._issued.append(record)
        self._journal.record(
            CommandIssued(
                at_ns=self._clock.now_ns(),
                id=record.id,
                endpoint=endpoint,
                path=record.path,
                intended_at_ns=intended_ns,
            )
        )

    async def _conclude(self, record: CommandRecord) -> None:
        while record.state not in FINAL_COMMAND_STATES:
            async with self._client() as client:
                record = await client.get(f"/v1/commands/{record.id}", CommandRecord)
            if record.state not in FINAL_COMMAND_STATES:
                await asyncio.sleep(_ASKED_EVERY_S)
        outcome = record.outcome
        self._journal.record(
            CommandConcluded(
                at_ns=self._clock.now_ns(),
                id=record.id,
                endpoint=record.endpoint,
                state=record.state,
                code=(outcome.code or "") if outcome else "",
            )
        )

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[HttpClient]:
        client = await self._idle.get()
        try:
            yield client
        finally:
            self._idle.put_nowait(client)

    def _sample(self) -> None:
        for record in self._lags.take(PROCESS, self._clock.now_ns()):
            self._journal.record(record)
