"""Notices what nobody would tell: a process that is held still, a fleet that says nothing any more,
a journal that is cut or gone. It journals that and ends the story."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from contracts.journal import Note
from harness.bench.configs import is_fleet
from harness.bench.process import BenchProcess
from harness.checks.faults import NOTE_BENCH_FAULT, NOTE_STOOD_STILL
from harness.errors import BenchFailed
from runtime.clock import Clock
from runtime.journal import JournalSink

EVERY_S = 0.5
# A pause of a few seconds a run survives, and tells as delays.
STOPPED_S = 5.0
# A fleet says something four times a second.
SILENT_S = 30.0


class Watchdog:
    """Looks twice a second; `failed` hears of a fault once, with the first of them.

    Times are counted in looks: while this process stood still itself, nobody else is to blame.
    """

    def __init__(
        self,
        processes: Callable[[], Iterable[BenchProcess]],
        journals: Path,
        journal: JournalSink,
        clock: Clock,
        failed: Callable[[Exception], None],
    ) -> None:
        self._processes = processes
        self._journals = journals
        self._journal = journal
        self._clock = clock
        self._failed = failed
        self._stopped_looks: dict[str, int] = {}
        self._silent: dict[str, tuple[int, int]] = {}
        self._journal_bytes: dict[Path, int] = {}
        self._told: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled; the first time at once, to know what is there."""
        while True:
            self.look()
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Look once."""
        for process in self._processes():
            self._look_at(process)
        self._look_at_journals()

    def _look_at(self, process: BenchProcess) -> None:
        name = process.name
        is_watched = process.is_running and process.is_wanted
        stopped = self._stopped_looks.get(name, 0) + 1 if is_watched and process.is_stopped else 0
        self._stopped_looks[name] = stopped
        silent = 0
        if is_watched and is_fleet(name) and process.is_ready:
            lines, looks = self._silent.get(name, (-1, 0))
            silent = looks + 1 if lines == process.lines_said else 0
        self._silent[name] = (process.lines_said, silent)
        for looks, limit_s, what in (
            (stopped, STOPPED_S, "is held still by a signal"),
            (silent, SILENT_S, "has said nothing"),
        ):
            if looks * EVERY_S >= limit_s:
                self._tell(
                    Note(
                        at_ns=self._clock.now_ns(),
                        name=NOTE_STOOD_STILL,
                        endpoint=name,
                        value=looks * EVERY_S,
                        text=f"{name} {what} for {looks * EVERY_S:g} s",
                    )
                )

    def _look_at_journals(self) -> None:
        found = dict(_sizes(self._journals))
        for file, before in self._journal_bytes.items():
            now = found.get(file)
            if now is None or now < before:
                what = "is gone" if now is None else f"was cut from {before} to {now} bytes"
                self._tell(
                    Note(
                        at_ns=self._clock.now_ns(),
                        name=NOTE_BENCH_FAULT,
                        endpoint=file.name,
                        text=f"the journal {file.name} {what} while it was written",
                    )
                )
        self._journal_bytes |= found

    def _tell(self, note: Note) -> None:
        if note.endpoint not in self._told:
            self._told.add(note.endpoint)
            self._journal.record(note)
            self._failed(BenchFailed(note.text))


def _sizes(journals: Path) -> Iterator[tuple[Path, int]]:
    for file in journals.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            yield file, file.stat().st_size
