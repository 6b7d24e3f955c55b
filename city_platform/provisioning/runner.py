"""Runs import jobs one after the other: reads the uploaded file in pieces, provisions its rows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from city_platform.provisioning.credentials import CredentialsPlan
from city_platform.provisioning.hand_over import HandOver
from city_platform.provisioning.importing import BatchOutcome, Importer, SeenRows
from city_platform.provisioning.jobs import Jobs
from city_platform.provisioning.manifest_reader import (
    ManifestReader,
    RawRow,
    UnreadableManifest,
)
from city_platform.stores.passing import RETRY_S, is_passing
from contracts.api import ImportJob

BATCH_ROWS = 256
# A manifest of nothing but `1,1,1…` has a row in two bytes, and nothing else is done while a piece
# is cut into rows.
READ_BYTES = 16_384

_log = logging.getLogger(__name__)


class TooManyImports(Exception):
    """As many imports wait as may."""


class ImportRunner:
    """Owns the jobs' queue and the uploaded files, which are deleted when their job has ended.

    `plan` gives what all devices share at the time a job begins, or None when the broker's URI is
    not known yet. `changed` is called after each batch. `turn` is held while a job writes things.
    """

    def __init__(
        self,
        jobs: Jobs,
        importer: Importer,
        hand_over: HandOver,
        plan: Callable[[], CredentialsPlan | None],
        uploads: Path,
        *,
        row_bytes_max: int,
        rows_max: int,
        waiting_max: int,
        hand_over_within_s: float,
        renewed: Callable[[Sequence[str]], None],
        wall_us: Callable[[], int],
        changed: Callable[[], None] = lambda: None,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self._jobs = jobs
        self._importer = importer
        self._hand_over = hand_over
        self._plan = plan
        self._uploads = uploads
        self._row_bytes_max = row_bytes_max
        self._rows_max = rows_max
        self._hand_over_within_s = hand_over_within_s
        self._renewed = renewed
        self._wall_us = wall_us
        self._changed = changed
        self._turn = turn or asyncio.Lock()
        self._queue = asyncio.Queue[str](waiting_max)
        self._interrupted: list[str] = []

    def upload_path(self, job_id: str) -> Path:
        """Where the manifest of a job is put before the job is submitted."""
        return self._uploads / f"{job_id}.manifest"

    @property
    def is_full(self) -> bool:
        """Whether no other import may wait."""
        return self._queue.full()

    @property
    def waiting(self) -> int:
        """Imports that wait for their turn."""
        return self._queue.qsize()

    async def submit(self, job_id: str, *, name: str = "", who: str = "") -> ImportJob:
        """Queue the import of an uploaded file, which was called `name` and is brought by `who`.
        Raises `TooManyImports`."""
        if self._queue.full():
            raise TooManyImports
        job = ImportJob(
            id=job_id, state="running", name=name, started_at_us=self._wall_us(), started_by=who
        )
        await self._jobs.save(job)
        try:
            self._queue.put_nowait(job_id)
        except asyncio.QueueFull:
            await self._jobs.save(self._ended(_failed(job, "too many imports wait")))
            raise TooManyImports from None
        return job

    async def recover(self) -> None:
        """Find the jobs that a kill interrupted; before any upload begins."""
        self._interrupted = await self._jobs.begin_again()
        self._delete_uploads_but(self._interrupted)

    async def run(self) -> None:
        """Run jobs until cancelled; those that were interrupted come first."""
        while self._interrupted:
            await self._run_job(self._interrupted.pop(0))
        while True:
            await self._run_job(await self._queue.get())

    def _delete_uploads_but(self, job_ids: list[str]) -> None:
        """Uploads that a kill cut short belong to no job; they may hold keys."""
        kept = {self.upload_path(job_id) for job_id in job_ids}
        for path in self._uploads.iterdir():
            if path not in kept:
                path.unlink()

    async def _run_job(self, job_id: str) -> None:
        job = _from_the_beginning(await self._known(ImportJob(id=job_id, state="running")))
        try:
            job = await self._import(job)
        except UnreadableManifest as error:
            job = _failed(await self._known(job), str(error))
        except Exception as error:
            # A task's boundary: the next import must not suffer from this one.
            _log.exception("import %s failed", job_id)
            reason = "the platform failed: see its log"
            if is_passing(error):
                reason = (
                    f"the platform's disk takes nothing now ({error}): import it again when it "
                    "does; what is there already stays as it is"
                )
            job = _failed(await self._known(job), reason)
        await self._keep_end(self._ended(job))
        self.upload_path(job_id).unlink(missing_ok=True)
        _log.info("import %s %s: %d rows, %d refused", job.id, job.state, job.rows, job.rejected)

    def _ended(self, job: ImportJob) -> ImportJob:
        return msgspec.structs.replace(job, ended_at_us=self._wall_us())

    async def _known(self, job: ImportJob) -> ImportJob:
        """The job as far as it is kept."""
        try:
            return await self._jobs.get(job.id) or job
        except sqlite3.OperationalError:
            return job

    async def _keep_end(self, job: ImportJob) -> None:
        """Whoever asks for the job must learn how it ended, however long the disk takes nothing."""
        while True:
            try:
                return await self._jobs.save(job)
            except sqlite3.OperationalError as error:
                _log.warning("how import %s ended cannot be kept now: %s", job.id, error)
                await asyncio.sleep(RETRY_S)

    async def _import(self, job: ImportJob) -> ImportJob:
        plan = self._plan()
        if plan is None:
            return _failed(job, "the broker's URI is not set: PUT /v1/settings")
        async with self._turn, contextlib.aclosing(self._outcomes(job.id, plan)) as outcomes:
            async for outcome in outcomes:
                job = _advanced(job, outcome)
                await self._jobs.save(job, outcome.errors)
                self._hand_over.wake()
                self._changed()
                if outcome.renewed:
                    self._renewed(outcome.renewed)
        if job.rows == 0:
            return _failed(job, "the manifest has no rows")
        self._hand_over.wake()
        if not await self._hand_over.done(self._hand_over_within_s):
            return _failed(
                job,
                "the LwM2M server has not taken all keys yet; they are handed over as soon as it "
                f"does ({self._hand_over.last_problem})",
            )
        return msgspec.structs.replace(job, state="finished")

    async def _outcomes(
        self, job_id: str, plan: CredentialsPlan
    ) -> AsyncGenerator[BatchOutcome, None]:
        """What each batch came to. While one is stored, the next is made."""
        seen = SeenRows()
        storing: asyncio.Task[BatchOutcome] | None = None
        try:
            async with contextlib.aclosing(self._batches(job_id)) as batches:
                async for rows in batches:
                    made = await self._importer.make(rows, seen, plan)
                    if storing is not None:
                        yield await storing
                    storing = asyncio.ensure_future(self._importer.store(made))
        except UnreadableManifest:
            if storing is not None:
                yield await storing
            raise
        finally:
            if storing is not None:
                await asyncio.wait({storing})
        if storing is not None:
            yield await storing

    async def _batches(self, job_id: str) -> AsyncGenerator[list[RawRow], None]:
        waiting: list[RawRow] = []
        try:
            async with contextlib.aclosing(self._pieces(job_id)) as pieces:
                async for rows in pieces:
                    waiting += rows
                    while len(waiting) >= BATCH_ROWS:
                        yield waiting[:BATCH_ROWS]
                        del waiting[:BATCH_ROWS]
        except UnreadableManifest:
            # One unreadable place ends the file; the rows before it count.
            if waiting:
                yield waiting
            raise
        if waiting:
            yield waiting

    async def _pieces(self, job_id: str) -> AsyncGenerator[list[RawRow], None]:
        reader, count = ManifestReader(self._row_bytes_max), 0
        with self.upload_path(job_id).open("rb") as file:
            while data := await _read(file):
                rows = reader.feed(data)
                count += len(rows)
                if count > self._rows_max:
                    raise UnreadableManifest(f"more than {self._rows_max} rows: split the manifest")
                yield rows
        yield reader.finish()


async def _read(file: BinaryIO) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, file.read, READ_BYTES)


def _advanced(job: ImportJob, outcome: BatchOutcome) -> ImportJob:
    return msgspec.structs.replace(
        job,
        rows=job.rows + outcome.rows,
        created=job.created + outcome.created,
        updated=job.updated + outcome.updated,
        unchanged=job.unchanged + outcome.unchanged,
        rejected=job.rejected + len(outcome.errors),
    )


def _from_the_beginning(job: ImportJob) -> ImportJob:
    """The job with nothing counted, as one that a kill interrupted is taken up again."""
    return msgspec.structs.replace(job, rows=0, created=0, updated=0, unchanged=0, rejected=0)


def _failed(job: ImportJob, reason: str) -> ImportJob:
    return msgspec.structs.replace(job, state="failed", reason=reason)
