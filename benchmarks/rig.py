"""A bench for a measurement, and the conditions under which it was taken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from benchmarks.child_process import terminated
from harness.bench.bench import Bench, BenchPlan, bench_up
from harness.bench.state import temporary_state
from harness.errors import HarnessError
from harness.reporting.environment import environment_notes
from harness.runner.live import Live
from runtime.clock import Clock, SystemClock
from runtime.journal import JournalFile

Fields = dict[str, Any]

# py-spy says nowhere that it has attached.
ATTACHED_AFTER_S = 1.0
# It writes what it has sampled down when it is ended.
SPY_WRITES_S = 60.0
# A process that used less of a core than this, for so long, has done what it was given.
IDLE_RATIO, IDLE_FOR_S = 0.05, 0.5
IDLE_WITHIN_S = 60.0
# Turns of the loop that tells how fast the machine is, and how often it is tried.
SPEED_TURNS, SPEED_TRIES = 1_000, 50


class Rig(NamedTuple):
    """A bench that is up, and what watches it. `output` holds logs and journal."""

    bench: Bench
    live: Live
    journal: JournalFile
    clock: Clock
    output: Path


@contextlib.contextmanager
def output_directory(kept: Path | None = None) -> Iterator[Path]:
    """A directory for one measurement's logs and journal: `kept`, or one that will be gone."""
    if kept is not None:
        (kept / "journal").mkdir(parents=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="lamplighter-benchmark-") as name:
        (Path(name) / "journal").mkdir()
        yield Path(name)


@contextlib.asynccontextmanager
async def rig_up(output: Path, live: Live, **plan: Any) -> AsyncIterator[Rig]:
    """A bench with fresh state; `plan` are fields of `BenchPlan`."""
    clock = SystemClock()
    journal = JournalFile(output / "journal" / "runner.jsonl")

    def heard(process: str, message: Mapping[str, Any]) -> None:
        if process == "fleet":
            live.fleet_said(message)

    try:
        with temporary_state() as state:
            whole = BenchPlan(output_dir=output, state_dir=state, **plan)
            async with bench_up(whole, journal, clock, heard, live.fail) as bench:
                # A fleet may still wait for its fork server; nothing is measured before it runs.
                await asyncio.gather(*(each.until_running() for each in bench.processes.values()))
                yield Rig(bench, live, journal, clock, output)
    finally:
        journal.close()


async def until_idle(rig: Rig, within_s: float = IDLE_WITHIN_S) -> bool:
    """Wait until no process of the bench is at work any more; whether that came about in time.

    What an import leaves to be done (the device graph, files to be synced) is the import's.
    """
    processes, began_ns = rig.bench.processes, rig.clock.now_ns()
    while (rig.clock.now_ns() - began_ns) / 1e9 < within_s:
        before = {name: each.sample()[0] for name, each in processes.items()}
        await asyncio.sleep(IDLE_FOR_S)
        used = [each.sample()[0] - before.get(name, 0.0) for name, each in processes.items()]
        if max(used, default=0.0) < IDLE_RATIO * IDLE_FOR_S:
            return True
    return False


def plain_loop_us(clock: Clock) -> float:
    """Microseconds that 1,000 turns of a plain loop take here and now, the best of many tries.

    CPU times of two runs compare by it: a virtual machine that its host gives less to, or whose
    cores others share, takes more CPU time for the same work.
    """
    tries_ns = []
    for _ in range(SPEED_TRIES):
        began_ns, total = clock.now_ns(), 0
        for number in range(SPEED_TURNS):
            total += number * number
        tries_ns.append(clock.now_ns() - began_ns)
    return round(min(tries_ns) / 1e3, 1)


def write_line(fields: Mapping[str, Any], write: Callable[[str], object]) -> None:
    """One JSON line."""
    write(msgspec.json.encode(fields).decode() + "\n")


def plain_conditions() -> Fields:
    """Machine, versions and load, for a measurement without a bench."""
    return {
        "load_after": round(os.getloadavg()[0], 2),
        **{each.name.partition(":")[2]: each.text for each in environment_notes(0)},
    }


def made_directory(text: str) -> Path:
    """The directory of an option, made if need be. Raises `OSError`."""
    directory = Path(text)
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.asynccontextmanager
async def profiled(
    rig: Rig, directory: Path | None, only: Collection[str] = ()
) -> AsyncIterator[None]:
    """Sample every process of the bench into `directory` (None: do not) while the block runs.

    Folded stacks, one file a process; `only` those that are named, when some are: each sampler
    takes its own part of the machine. Raises `HarnessError` where py-spy is not installed.
    """
    if directory is None:
        yield
        return
    spies = [
        await _spy_on(each.pid, directory / f"{name}.folded")
        for name, each in rig.bench.processes.items()
        if each.is_running and (not only or name in only)
    ]
    try:
        await asyncio.sleep(ATTACHED_AFTER_S)
        yield
    finally:
        ends = (terminated(spy, SPY_WRITES_S, asked_by=signal.SIGINT) for spy in spies)
        await asyncio.gather(*ends)


async def _spy_on(pid: int, into: Path) -> asyncio.subprocess.Process:
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        raise HarnessError("--profile needs py-spy: pip install py-spy")
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        program, "record", "--pid", str(pid), "--rate", "200", "--format", "raw",
        "--output", str(into), stdout=quiet, stderr=quiet,
    )  # fmt: skip


class CpuMeter:
    """CPU that the processes of a bench, and everybody else, use from here on."""

    def __init__(self, bench: Bench, clock: Clock) -> None:
        self._bench, self._clock = bench, clock
        self._loop_us = plain_loop_us(clock)
        self._began_ns = clock.now_ns()
        self._own = self._used_s()
        self._busy_s = _busy_s()
        self._load = os.getloadavg()[0]

    def _used_s(self) -> dict[str, float]:
        # A sample has the children in it that a process had when it became ready: the Mosquitto
        # beside our broker process. Whom a fork server made is counted by its own name alone.
        used = {name: each.sample()[0] for name, each in self._bench.processes.items()}
        return used | {"runner": sum(os.times()[:2])}

    def us_each(self, count: int) -> dict[str, int]:
        """CPU microseconds per device or row, by process."""
        now = self._used_s()
        return {name: round((now[name] - self._own[name]) / count * 1e6) for name in now}

    def conditions(self) -> Fields:
        """Machine, versions, and how much of the machine others had meanwhile."""
        wall_s = max(1e-9, (self._clock.now_ns() - self._began_ns) / 1e9)
        own_s = sum(self._used_s().values()) - sum(self._own.values())
        others_s = max(0.0, _busy_s() - self._busy_s - own_s)
        return {
            "load_before": round(self._load, 2),
            "plain_loop_us": round((self._loop_us + plain_loop_us(self._clock)) / 2, 1),
            "state_on": _file_system(Path(tempfile.gettempdir())),
            "cores_used": round(own_s / wall_s, 2),
            "cores_taken_by_others": round(others_s / wall_s, 2),
            **{each.name.partition(":")[2]: each.text for each in environment_notes(0)},
        }


def _file_system(path: Path) -> str:
    """The kind of file system that a bench's state lies on; imports are slower on a disk."""
    mounts = {each.mountpoint: each.fstype for each in psutil.disk_partitions(all=True)}
    for parent in (path, *path.parents):
        if str(parent) in mounts:
            return mounts[str(parent)]
    return ""


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq)
