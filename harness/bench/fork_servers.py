"""The fork servers of a bench: which process comes from which, and whether there are any."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal, get_args

from harness.bench.child import Child, Executing, Starter
from harness.bench.forking import ForkServerLink, can_fork
from harness.bench.process import TERMINATE_WITHIN_S, BenchProcess, Said, Side
from harness.errors import HarnessError

# How the processes of a bench are started: forked from one that has imported what they need, or
# each with an interpreter of its own.
StartedBy = Literal["fork", "exec"]

VARIABLE: Final = "LAMPLIGHTER_START"
_MODULE: Final = "harness.bench.fork_server"


def started_by(environment: Mapping[str, str]) -> StartedBy:
    """What `LAMPLIGHTER_START` asks for; without it, `fork` where the system can.

    Raises `HarnessError` for what there is not, and for `fork` where the system cannot.
    """
    asked = environment.get(VARIABLE, "")
    if asked == "fork" and not can_fork():
        raise HarnessError(
            f"{VARIABLE}=fork: this system has no descriptors of processes (Linux 5.3 and newer "
            "has); leave it out"
        )
    for way in get_args(StartedBy):
        if asked == way:
            return way  # type: ignore[no-any-return]  # get_args knows no literals
    if asked:
        raise HarnessError(f"{VARIABLE}={asked[:40]!r} is neither fork nor exec")
    return "fork" if can_fork() else "exec"


class ForkServer:
    """One fork server as a process of the bench, and the way to what it forks."""

    def __init__(self, name: str, log: Path, said: Said) -> None:
        self._link = ForkServerLink()
        self._control = self._link.theirs.fileno()
        starter = Executing(inherited=[self._control])
        # What it forks are processes of the bench themselves.
        self.process = BenchProcess(
            name, "instruments", ["-m", _MODULE], log, said, starter, has_own_children=False
        )

    def configure(self) -> None:
        """It has been started: let it serve."""
        self._link.theirs.close()
        self.process.configure({"control": self._control})

    async def __call__(self, arguments: Sequence[str], log: BinaryIO) -> Child:
        """A `Starter` of `python -m MODULE …`."""
        return await self._link.start(arguments[1], arguments[2:], log)

    def close(self) -> None:
        """It has ended, and all that it forked with it."""
        self._link.close()


class ForkServers:
    """One fork server for the platform and one for everything else, as far as they are needed.

    The system under test and what judges it share no process, and the two import side by side.
    Without a `way` it is as the environment says. Raises `HarnessError` where it cannot be.
    """

    def __init__(self, way: StartedBy | None, logs: Path, said: Said) -> None:
        self._way = way or started_by(os.environ)
        self._logs = logs
        self._said = said
        self.by_name: dict[str, ForkServer] = {}

    def starter_of(self, side: Side, arguments: Sequence[str]) -> tuple[Starter, ForkServer | None]:
        """What starts a process. A fork server comes along that has to be started for it first."""
        if self._way == "exec" or arguments[0] != "-m":
            return Executing(), None
        name = "fork-server-platform" if side == "platform" else "fork-server-bench"
        if name in self.by_name:
            return self.by_name[name], None
        made = self.by_name[name] = ForkServer(name, self._logs / f"{name}.log", self._said)
        return made, made

    async def stop(self, running: Sequence[BenchProcess]) -> list[str]:
        """End processes, and then the fork servers, which are there to tell how the others end.

        What could not be ended, as `BenchProcess.stop` says it.
        """
        servers = [each for each in running if each.name in self.by_name]
        others = [asyncio.ensure_future(each.stop()) for each in running if each not in servers]
        if others:
            # A fork server that is held still tells nothing: then its own end has to do.
            await asyncio.wait(others, timeout=2 * TERMINATE_WITHIN_S)
        left = await asyncio.gather(*(each.stop() for each in servers))
        for each in servers:
            self.lost(each.name)
        return [each for each in (*left, *await asyncio.gather(*others)) if each]

    def lost(self, name: str) -> None:
        """A process has ended; if it is a fork server, so has all that it forked."""
        if name in self.by_name:
            self.by_name[name].close()
