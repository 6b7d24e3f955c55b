"""The process tap: what every process of the bench holds and uses, and this one's loop delay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import psutil

from contracts.journal import LoopSample, ProcessSample
from harness.bench.process import BenchProcess
from runtime.clock import Clock
from runtime.journal import JournalSink

EVERY_S = 0.5


class ProcessTap:
    """Samples twice a second; the runner itself counts as an instrument."""

    def __init__(
        self,
        processes: Callable[[], Iterable[BenchProcess]],
        journal: JournalSink,
        clock: Clock,
    ) -> None:
        self._processes = processes
        self._journal = journal
        self._clock = clock
        self._self = psutil.Process()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            due_ns = self._clock.now_ns() + int(EVERY_S * 1e9)
            await asyncio.sleep(EVERY_S)
            late_ns = max(0, self._clock.now_ns() - due_ns)
            self._journal.record(
                LoopSample(
                    at_ns=self._clock.now_ns(),
                    process="runner",
                    delay_p99_ns=late_ns,
                    delay_max_ns=late_ns,
                )
            )
            self.sample()

    def sample(self) -> None:
        """Record every process once."""
        for process in self._processes():
            cpu_s, rss_bytes = process.sample()
            if rss_bytes:
                descriptors = process.descriptors()
                self._record(process.name, process.side, cpu_s, rss_bytes, descriptors)
        times, rss_bytes = self._self.cpu_times(), self._self.memory_info().rss
        used_s = times.user + times.system
        self._record("runner", "instruments", used_s, rss_bytes, self._self.num_fds())

    def _record(
        self, process: str, side: str, cpu_s: float, rss_bytes: int, descriptors: int
    ) -> None:
        self._journal.record(
            ProcessSample(
                at_ns=self._clock.now_ns(),
                process=process,
                side=side,
                cpu_s=cpu_s,
                rss_bytes=rss_bytes,
                descriptors=descriptors,
            )
        )
