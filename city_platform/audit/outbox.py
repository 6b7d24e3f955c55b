"""Acts that wait to be told to the audit component: on disk before they begin, until it has them.

An act is kept when it begins and again when it has ended; mostly it is told from memory then, and
what is kept is for a kill. One that a kill cut short is told as `unknown` at the next start: it may
have happened. Delivery is at least once; the log keeps an entry of one id once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path

import msgspec

from city_platform.audit.entries import AuditEntry, AuditOutcome
from city_platform.broker_access import read_token
from city_platform.group_commit import GroupCommit, Statement
from city_platform.stores.sqlite import open_database
from city_platform.stores.worker import Worker
from runtime.http_client import HttpClient, HttpError

ENTRIES_PATH = "/v1/audit/entries"
BATCH_ENTRIES = 500
RETRY_S_MIN, RETRY_S_MAX = 0.2, 30.0
# The least time from one telling to the next, so that many acts go together.
GATHER_S = 0.05
# Acts that have ended and are told from memory; of more, the disk alone knows how they ended.
IN_MEMORY_MAX = 2_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS acts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, has_ended INTEGER NOT NULL,
    entry BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS acts_to_send ON acts (number) WHERE has_ended = 1
"""
_BEGIN = "INSERT INTO acts (id, has_ended, entry) VALUES (?, ?, ?)"
_END = "UPDATE acts SET has_ended = 1, entry = ? WHERE id = ?"
_TAKE_OVER = "INSERT OR IGNORE INTO acts (id, has_ended, entry) VALUES (?, ?, ?)"
_TO_SEND = "SELECT id, entry FROM acts WHERE has_ended = 1 ORDER BY number LIMIT ?"
_FORGET = "DELETE FROM acts WHERE id IN (SELECT value FROM json_each(?))"
_log = logging.getLogger(__name__)


class OutboxFull(Exception):
    """More acts wait than may: nothing that must be audited can be done now."""


class Kept(msgspec.Struct, frozen=True):
    """The audit component's answer."""

    head: int


class AuditOutbox:
    """`begin` before an act, `end` after it; `run` tells of what has ended.

    `audit` gives the audit component's `host:port`, None while it is not known, and the file with
    its token; both may change while it runs.

    With `commits`, the component's own database, acts are kept there and not in `path`, so that an
    act can begin in one commit with what it does; what an earlier program left in `path` is taken
    over. Close the outbox before them then.
    """

    def __init__(
        self,
        path: Path,
        audit: Callable[[], tuple[str | None, str]],
        waiting_max: int,
        *,
        commits: GroupCommit | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        self._is_shared = commits is not None
        self._acts = commits or GroupCommit(
            open_database(path, _SCHEMA, owner_only=True), Worker("audit-outbox")
        )
        self._audit = audit
        self._waiting_max = waiting_max
        self._waiting = 0
        # How acts ended, as it is sent, by their ids.
        self._ended: dict[str, bytes] = {}
        # Whether the disk has ends that memory has not.
        self._is_more_kept = True
        # How acts ended that is on its way to the disk, and what the disk did not take: they are
        # done, and are written as soon as it does. Those of a kill until then are told as unknown.
        self._writing: dict[asyncio.Future[None], list[tuple[str, bytes]]] = {}
        self._unwritten: dict[str, bytes] = {}
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Take up what an earlier run left."""
        if self._is_shared:
            await self._acts.submit_all([(one, ()) for one in _SCHEMA.split(";") if one.strip()])
            await self._take_over()
        rows = await self._acts.query("SELECT number, entry FROM acts WHERE has_ended = 0")
        for number, document in rows:
            entry = _ended(_decode(document), "unknown", "the component ended before the act did")
            await self._acts.submit(
                "UPDATE acts SET has_ended = 1, entry = ? WHERE number = ?",
                (msgspec.json.encode(entry), number),
            )
        self._waiting = (await self._acts.query("SELECT count(*) FROM acts"))[0][0]
        self.wake()

    @property
    def waiting(self) -> int:
        """Acts that the audit component does not have."""
        return self._waiting

    async def begin(self, entry: AuditEntry) -> None:
        """Keep that an act begins; return when it is synced. Raises `OutboxFull`."""
        await self._insert(entry, has_ended=False)

    async def begin_with(
        self, entry: AuditEntry, keep: Callable[[Statement], Awaitable[None]]
    ) -> None:
        """The same by `keep`, which commits a statement in one write with its own: of `commits`.

        Whether there is room was asked by `check_room` before; a few acts may share the last place.
        """
        await self._keep_new(entry, keep, has_ended=False)

    def check_room(self) -> None:
        """Raises `OutboxFull` when no further act may begin."""
        if self._waiting >= self._waiting_max:
            self.counts["audit.refused_full"] += 1
            raise OutboxFull(f"{self._waiting} acts wait for the audit component")

    async def end(self, entry: AuditEntry) -> None:
        """Tell how an act ended, and keep it with others' within a twentieth of a second.

        `entry` has the id with which it began. A disk that takes nothing is no reason to fail: what
        is done is done, and told later.
        """
        document = msgspec.json.encode(entry)
        if len(self._ended) < IN_MEMORY_MAX:
            self._ended[entry.id] = document
        else:
            self._is_more_kept = True
        self._write_end(entry.id, document)
        self.wake()

    async def add(self, entry: AuditEntry) -> None:
        """Keep what has happened already; return when it is synced. Raises `OutboxFull`."""
        await self._insert(entry, has_ended=True)
        self._is_more_kept = True
        self.wake()

    def wake(self) -> None:
        """There may be something to tell, or somebody to tell it to."""
        self._wanted.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        pause_s = RETRY_S_MIN
        loop = asyncio.get_running_loop()
        began_at = float("-inf")
        while True:
            await self._wanted.wait()
            if began_at + GATHER_S > loop.time():
                await asyncio.sleep(began_at + GATHER_S - loop.time())
            began_at = loop.time()
            self._wanted.clear()
            try:
                await self.send()
                pause_s = RETRY_S_MIN
            except (OSError, HttpError, msgspec.DecodeError, sqlite3.OperationalError) as error:
                self.counts["audit.retried"] += 1
                if pause_s > RETRY_S_MIN:
                    # Not of the first: where all start together, audit is not the first to listen.
                    _log.warning(
                        "what happened could not be told to the audit component: %s", error
                    )
                await asyncio.sleep(pause_s)
                pause_s = min(RETRY_S_MAX, 2 * pause_s)
                self._wanted.set()

    async def send(self) -> None:
        """Tell of all that has ended. Raises `HttpError`, `OSError`, `sqlite3.OperationalError`."""
        async with self._turn:
            is_told = False
            try:
                is_told = await self._send()
            finally:
                if not is_told:
                    # Memory is for what is told at once: the disk has it.
                    self._ended.clear()
                    self._is_more_kept = True

    async def close(self) -> None:
        """Close the database; what waits is told by the next run."""
        if self._unwritten:
            with contextlib.suppress(sqlite3.OperationalError):
                await self._write_again()
        if self._is_shared:
            await self._written()
        else:
            await self._acts.close()

    async def _send(self) -> bool:
        await self._write_again()
        address, token_file = self._audit()
        if address is None:
            return False
        async with HttpClient(address, read_token(token_file)) as client:
            await self._tell_kept(client)
            while self._ended:
                await self._tell(client, dict(islice(self._ended.items(), BATCH_ENTRIES)))
        return True

    async def _tell_kept(self, client: HttpClient) -> None:
        """Tell of what the disk alone has: of an earlier run, or of a time without audit."""
        while self._is_more_kept:
            self._is_more_kept = False
            try:
                await self._written()
                rows = await self._acts.query(_TO_SEND, (BATCH_ENTRIES,))
                await self._tell(client, dict(rows))
            except BaseException:
                self._is_more_kept = True
                raise
            if len(rows) == BATCH_ENTRIES:
                self._is_more_kept = True

    async def _tell(self, client: HttpClient, acts: dict[str, bytes]) -> None:
        if not acts:
            return
        await client.send("POST", ENTRIES_PATH, b"[" + b",".join(acts.values()) + b"]", Kept)
        # By id: an older act may have ended while these were sent.
        names = msgspec.json.encode(list(acts)).decode()
        await asyncio.shield(self._acts.submit_patiently(_FORGET, (names,)))
        for name in acts:
            self._ended.pop(name, None)
            self._unwritten.pop(name, None)
        self._waiting -= len(acts)
        self.counts["audit.sent"] += len(acts)

    async def _insert(self, entry: AuditEntry, *, has_ended: bool) -> None:
        self.check_room()
        await self._keep_new(entry, lambda one: self._acts.submit(*one), has_ended=has_ended)

    async def _keep_new(
        self, entry: AuditEntry, keep: Callable[[Statement], Awaitable[None]], *, has_ended: bool
    ) -> None:
        self._waiting += 1
        try:
            await keep((_BEGIN, (entry.id, has_ended, msgspec.json.encode(entry))))
        except BaseException:
            self._waiting -= 1
            raise

    def _write_end(self, act_id: str, document: bytes) -> None:
        future = self._acts.submit_patiently(_END, (document, act_id))
        together = self._writing.get(future)
        if together is None:
            together = self._writing[future] = []
            future.add_done_callback(self._end_written)
        together.append((act_id, document))

    def _end_written(self, done: asyncio.Future[None]) -> None:
        ends = self._writing.pop(done)
        if done.cancelled() or (error := done.exception()) is None:
            return
        # What was told meanwhile is gone from memory, and needs no end on disk.
        self._unwritten |= ends
        self.counts["audit.ends_unwritten"] += len(ends)
        _log.warning("how %d acts ended cannot be kept now: %s", len(ends), error)
        self.wake()

    async def _write_again(self) -> None:
        """Write what the disk did not take. Raises `sqlite3.OperationalError`."""
        await self._written()
        unwritten, self._unwritten = self._unwritten, {}
        for act_id, document in unwritten.items():
            self._write_end(act_id, document)
        await self._written()
        if self._unwritten:
            raise sqlite3.OperationalError(f"{len(self._unwritten)} ends of acts are not kept")

    async def _take_over(self) -> None:
        """Take up what waits in a database of the outbox's own, and remove that.

        A kill in between has the same acts told twice: the log keeps an entry of one id once.
        """
        if not self._path.exists():
            return
        earlier = open_database(self._path, _SCHEMA, owner_only=True)
        rows = earlier.execute("SELECT id, has_ended, entry FROM acts ORDER BY number").fetchall()
        earlier.close()
        if rows:
            await self._acts.submit_all([(_TAKE_OVER, row) for row in rows])
        for suffix in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    async def _written(self) -> None:
        """Return when the disk has, or has refused, what was on its way to it."""
        if self._writing:
            await asyncio.wait(list(self._writing))


def _ended(entry: AuditEntry, outcome: AuditOutcome, detail: str) -> AuditEntry:
    return msgspec.structs.replace(entry, outcome=outcome, detail=detail)


def _decode(document: bytes) -> AuditEntry:
    return msgspec.json.decode(document, type=AuditEntry)
