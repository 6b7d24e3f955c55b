"""A running child process, whichever way it was started."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import BinaryIO, Final, Protocol

from harness.bench.parent import die_with_parent

# A line that a process says may be as long.
LINE_BYTES_MAX: Final = 16 * 1024 * 1024


class Child(Protocol):
    """What a bench does with a process that it has started."""

    stdout: asyncio.StreamReader

    @property
    def pid(self) -> int | None:
        """Its process id; None while it has not begun to run."""

    @property
    def returncode(self) -> int | None:
        """None until it has ended; minus the signal's number when one ended it."""

    def write(self, data: bytes) -> None:
        """Put bytes into its standard input. One that is gone does not hear them."""

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""

    async def until_running(self) -> None:
        """Wait until it runs, or has ended without."""

    async def wait(self) -> int:
        """Wait for its end; returns the code."""

    def let_go(self) -> None:
        """Close the pipes to it, also while it, or something that it started, holds them."""


class Starter(Protocol):
    """Starts `python ARGUMENTS`, with pipes at standard input and output and `log` at error."""

    async def __call__(self, arguments: Sequence[str], log: BinaryIO) -> Child:
        """Returns the child, which may begin to run later. Raises `OSError`."""


class ExecutedChild:
    """A child that runs an interpreter of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdout = process.stdout
        self._stdin = process.stdin
        self._process = process

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None until it has ended."""
        return self._process.returncode

    def write(self, data: bytes) -> None:
        """Put bytes into its standard input."""
        if not self._stdin.is_closing():
            self._stdin.write(data)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def until_running(self) -> None:
        """It does."""

    async def wait(self) -> int:
        """Wait for its end; returns the code."""
        return await self._process.wait()

    def let_go(self) -> None:
        """Close the pipes to it."""
        self._process._transport.close()  # type: ignore[attr-defined]  # nothing public does


class Executing:
    """Starts an interpreter for each process; `inherited` are descriptors that it keeps open."""

    def __init__(self, inherited: Sequence[int] = ()) -> None:
        self._inherited = tuple(inherited)

    async def __call__(self, arguments: Sequence[str], log: BinaryIO) -> ExecutedChild:
        """Returns the child, which runs. Raises `OSError`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            preexec_fn=die_with_parent(),
            limit=LINE_BYTES_MAX,
            # Ctrl-C goes to the bench alone, which tears down in order.
            start_new_session=True,
            pass_fds=self._inherited,
        )
        return ExecutedChild(process)
