"""The end of a turn: records to disk first, then datagrams, frames and words to the starter."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Final

from harness.lwm2m_server.core import ServerCore
from harness.lwm2m_server.log_file import LogFile, Successor
from harness.lwm2m_server.records import DecodedLog
from harness.lwm2m_server.recovery import ServerState, recover, state_records
from runtime.journal import JournalSink

# Records of a compaction that one turn writes: a few milliseconds of work.
COMPACTED_PER_TURN: Final = 500

Say = Callable[[dict[str, str]], None]
SendDatagrams = Callable[[list[tuple[bytes, Hashable]]], None]


def begin(log: LogFile, *, server: str, new_epoch: str) -> tuple[ServerState, str | None]:
    """The state to go on from, the log compacted to it; and what to warn of, if anything."""
    found = log.read()
    warning = _set_aside(log, found) if found.damaged else None
    state = recover(found, server=server, new_epoch=new_epoch)
    log.replace(b"".join(state_records(state, server=server)))
    return state, warning


class Turn:
    """Joins a core with its log. `end` is called once after whatever was fed to the core, and again
    while `is_compacting`: a compaction goes on by turns, so that nothing waits for it."""

    def __init__(
        self,
        core: ServerCore,
        log: LogFile,
        *,
        journal: JournalSink,
        send_datagrams: SendDatagrams,
        send_frames: Callable[[], None],
        say: Say,
        compact_bytes: int,
        compacted_per_turn: int = COMPACTED_PER_TURN,
    ) -> None:
        self._core = core
        self._log = log
        self._journal = journal
        self._send_datagrams = send_datagrams
        self._send_frames = send_frames
        self._say = say
        self._compact_bytes = compact_bytes
        self._compacted_per_turn = compacted_per_turn
        self._compact_at = log.size + compact_bytes
        self._compaction: tuple[Successor, Iterator[bytes]] | None = None

    @property
    def is_compacting(self) -> bool:
        """Whether further turns are wanted to go on with a compaction."""
        return self._compaction is not None

    def end(self) -> None:
        """Let the turn's output leave. Raises `OSError` when the log cannot be written: stop then,
        because nothing may leave that is not on disk."""
        core = self._core
        records = core.take_records()
        if records:
            self._log.append(records)
        for observed in core.take_observed():
            self._journal.record(observed)
        datagrams = core.take_datagrams()
        if datagrams:
            self._send_datagrams(datagrams)
        self._send_frames()
        for point, endpoint in core.gates.take_reached():
            self._say({"gate": point, "endpoint": endpoint})
        if self._compaction is None and self._log.size > self._compact_at:
            self.begin_compaction()
        if self._compaction is not None:
            self._compact_on(*self._compaction)

    def begin_compaction(self) -> None:
        """Begin to write the log anew as of now; the turns that follow go on with it."""
        if self._compaction is None:
            self._compaction = self._log.begin_successor(), self._core.checkpoint()

    def compact(self) -> None:
        """Write the log anew, all of it at once."""
        self.begin_compaction()
        while self._compaction is not None:
            self._compact_on(*self._compaction)

    def close(self) -> None:
        """Give up a compaction that is under way: the log as it is has everything."""
        if self._compaction is not None:
            self._compaction[0].give_up()
            self._compaction = None

    def _compact_on(self, successor: Successor, records: Iterator[bytes]) -> None:
        some = b"".join(islice(records, self._compacted_per_turn))
        if some:
            successor.write(some)
            return
        if self._log.catch_up(successor):
            return
        self._compaction = None
        self._log.succeed(successor)
        self._compact_at = self._log.size + max(self._compact_bytes, self._log.size)


def _set_aside(log: LogFile, found: DecodedLog) -> str:
    aside = log.set_damaged_aside()
    return (
        f"the log was damaged after {len(found.records)} records and is kept as {aside}: "
        "a new epoch begins, devices will register again"
    )
