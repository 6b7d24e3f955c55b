"""Many small durable writes as few transactions: what waits is committed together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

from city_platform.pace import Pace
from city_platform.stores.sqlite import transaction
from city_platform.stores.worker import Worker

Statement = tuple[str, Sequence[Any]]

# The least time from one commit to the next: a transaction, its sync and two changes of thread cost
# ten times what a row does.
GATHER_S = 0.005


class GroupCommit:
    """Commits statements in the order they were submitted; while one transaction is synced, the
    next one gathers, and for `gather_s` after the last one began. What comes alone is committed at
    once. The connection belongs to this object's worker until `close`."""

    def __init__(
        self, connection: sqlite3.Connection, worker: Worker, gather_s: float = GATHER_S
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._pace = Pace(gather_s)
        self._gathered: list[tuple[Statement, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    def submit(self, statement: str, parameters: Sequence[Any]) -> asyncio.Future[None]:
        """A future that is done when the statement is committed; it raises `sqlite3.Error`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append(((statement, parameters), future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.ensure_future(self._write_all())
        return future

    async def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT, as of the last commit. Raises `sqlite3.Error`."""
        return await self._worker.do(self._query, statement, parameters)

    async def close(self) -> None:
        """Commit what was submitted, close the connection and end the worker."""
        if self._writer is not None:
            await self._writer
        await self._worker.do(self._connection.close)
        self._worker.close()

    def _query(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        return self._connection.execute(statement, parameters).fetchall()

    async def _write_all(self) -> None:
        while self._gathered:
            await self._pace.turn()
            batch, self._gathered = self._gathered, []
            try:
                await self._worker.do(self._write, [statement for statement, _ in batch])
            except sqlite3.Error as error:
                _tell(batch, error)
            else:
                _tell(batch, None)

    def _write(self, statements: list[Statement]) -> None:
        with transaction(self._connection):
            for statement, parameters in statements:
                self._connection.execute(statement, parameters)


def _tell(batch: list[tuple[Statement, asyncio.Future[None]]], error: sqlite3.Error | None) -> None:
    for _, future in batch:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
