"""The store tap: follows the ingestion component's feed of commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from contracts.api import AlarmStored, Commit, DeadLettered, FeedGap, FeedLine
from contracts.journal import AlarmStored as AlarmStoredRecord
from contracts.journal import DeadLetterStored, Note, ReadingsStored
from runtime.clock import Clock
from runtime.http_client import ConnectionLost, HttpClient
from runtime.journal import JournalSink

RECONNECT_AFTER_S = 0.2

_Record = ReadingsStored | AlarmStoredRecord | DeadLetterStored | Note


class StoreTap:
    """Records what was stored. `seen` is told of each line, for live conditions."""

    def __init__(
        self,
        client: HttpClient,
        journal: JournalSink,
        clock: Clock,
        seen: Callable[[FeedLine], None],
    ) -> None:
        self._client = client
        self._journal = journal
        self._clock = clock
        self._seen = seen
        self._cursor = 0
        self._lines: msgspec.json.Decoder[FeedLine] = msgspec.json.Decoder(FeedLine)

    async def run(self) -> None:
        """Follow the feed until cancelled; after a loss go on from the last line."""
        while True:
            try:
                async for line in self._client.lines(f"/v1/feed?after={self._cursor}"):
                    self._receive(line)
            except (ConnectionLost, OSError):
                pass
            await asyncio.sleep(RECONNECT_AFTER_S)

    def _receive(self, line: bytes) -> None:
        found = self._lines.decode(line)
        self._cursor = found.cursor
        self._journal.record(self._as_record(found))
        self._seen(found)

    def _as_record(self, line: FeedLine) -> _Record:
        if isinstance(line, FeedGap):
            # What was not seen cannot be judged: the checks call this inconclusive.
            return Note(at_ns=self._clock.now_ns(), name="feed_gap", value=float(line.missed))
        return _as_record(line)


def _as_record(line: Commit | AlarmStored | DeadLettered) -> _Record:
    if isinstance(line, Commit):
        return ReadingsStored(
            at_ns=line.at_ns,
            rows=list(line.readings),
            duplicates=list(line.duplicates),
            conflicts=list(line.conflicts),
        )
    if isinstance(line, AlarmStored):
        return AlarmStoredRecord(
            at_ns=line.at_ns,
            endpoint=line.endpoint,
            path=line.path,
            time_us=line.time_us,
            alarm=line.alarm,
            raised=line.raised,
            sequence=line.sequence,
        )
    return DeadLetterStored(
        at_ns=line.at_ns,
        reason=line.reason,
        topic=line.topic,
        endpoint=line.endpoint,
        claimed=line.claimed,
    )
