"""One process of the bench: started, configured, awaited, told, killed and sampled.

A process gets its configuration as the first line on standard input, says JSON lines on standard
output, and logs to a file. It dies with the bench, also when the bench is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil

from harness.bench.child import Child, Executing, Starter
from harness.errors import BenchFailed

Side = Literal["fleet", "emulated", "platform", "instruments"]
Said = Callable[[str, Mapping[str, Any]], None]

TERMINATE_WITHIN_S = 1.5
# A killed process gets no further than the kernel's own work for it, which a slow disk draws out.
KILLED_WITHIN_S = 30.0
# What `runtime.component` puts before each line of a log: time, component, level, logger.
_STAMP = re.compile(r"^[\d-]+ [\d:,]+ \S+ [A-Z]+ [\w.]+: ")


class BenchProcess:
    """A child process and what it has said so far.

    `name` is unique on a bench; `said` gets every line that is not the ready line. `starter` starts
    it each time; without one it gets an interpreter of its own. What its children use is counted as
    its own unless `has_own_children` is false.
    """

    def __init__(
        self,
        name: str,
        side: Side,
        arguments: list[str],
        log: Path,
        said: Said,
        starter: Starter | None = None,
        *,
        has_own_children: bool = True,
    ) -> None:
        self.name = name
        self.side: Side = side
        self.addresses: dict[str, str] = {}
        self._arguments = arguments
        self._log = log
        self._said = said
        self._starter: Starter = starter or Executing()
        self._has_own_children = has_own_children
        self._process: Child | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._known_family: list[psutil.Process] = []
        self.is_wanted = True
        # Whether the current incarnation was given its configuration: what it is told comes after.
        self.is_configured = False
        # How many lines it has said: a sign of life of those that talk.
        self.lines_said = 0
        # How often it was started: which incarnation this is.
        self.starts = 0

    @property
    def pid(self) -> int:
        """The process id of the current incarnation, which has begun to run."""
        assert self._process is not None
        assert self._process.pid is not None, f"{self.name} waits for its fork server"
        return self._process.pid

    @property
    def has_pid(self) -> bool:
        """Whether the current incarnation runs, or ran. A forked one waits until its turn comes."""
        return self._process is not None and self._process.pid is not None

    @property
    def has_started(self) -> bool:
        """Whether there is, or was, an incarnation."""
        return self._process is not None

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.returncode if self._process else None

    @property
    def is_left(self) -> bool:
        """Whether the system still runs it, whatever is known of its end."""
        if not self.has_pid:
            return False
        try:
            # Whoever has to take note of its end may be slow to: it does nothing any more.
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    @property
    def is_ready(self) -> bool:
        """Whether its current incarnation has said that it can serve."""
        return self._ready.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether it runs and a signal holds it still."""
        if not self.is_running or not self.has_pid:
            return False
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process; it imports and waits for `configure`."""
        self._ready.clear()
        self._ended.clear()
        self.starts += 1
        self.is_wanted = True
        self.is_configured = False
        with self._log.open("ab") as log:
            self._process = await self._starter([*self._arguments, "--config", "-"], log)
        self._reading = asyncio.create_task(self._read(self._process))

    def configure(self, config: Mapping[str, Any]) -> None:
        """Send the configuration line."""
        self.is_configured = True
        self.tell(config)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send one JSON line. A process that is gone does not hear it."""
        if self._process:
            self._process.write(msgspec.json.encode(message) + b"\n")

    async def until_ready(self, within_s: float) -> None:
        """Wait for the ready line. Raises `BenchFailed` with the end of the log."""
        waits = [asyncio.create_task(event.wait()) for event in (self._ready, self._ended)]
        try:
            await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._ready.is_set():
            state = "ended" if self._ended.is_set() else f"was not ready within {within_s:g} s"
            raise BenchFailed(f"{self.name} {state}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line of its log without its stamp, and where the log is."""
        lines = self._log.read_text(errors="replace").split("\n") if self._log.exists() else []
        last = next((line for line in reversed(lines) if line.strip()), "it logged nothing")
        return f"{_STAMP.sub('', last.strip())} (log: {self._log})"

    def kill(self) -> None:
        """SIGKILL, now."""
        if self.is_running:
            self.pid_signal(signal.SIGKILL)

    def pid_signal(self, number: signal.Signals) -> None:
        """Send a signal to this process if it still runs."""
        if self._process:
            self._process.send_signal(number)

    async def until_running(self) -> None:
        """Wait until the current incarnation runs, or has ended without."""
        assert self._process is not None
        await self._process.until_running()

    async def until_ended(self) -> int:
        """Wait until this incarnation has ended and everything it said was read."""
        process, reading = self._process, self._reading
        assert process is not None
        await process.wait()
        if reading:
            await asyncio.shield(reading)
        return process.returncode or 0

    async def until_killed(self, within_s: float = KILLED_WITHIN_S) -> None:
        """Wait until it has ended of SIGKILL. Raises `BenchFailed`, which says what has not."""
        if not await self._ends(within_s):
            raise BenchFailed(self._not_ended(within_s))

    async def stop(self, killed_within_s: float = KILLED_WITHIN_S) -> str:
        """Ask it to end, then make it.

        What of it could not be ended in time, with its name before a colon; empty when all is gone.
        """
        self.is_wanted = False
        if not self.is_running:
            return ""
        self.pid_signal(signal.SIGTERM)
        if await self._ends(TERMINATE_WITHIN_S):
            return ""
        self.pid_signal(signal.SIGKILL)
        if await self._ends(killed_within_s):
            return ""
        left = self._not_ended(killed_within_s)
        if self._process:
            self._process.let_go()
        return left

    async def _ends(self, within_s: float) -> bool:
        try:
            # Not `wait_for`: until Python 3.12 it swallows a cancellation that comes with the end.
            async with asyncio.timeout(within_s):
                await self.until_ended()
        except TimeoutError:
            return False
        return True

    def _not_ended(self, within_s: float) -> str:
        killed = f"{self.name}: killed, and"
        if self.is_left:
            return f"{killed} still there {within_s:g} s later (process {self.pid})"
        if self.is_running:
            return f"{killed} its fork server does not tell its end ({within_s:g} s)"
        holders = ", ".join(f"{each.name()} (process {each.pid})" for each in _session(self.pid))
        return f"{self.name}: ended, but {holders or 'something'} that it started holds its output"

    def sample(self) -> tuple[float, int]:
        """CPU seconds used and resident bytes, its own and its children's; zeros when gone."""
        try:
            found = [_sample(process) for process in self._family()]
        except (psutil.Error, AssertionError):
            return 0.0, 0
        return sum(cpu_s for cpu_s, _ in found), sum(rss_bytes for _, rss_bytes in found)

    def descriptors(self) -> int:
        """Open descriptors of the process and its children; 0 when gone or not to be told."""
        try:
            return sum(process.num_fds() for process in self._family())
        except (psutil.Error, AssertionError):
            return 0

    def _family(self) -> list[psutil.Process]:
        """The process and the children it had when it became ready (a Mosquitto, say)."""
        if not self._known_family or self._known_family[0].pid != self.pid:
            own = psutil.Process(self.pid)
            if not self._ready.is_set() or not self._has_own_children:
                return [own]
            self._known_family = [own, *own.children()]
        return self._known_family

    async def _read(self, process: Child) -> None:
        while line := await process.stdout.readline():
            self.lines_said += 1
            try:
                message = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.DecodeError:
                continue  # a library printed something; it is in nobody's contract
            if "ready" in message:
                self.addresses = message["ready"]
                self._ready.set()
            else:
                self._said(self.name, message)
        await process.wait()
        self._ended.set()


def _session(leader: int) -> list[psutil.Process]:
    """What it started, directly or not, and is there without it: each leads a session."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(each.pid) == leader and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def _sample(process: psutil.Process) -> tuple[float, int]:
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
    return times.user + times.system, memory.rss
