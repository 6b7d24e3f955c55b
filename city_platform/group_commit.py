"""Many small durable writes as few transactions: what waits is committed together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from city_platform.stores.sqlite import transaction
from city_platform.stores.worker import Worker

Statement = tuple[str, Sequence[Any]]
# Statements that are committed, or refused, as one.
Write = Sequence[Statement]

# The least time from one commit to the next: a transaction, its sync and two changes of thread cost
# ten times what a row does.
GATHER_S = 0.005
# The same while nobody is kept waiting but a broker for its PUBACK.
PATIENCE_S = 0.1


class GroupCommit:
    """Commits statements in the order they were submitted; while one transaction is synced, the
    next one gathers, and for `gather_s` after the last one began (`patience_s` when nothing in it
    is urgent). What comes alone is committed at once. The connection belongs to this object's
    worker until `close`.

    Callers do not know of one another: a statement that the database refuses is refused alone. A
    disk that is full, or a lock, is told to all of a transaction, and nothing of it is there."""

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
        return self.submit_all(((statement, parameters),))

    def submit_all(self, write: Write) -> asyncio.Future[None]:
        """The same for statements of which none is there without the others."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        is_more_urgent, self._batch.is_urgent = not self._batch.is_urgent, True
        self._add(write, future, is_more_urgent=is_more_urgent)
        return future

    def submit_patiently(self, statement: str, parameters: Sequence[Any]) -> asyncio.Future[None]:
        """The same, one future for all that are committed together: shield it before awaiting.

        When one of them is refused it raises that, and the others are there: put them again.
        """
        together = self._batch.together
        if together is None:
            together = self._batch.together = asyncio.get_running_loop().create_future()
        self._add(((statement, parameters),), together, is_more_urgent=False)
        return together

    async def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT, as of the last commit. Raises `sqlite3.Error`."""
        return await self._worker.do(self._query, statement, parameters)

    async def close(self) -> None:
        """Commit what was submitted, close the connection and end the worker."""
        while self._writer is not None or self._batch.writes:
            if self._writer is None:
                self._begin()
            assert self._writer is not None
            await self._writer
        await self._worker.do(self._connection.close)
        self._worker.close()

    def _add(self, write: Write, future: asyncio.Future[None], *, is_more_urgent: bool) -> None:
        self._batch.writes.append(write)
        self._batch.futures.append(future)
        # While one transaction is written, its end schedules the next; and what waits for its time
        # already need not come sooner for one more.
        if self._writer is None and (self._timer is None or is_more_urgent):
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
            refused = await self._worker.do(self._commit, batch.writes)
        except Exception as error:  # a task's boundary: who waits is told whatever it is
            batch.tell(dict.fromkeys(range(len(batch.writes)), error))
        except BaseException:
            batch.cancel()
            raise
        else:
            batch.tell(refused)
        finally:
            self._writer = None
        if self._batch.writes:
            self._schedule()

    def _query(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        return self._connection.execute(statement, parameters).fetchall()

    def _commit(self, writes: list[Write]) -> Mapping[int, Exception]:
        """What was refused, by its place in the batch; the others are committed."""
        try:
            with transaction(self._connection):
                self._execute_all(writes)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # of Python's own too: a number that is no 64-bit one
            if len(writes) == 1:
                return {0: _refusal(error)}
            return self._commit_each(writes)
        return {}

    def _execute_all(self, writes: list[Write]) -> None:
        """All of them, in order. Of statements that follow one another most are the same: SQLite is
        given those at once, which costs half of what each alone does."""
        same: list[Sequence[Any]] = []
        last = ""
        for write in writes:
            for statement, parameters in write:
                if statement != last:
                    self._execute_same(last, same)
                    last, same = statement, []
                same.append(parameters)
        self._execute_same(last, same)

    def _execute_same(self, statement: str, rows: list[Sequence[Any]]) -> None:
        if len(rows) > 1:
            self._connection.executemany(statement, rows)
        elif rows:
            self._connection.execute(statement, rows[0])

    def _execute(self, write: Write) -> None:
        for statement, parameters in write:
            self._connection.execute(statement, parameters)

    def _commit_each(self, writes: list[Write]) -> Mapping[int, Exception]:
        """The same with a way back behind each write, which costs twice as much."""
        refused: dict[int, Exception] = {}
        with transaction(self._connection):
            for place, write in enumerate(writes):
                self._connection.execute("SAVEPOINT one")
                try:
                    self._execute(write)
                except sqlite3.OperationalError:
                    raise
                except Exception as error:  # as above
                    self._connection.execute("ROLLBACK TO one")
                    refused[place] = _refusal(error)
                self._connection.execute("RELEASE one")
        return refused


def _refusal(error: Exception) -> sqlite3.Error:
    """What a caller is told of its statement; it expects SQLite's errors alone."""
    if isinstance(error, sqlite3.Error):
        return error
    return sqlite3.DataError(f"a value cannot be kept: {error}")


class _Batch:
    """What is committed together, and who is told: a future for each statement, and one of its own
    for those that are patient."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.futures: list[asyncio.Future[None]] = []
        self.together: asyncio.Future[None] | None = None
        self.is_urgent = False

    def tell(self, refused: Mapping[int, Exception]) -> None:
        """Tell of what was refused first: a future that many share is then done."""
        for place, error in refused.items():
            if not self.futures[place].done():
                self.futures[place].set_exception(error)
        for future in self.futures:
            if not future.done():
                future.set_result(None)

    def cancel(self) -> None:
        """Nothing is known of it."""
        for future in self.futures:
            future.cancel()
