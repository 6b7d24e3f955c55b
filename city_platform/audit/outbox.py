"""Acts that wait to be told to the audit component: on disk before they begin, until it has them.

An act is kept when it begins and again when it has ended. One that a kill cut short is told as
`unknown` at the next start: it may have happened. Delivery is at least once; the log keeps an entry
of one id once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from city_platform.audit.entries import AuditEntry, AuditOutcome
from city_platform.broker_access import read_token
from city_platform.group_commit import GroupCommit
from city_platform.stores.sqlite import open_database
from city_platform.stores.worker import Worker
from runtime.http_client import HttpClient, HttpError

ENTRIES_PATH = "/v1/audit/entries"
BATCH_ENTRIES = 500
RETRY_S_MIN, RETRY_S_MAX = 0.2, 30.0

_SCHEMA = """
CREATE TABLE acts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, has_ended INTEGER NOT NULL,
    entry BLOB NOT NULL
);
CREATE INDEX acts_to_send ON acts (number) WHERE has_ended = 1
"""
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
    """

    def __init__(
        self, path: Path, audit: Callable[[], tuple[str | None, str]], waiting_max: int
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._acts = GroupCommit(
            open_database(path, _SCHEMA, owner_only=True), Worker("audit-outbox")
        )
        self._audit = audit
        self._waiting_max = waiting_max
        self._waiting = 0
        # How acts ended that the disk did not take: they are done, and are written as soon as it
        # does. Those of a kill until then are told as unknown.
        self._ended_unwritten: dict[str, AuditEntry] = {}
        self._wanted = asyncio.Event()

    async def open(self) -> None:
        """Take up what an earlier run left."""
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
        if self._waiting >= self._waiting_max:
            self.counts["audit.refused_full"] += 1
            raise OutboxFull(f"{self._waiting} acts wait for the audit component")
        self._waiting += 1
        try:
            await self._acts.submit(
                "INSERT INTO acts (id, has_ended, entry) VALUES (?, 0, ?)",
                (entry.id, msgspec.json.encode(entry)),
            )
        except BaseException:
            self._waiting -= 1
            raise

    async def end(self, entry: AuditEntry) -> None:
        """Keep how an act ended; `entry` has the id with which it began.

        A disk that takes nothing is no reason to fail: what is done is done, and told later.
        """
        try:
            await self._write_end(entry)
        except sqlite3.OperationalError as error:
            self._ended_unwritten[entry.id] = entry
            self.counts["audit.ends_unwritten"] += 1
            _log.warning("how an act ended cannot be kept now: %s", error)
        self.wake()

    async def add(self, entry: AuditEntry) -> None:
        """Keep what has happened already. Raises `OutboxFull`."""
        await self.begin(entry)
        await self.end(entry)

    def wake(self) -> None:
        """There may be something to tell, or somebody to tell it to."""
        self._wanted.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        pause_s = RETRY_S_MIN
        while True:
            await self._wanted.wait()
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
        await self._write_ends()
        address, token_file = self._audit()
        if address is None:
            return
        async with HttpClient(address, read_token(token_file)) as client:
            while rows := await self._ended_acts():
                body = b"[" + b",".join(entry for _, entry in rows) + b"]"
                await client.send("POST", ENTRIES_PATH, body, Kept)
                await self._forget([number for number, _ in rows])
                self._waiting -= len(rows)
                self.counts["audit.sent"] += len(rows)

    async def close(self) -> None:
        """Close the database; what waits is told by the next run."""
        with contextlib.suppress(sqlite3.OperationalError):
            await self._write_ends()
        await self._acts.close()

    async def _write_ends(self) -> None:
        for entry in list(self._ended_unwritten.values()):
            await self._write_end(entry)
            del self._ended_unwritten[entry.id]

    async def _write_end(self, entry: AuditEntry) -> None:
        await self._acts.submit(
            "UPDATE acts SET has_ended = 1, entry = ? WHERE id = ?",
            (msgspec.json.encode(entry), entry.id),
        )

    async def _ended_acts(self) -> list[tuple[int, bytes]]:
        return await self._acts.query(
            "SELECT number, entry FROM acts WHERE has_ended = 1 ORDER BY number LIMIT ?",
            (BATCH_ENTRIES,),
        )

    async def _forget(self, numbers: list[int]) -> None:
        # By number: an older act may have ended while these were sent.
        await self._acts.submit(
            "DELETE FROM acts WHERE number IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(numbers).decode(),),
        )


def _ended(entry: AuditEntry, outcome: AuditOutcome, detail: str) -> AuditEntry:
    return msgspec.structs.replace(entry, outcome=outcome, detail=detail)


def _decode(document: bytes) -> AuditEntry:
    return msgspec.json.decode(document, type=AuditEntry)
