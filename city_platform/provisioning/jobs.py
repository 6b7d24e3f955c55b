"""Imports as jobs: how far each has come and which rows it refused, in SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from city_platform.stores.sqlite import open_database, transaction
from city_platform.stores.worker import Worker
from contracts.api import ImportJob, ImportPage, RowErrors
from contracts.manifest import RowError

ERRORS_LIMIT_MAX = 10_000
# Of SQLite's integers.
_NUMBER_MAX = 2**63 - 1

_SCHEMA = """
CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document BLOB NOT NULL);
CREATE TABLE errors (
    job TEXT NOT NULL, row INTEGER NOT NULL, document BLOB NOT NULL, PRIMARY KEY (job, row)
) WITHOUT ROWID
"""


class Jobs:
    """Import jobs by id. They survive a restart, so that an interrupted one is taken up again."""

    def __init__(self, path: Path) -> None:
        # NORMAL: progress is no promise; what was provisioned is in the registries.
        self._connection = open_database(path, _SCHEMA, synchronous="NORMAL")
        self._worker = Worker("import-jobs")

    async def save(self, job: ImportJob, errors: Sequence[RowError] = ()) -> None:
        """Keep how far a job has come and the rows it has refused since the last time."""
        await self._worker.do(self._save, job, errors)

    async def get(self, job_id: str) -> ImportJob | None:
        """The job, or None."""
        return await self._worker.do(self._get, job_id)

    async def newest_first(self, before: int | None, limit: int) -> ImportPage:
        """`limit` jobs, those before job number `before`; None: from the newest on."""
        return await self._worker.do(self._newest_first, before, limit)

    async def errors(self, job_id: str, after: int, limit: int) -> RowErrors:
        """Refused rows behind row `after`, in row order."""
        return await self._worker.do(self._errors, job_id, after, limit)

    async def begin_again(self) -> list[str]:
        """The ids of the jobs that were running, oldest first; their counts begin at 0."""
        return await self._worker.do(self._begin_again)

    def close(self) -> None:
        """Close the database; safe to call twice."""
        self._worker.close()
        self._connection.close()

    def _save(self, job: ImportJob, errors: Sequence[RowError]) -> None:
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT INTO jobs (id, document) VALUES (?, ?)"
                " ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                (job.id, msgspec.json.encode(job)),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO errors VALUES (?, ?, ?)",
                [(job.id, error.row, msgspec.json.encode(error)) for error in errors],
            )

    def _get(self, job_id: str) -> ImportJob | None:
        row = self._connection.execute(
            "SELECT document FROM jobs WHERE id = ?", (job_id,)
        ).fetchone()
        return msgspec.json.decode(row[0], type=ImportJob) if row else None

    def _newest_first(self, before: int | None, limit: int) -> ImportPage:
        rows = self._connection.execute(
            "SELECT number, document FROM jobs WHERE number < ? ORDER BY number DESC LIMIT ?",
            (_NUMBER_MAX if before is None else before, limit + 1),
        ).fetchall()
        shown = rows[:limit]
        return ImportPage(
            imports=[msgspec.json.decode(document, type=ImportJob) for _, document in shown],
            next_cursor=str(shown[-1][0]) if len(rows) > limit else None,
        )

    def _errors(self, job_id: str, after: int, limit: int) -> RowErrors:
        limit = max(1, min(limit, ERRORS_LIMIT_MAX))
        rows = self._connection.execute(
            "SELECT document FROM errors WHERE job = ? AND row > ? ORDER BY row LIMIT ?",
            (job_id, after, limit + 1),
        )
        found = [msgspec.json.decode(document, type=RowError) for (document,) in rows]
        has_more = len(found) > limit
        return RowErrors(found[:limit], found[limit - 1].row if has_more else None)

    def _begin_again(self) -> list[str]:
        documents = self._connection.execute("SELECT document FROM jobs ORDER BY number")
        jobs = [msgspec.json.decode(row[0], type=ImportJob) for row in documents]
        running = [job.id for job in jobs if job.state == "running"]
        with transaction(self._connection) as connection:
            connection.executemany(
                "DELETE FROM errors WHERE job = ?", [(job_id,) for job_id in running]
            )
        return running
