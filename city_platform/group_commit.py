"""Many small durable writes as few transactions: what waits is committed together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

from city_platform.stores.sqlite import transaction
from city_platform.stores.worker import Worker

Statement = tuple[str, Sequence[Any]]

# The least time from one commit to the next: a transaction, its sync and two changes of thread cost
# ten times what a row does.
GATHER_S = 0.005
# The same while nobody is kept waiting but a broker for its PUBACK.
PATIENCE_S = 0.05


class GroupCommit:
    """Commits statements in the order they were submitted; while one transaction is synced, the
    next one gathers, and for `gather_s` after the last one began (`patience_s` when nothing in it
    is urgent). What comes alone is committed at once. The connection belongs to this object's
    worker until `close`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        worker: Worker,
        gather_s: float = GATHER_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._gather_s = gather_s
        self._patience_s = patience_s
        self._batch = _Batch()
        self._writer: asyncio.Task[None] | None = None
        self._began_at = self._due_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, statement: str, parameters: Sequence[Any]) -> asyncio.Future[None]:
        """A future that is done when the statement is committed; it raises `sqlite3.Error`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch.futures.append(future)
        self._batch.is_urgent = True
        self._add(statement, parameters)
        return future

    def submit_patiently(self, statement: str, parameters: Sequence[Any]) -> asyncio.Future[None]:
        """The same, one future for all that are committed together: shield it before awaiting."""
        together = self._batch.together
        if together is None:
            together = self._batch.together = asyncio.get_running_loop().create_future()
        self._add(statement, parameters)
        return together

    async def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT, as of the last commit. Raises `sqlite3.Error`."""
        return await self._worker.do(self._query, statement, parameters)

    async def close(self) -> None:
        """Commit what was submitted, close the connection and end the worker."""
        while self._writer is not None or self._batch.statements:
            if self._writer is None:
                self._begin()
            assert self._writer is not None
            await self._writer
        await self._worker.do(self._connection.close)
        self._worker.close()

    def _add(self, statement: str, parameters: Sequence[Any]) -> None:
        self._batch.statements.append((statement, parameters))
        # While one transaction is written, its end schedules the next.
        if self._writer is None:
            self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = self._gather_s if self._batch.is_urgent else self._patience_s
        due_at = max(loop.time(), self._began_at + pause_s)
        if self._timer is not None:
            if self._due_at <= due_at:
                return
            self._timer.cancel()
        self._due_at = due_at
        self._timer = loop.call_at(due_at, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._began_at = asyncio.get_running_loop().time()
        batch, self._batch = self._batch, _Batch()
        self._writer = asyncio.ensure_future(self._write(batch))

    async def _write(self, batch: _Batch) -> None:
        try:
            await self._worker.do(self._commit, batch.statements)
        except sqlite3.Error as error:
            batch.tell(error)
        else:
            batch.tell(None)
        finally:
            self._writer = None
        if self._batch.statements:
            self._schedule()

    def _query(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        return self._connection.execute(statement, parameters).fetchall()

    def _commit(self, statements: list[Statement]) -> None:
        with transaction(self._connection):
            for statement, parameters in statements:
                self._connection.execute(statement, parameters)


class _Batch:
    """What is committed together, and who is told."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self.futures: list[asyncio.Future[None]] = []
        self.together: asyncio.Future[None] | None = None
        self.is_urgent = False

    def tell(self, error: sqlite3.Error | None) -> None:
        told = self.futures if self.together is None else [*self.futures, self.together]
        for future in told:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
