"""What the watchdog notices of processes and journals, with real processes that do nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from contracts.journal import Note
from harness.bench.process import BenchProcess
from harness.runner.watchdog import EVERY_S, SILENT_S, STOPPED_S, Watchdog
from runtime.clock import SystemClock
from tests.processes import WITHIN_S

# Says that it is ready, then nothing, until its input ends.
SILENT = "import sys; print('{\"ready\": {}}', flush=True); sys.stdin.read()"
# Says a line for each that it gets.
ECHO = SILENT.replace("sys.stdin.read()", "[print('{}', flush=True) for _ in sys.stdin]")
STOPPED_LOOKS = round(STOPPED_S / EVERY_S)
SILENT_LOOKS = round(SILENT_S / EVERY_S)


class Notes(list[Note]):
    """A journal."""

    def record(self, record: Note) -> None:
        self.append(record)


class World:
    """A watchdog over some processes, and what it told."""

    def __init__(self, journals: Path, *processes: BenchProcess) -> None:
        self.notes = Notes()
        self.failures: list[str] = []
        self.watchdog = Watchdog(
            lambda: processes,
            journals,
            self.notes,
            SystemClock(),
            lambda error: self.failures.append(str(error)),
        )

    def look(self, times: int) -> None:
        for _ in range(times):
            self.watchdog.look()


def with_process(
    tmp_path: Path, name: str, code: str, work: Callable[[World, BenchProcess], Awaitable[None]]
) -> None:
    """Do `work` with a process that is ready."""

    async def scenario() -> None:
        process = BenchProcess(name, "fleet", ["-c", code], tmp_path / "log", lambda *_: None)
        await process.start()
        try:
            await process.until_ready(20)
            await work(World(tmp_path, process), process)
        finally:
            process.kill()
            await process.until_ended()

    asyncio.run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 # of the state of a process there is no event
            await asyncio.sleep(0)


def test_a_process_that_a_signal_holds_still_is_told_once_after_some_seconds(
    tmp_path: Path,
) -> None:
    async def work(world: World, process: BenchProcess) -> None:
        process.pid_signal(signal.SIGSTOP)
        await until(lambda: process.is_stopped)
        world.look(STOPPED_LOOKS - 1)
        assert world.failures == []
        world.look(5)
        assert world.failures == ["broker is held still by a signal for 5 s"]
        [note] = world.notes
        assert (note.name, note.endpoint, note.value) == ("process_stood_still", "broker", 5.0)

    with_process(tmp_path, "broker", SILENT, work)


def test_one_that_goes_on_in_time_is_not_told(tmp_path: Path) -> None:
    async def work(world: World, process: BenchProcess) -> None:
        for _ in range(3):
            process.pid_signal(signal.SIGSTOP)
            await until(lambda: process.is_stopped)
            world.look(STOPPED_LOOKS - 1)
            process.pid_signal(signal.SIGCONT)
            await until(lambda: not process.is_stopped)
            world.look(1)
        assert world.failures == []

    with_process(tmp_path, "broker", SILENT, work)


def test_a_fleet_that_says_nothing_is_told_and_another_process_may_be_silent(
    tmp_path: Path,
) -> None:
    async def work(world: World, process: BenchProcess) -> None:
        world.look(SILENT_LOOKS)
        assert world.failures == []
        world.look(1)
        assert world.failures == ["fleet-2 has said nothing for 30 s"]
        process.name = "ingestion"
        other = World(tmp_path, process)
        other.look(2 * SILENT_LOOKS)
        assert other.failures == []

    with_process(tmp_path, "fleet-2", SILENT, work)


def test_a_fleet_that_talks_is_alive_and_one_that_may_end_is_not_watched(tmp_path: Path) -> None:
    async def work(world: World, process: BenchProcess) -> None:
        for _ in range(3):
            world.look(SILENT_LOOKS)
            said = process.lines_said
            process.tell({})
            await until(lambda said=said: process.lines_said > said)
        process.is_wanted = False
        world.look(2 * SILENT_LOOKS)
        assert world.failures == []

    with_process(tmp_path, "fleet", ECHO, work)


def test_a_journal_that_becomes_shorter_or_is_gone_is_told(tmp_path: Path) -> None:
    for name in ("fleet", "server"):
        (tmp_path / f"{name}.jsonl").write_bytes(b"{}\n" * 10)
    world = World(tmp_path)
    world.look(2)
    assert world.notes == []
    (tmp_path / "fleet.jsonl").write_bytes(b"{}\n")
    (tmp_path / "server.jsonl").unlink()
    world.look(2)
    assert sorted(world.failures) == [
        "the journal fleet.jsonl was cut from 30 to 3 bytes while it was written",
        "the journal server.jsonl is gone while it was written",
    ]
    assert {note.name for note in world.notes} == {"bench_fault"}
