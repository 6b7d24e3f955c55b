"""Posts commands to a bench's control API while a load runs, open-loop, and asks how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from contracts.api import FINAL_COMMAND_STATES, CommandRecord, CommandRequest
from contracts.data_interface import Value
from contracts.journal import CommandConcluded, CommandIssued
from runtime.clock import Clock
from runtime.http_client import HttpClient
from runtime.journal import JournalSink

MODEL: Final = "street_lamp"
_PATH: Final = "/3416/0/1"
_EXPIRES_S: Final = 30.0
_LEVELS: Final = (40, 80)
_ASK_EVERY_S: Final = 0.1


class Commander:
    """Dims one lamp after the other, of those that are online, `rate_per_s` in all.

    A command that is due while nobody is online is not posted. The schedule does not wait for the
    API: what it delays counts from the intended moment.
    """

    def __init__(
        self,
        lamps: Sequence[str],
        rate_per_s: float,
        journal: JournalSink,
        clock: Clock,
        connect: Callable[[], HttpClient],
    ) -> None:
        self._lamps = lamps
        self._rate_per_s = rate_per_s
        self._journal = journal
        self._clock = clock
        self._connect = connect
        self._issued: list[CommandRecord] = []

    async def run(self, online: Collection[str], is_testing: Callable[[], bool]) -> None:
        """Post until cancelled, while a test is on; `online` grows meanwhile."""
        client = self._connect()
        began_ns, number, turn = self._clock.now_ns(), 0, 0
        try:
            while True:
                intended_ns = began_ns + round(number / self._rate_per_s * 1e9)
                number += 1
                await asyncio.sleep(max(0.0, (intended_ns - self._clock.now_ns()) / 1e9))
                lamp = self._next(turn, online) if is_testing() else None
                if lamp is not None:
                    turn = lamp + 1
                    await self._post(client, self._lamps[lamp], turn, intended_ns)
        finally:
            await client.close()

    async def conclude(self, within_s: float) -> None:
        """Ask how each command ended, for so long at most; the others stay unknown."""
        client = self._connect()
        try:
            async with asyncio.timeout(within_s):
                for record in self._issued:
                    while record.state not in FINAL_COMMAND_STATES:
                        record = await client.get(f"/v1/commands/{record.id}", CommandRecord)
                        if record.state not in FINAL_COMMAND_STATES:
                            await asyncio.sleep(_ASK_EVERY_S)
                    self._concluded(record)
        except TimeoutError:
            pass
        finally:
            await client.close()

    def _next(self, turn: int, online: Collection[str]) -> int | None:
        """The first lamp from `turn` on that is online."""
        count = len(self._lamps)
        places = ((turn + step) % count for step in range(count))
        return next((place for place in places if self._lamps[place] in online), None)

    async def _post(self, client: HttpClient, lamp: str, turn: int, intended_ns: int) -> None:
        level = _LEVELS[turn % len(_LEVELS)]
        request = CommandRequest(
            operation="write",
            path=_PATH,
            values=[Value(path=_PATH, type="integer", value=level)],
            expires_in_s=_EXPIRES_S,
        )
        record = await client.post(f"/v1/devices/{lamp}/commands", request, CommandRecord)
        self._issued.append(record)
        self._journal.record(
            CommandIssued(
                at_ns=self._clock.now_ns(),
                id=record.id,
                endpoint=lamp,
                path=record.path,
                intended_at_ns=intended_ns,
                value=level,
            )
        )

    def _concluded(self, record: CommandRecord) -> None:
        self._journal.record(
            CommandConcluded(
                at_ns=self._clock.now_ns(),
                id=record.id,
                endpoint=record.endpoint,
                state=record.state,
                code=(record.outcome.code or "") if record.outcome else "",
            )
        )
