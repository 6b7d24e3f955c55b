"""Keeps entries as they come: many in one commit, a signed head behind each, archived in batches.

An object of the archive is `audit/<first>.jsonl.gz`, lines of the chain as they are in the log, and
beside it `audit/<first>.head.json`, signed, for its last line. Objects never change once another
follows; after a kill the last one may be written again, with the same lines and more.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from city_platform.audit.chain import ChainHead
from city_platform.audit.config import AuditLimits
from city_platform.audit.entries import AuditEntry
from city_platform.audit.signing import MalformedHead, Signer, read_head
from city_platform.stores.audit_log import AuditLog
from city_platform.stores.object_store import NewObject, ObjectStore
from city_platform.stores.worker import Worker
from runtime.clock import Clock
from runtime.files import write_atomically

GATHERED_MAX = 500
# The least time from one write to the next: a commit, a signature and three syncs cost as much as
# fifty entries. Nobody waits but a broker for its PUBACK, and an outbox.
GATHER_S = 0.1
# Three quarters of a line are digests, which nothing shortens: level 6 takes twice as long for a
# twelfth less.
COMPRESSION_LEVEL = 3
_log = logging.getLogger(__name__)


class LogWasCut(Exception):
    """The log ends before its signed head, or has another line there: somebody changed it."""


class TooManyWait(Exception):
    """More entries wait for the disk than may: send them again later."""


def object_name(first: int) -> str:
    """The name of the object whose first line has this sequence."""
    return f"audit/{first:020d}.jsonl.gz"


def checkpoint_name(first: int) -> str:
    """The name of that object's signed head."""
    return f"audit/{first:020d}.head.json"


class AuditKeeper:
    """Owns the log's end. `run` writes, signs and archives until cancelled; then call `close`."""

    def __init__(
        self,
        log: AuditLog,
        objects: ObjectStore,
        signer: Signer,
        clock: Clock,
        head_file: Path,
        limits: AuditLimits,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._log = log
        self._objects = objects
        self._signer = signer
        self._clock = clock
        self._head_file = head_file
        self._limits = limits
        self._waiting: list[AuditEntry] = []
        # Which of them are kept only if their command's publication was.
        self._ends: set[str] = set()
        self._wrote_at = float("-inf")
        self._kept: asyncio.Future[None] | None = None
        self._woken = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._writer = Worker("audit-head")
        self._archived = 0
        self._archive_due_ns: int | None = None
        self.head = ChainHead(0, "")

    async def open(self) -> None:
        """Take the log up where it ended. Raises `LogWasCut`: it is to be looked into, not used."""
        self.head = await self._log.head()
        await self._compare_with_head()
        self._archived = await self._log.archived()
        if self._archived < self.head.sequence:
            self._archive_due_ns = self._clock.now_ns()
        await self._sign()

    def keep(self, entry: AuditEntry, *, is_end: bool = False) -> asyncio.Future[None]:
        """Keep an entry; the future, which many share, is done when it is synced.

        With `is_end`, only behind an entry that says that its command was published. Raises
        `TooManyWait`. The future raises what the disk said.
        """
        if len(self._waiting) >= self._limits.waiting_max:
            self.counts["refused_waiting"] += 1
            raise TooManyWait(f"{len(self._waiting)} entries wait for the disk")
        self._waiting.append(entry)
        if is_end:
            self._ends.add(entry.id)
        if self._kept is None:
            self._kept = asyncio.get_running_loop().create_future()
        self._woken.set()
        return self._kept

    async def signed_head(self) -> bytes:
        """The head as it is now, signed now: for whoever notes it elsewhere."""
        return self._signer.sign_head(self.head, self._clock.wall_us())

    async def run(self) -> None:
        """Write and archive until cancelled."""
        while True:
            await self._sleep()
            await self._gather()
            # To its end, also when this is cancelled: what is committed is to be signed.
            self._writing = asyncio.ensure_future(self._write_waiting())
            await asyncio.shield(self._writing)
            if self._is_archive_due():
                await self._archive_guarded()

    async def close(self) -> None:
        """Write what waits and archive all of it."""
        if self._writing is not None:
            await self._writing
        await self._write_waiting()
        await self._archive_guarded()
        self._writer.close()

    async def _sleep(self) -> None:
        self._woken.clear()
        if self._waiting:
            return
        try:
            async with asyncio.timeout(self._next_s()):
                await self._woken.wait()
        except TimeoutError:
            await self._sign_guarded()

    def _next_s(self) -> float:
        due = self._limits.head_every_s
        if self._archive_due_ns is not None:
            due = min(due, max(0.0, (self._archive_due_ns - self._clock.now_ns()) / 1e9))
        return due

    async def _gather(self) -> None:
        """Let more come: what comes alone is written at once."""
        pause_s = self._wrote_at + GATHER_S - asyncio.get_running_loop().time()
        if self._waiting and pause_s > 0:
            await asyncio.sleep(pause_s)

    async def _write_waiting(self) -> None:
        if not self._waiting:
            return
        waiting, kept, ends = self._waiting, self._kept, self._ends
        self._waiting, self._kept, self._ends = [], None, set()
        self._wrote_at = asyncio.get_running_loop().time()
        try:
            before = self.head.sequence
            for start in range(0, len(waiting), GATHERED_MAX):
                self.head = await self._log.append(waiting[start : start + GATHERED_MAX], ends)
            await self._sign()
        except Exception as error:  # the boundary to the disk: whoever waits is told
            self.counts["write_failed"] += 1
            _tell(kept, error)
            return
        except BaseException:
            # Cancelled in between: whoever waits must not wait for ever.
            if kept is not None:
                kept.cancel()
            raise
        self.counts["kept"] += self.head.sequence - before
        if self.head.sequence > self._archived and self._archive_due_ns is None:
            self._archive_due_ns = self._clock.now_ns() + int(self._limits.archive_age_s * 1e9)
        _tell(kept, None)

    async def _sign_guarded(self) -> None:
        try:
            await self._sign()
        except OSError as error:  # a full disk: what is kept stays signed up to where it was
            self.counts["sign_failed"] += 1
            _log.error("the audit log's head is not signed: %s", error)

    async def _sign(self) -> None:
        # After the commit: behind a kill or a power cut it may be older than the log, never newer.
        document = self._signer.sign_head(self.head, self._clock.wall_us())
        await self._writer.do(write_atomically, self._head_file, document, sync=True)

    def _is_archive_due(self) -> bool:
        if self.head.sequence - self._archived >= self._limits.archive_entries_max:
            return True
        due = self._archive_due_ns
        return due is not None and self._clock.now_ns() >= due

    async def _archive_guarded(self) -> None:
        try:
            await self._archive()
        except Exception as error:  # the boundary to the object store: tried again
            self.counts["archive_failed"] += 1
            self._archive_due_ns = self._clock.now_ns() + int(self._limits.head_every_s * 1e9)
            _log.error("the audit log is not archived: %s", error)

    async def _archive(self) -> None:
        while lines := await self._log.lines(self._archived, self._limits.archive_entries_max):
            first, last = self._archived + 1, self._archived + len(lines)
            found = await self._log.hash_at(last)
            document = self._signer.sign_head(ChainHead(last, found or ""), self._clock.wall_us())
            data = await self._writer.do(_compressed, lines)
            # The head last: an object without one is a kill in between, and is written again.
            objects = [NewObject(object_name(first), data, owner_only=True)]
            objects.append(NewObject(checkpoint_name(first), document, owner_only=True))
            await self._objects.put(objects, sync=True)
            await self._log.set_archived(last)
            self._archived = last
            self.counts["archived"] += len(lines)
        self._archive_due_ns = None

    async def _compare_with_head(self) -> None:
        try:
            document = self._head_file.read_bytes()
        except FileNotFoundError:
            if self.head.sequence:
                raise LogWasCut(f"{self._head_file} is gone: {_ADVICE}") from None
            return
        try:
            signed = read_head(document, self._signer.public_key)
        except MalformedHead as error:
            raise LogWasCut(f"{self._head_file}: {error}: {_ADVICE}") from None
        if await self._log.hash_at(signed.sequence) != signed.hash:
            raise LogWasCut(
                f"the log ends at entry {self.head.sequence}, and its head was signed at "
                f"{signed.sequence}, or that entry was replaced: {_ADVICE}"
            )


_ADVICE = "look into it with `lamplighter audit verify`, restore it, or move it away to begin anew"


def _compressed(lines: Sequence[bytes]) -> bytes:
    return gzip.compress(b"\n".join(lines) + b"\n", COMPRESSION_LEVEL, mtime=0)


def _tell(kept: asyncio.Future[None] | None, error: Exception | None) -> None:
    if kept is None or kept.done():
        return
    if error is None:
        kept.set_result(None)
    else:
        kept.set_exception(error)
