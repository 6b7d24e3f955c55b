"""A process of a benchmark that is told what to do on a pipe, and what it used. None is waited for
without a bound."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from harness.bench.parent import die_with

Told = Any

# Importing takes seconds where two cores are shared by many.
START_S = 120.0
END_S = 10.0


def cpu_s() -> float:
    """CPU that this process has used, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def serve_pipe(pipe: Connection, obey: Callable[[Told], Awaitable[object]]) -> None:
    """Answer what is told with what `obey` makes of it, until None is told."""
    loop = asyncio.get_running_loop()
    while True:
        is_there: asyncio.Future[None] = loop.create_future()
        loop.add_reader(pipe.fileno(), is_there.set_result, None)
        await is_there
        loop.remove_reader(pipe.fileno())
        told = pipe.recv()
        if told is None:
            return
        pipe.send(await obey(told))


def under(parent: int, target: Callable[..., None], *arguments: object) -> None:
    """A process's target: `target`, which ends with `parent`, however that ends."""
    die_with(parent)
    target(*arguments)


def started(process: Any, pipe: Connection, within_s: float = START_S) -> Any:
    """What a process says first. Raises `TimeoutError`, or `EOFError` when it has died."""
    return _received(pipe, within_s, f"{process.name} did not start")


def ended(process: Any, within_s: float = END_S) -> None:
    """Wait until it has ended, and kill it when that takes longer."""
    process.join(timeout=within_s)
    if process.is_alive():
        process.kill()
        # It gets no further than the kernel's own work for it.
        process.join(timeout=END_S)


def lines_of(process: subprocess.Popen[bytes], within_s: float, what: str) -> Iterator[bytes]:
    """The lines that a program says within so many seconds; `what` names it in errors.

    Raises `TimeoutError` when the time is over, `EOFError` when it has ended.
    """
    assert process.stdout is not None
    # Not by readline, which waits for as long as the program does.
    descriptor, ends_at = process.stdout.fileno(), time.monotonic() + within_s
    said = b""
    while select.select([descriptor], [], [], max(0.0, ends_at - time.monotonic()))[0]:
        more = os.read(descriptor, 65_536)
        if not more:
            raise EOFError(f"{what} ended before that")
        *lines, said = (said + more).split(b"\n")
        yield from lines
    raise TimeoutError(f"{what} has not come so far within {within_s:g} s")


def killed(process: subprocess.Popen[bytes], asked_first_s: float = 0.0) -> None:
    """Kill a program, which is asked to end so many seconds before.

    Raises `TimeoutError` with its number when it is there all the same.
    """
    if asked_first_s:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(asked_first_s)
    process.kill()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        raise TimeoutError(
            f"process {process.pid} was killed and is still there {END_S:g} s later"
        ) from None


async def terminated(
    process: asyncio.subprocess.Process,
    within_s: float = END_S,
    asked_by: signal.Signals = signal.SIGTERM,
) -> None:
    """Ask a program to end by a signal, and kill it when it does not in time."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(asked_by)
    try:
        await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        # Kills it and lets its pipes go: `wait` waits for them too, which children of its own hold.
        process._transport.close()  # type: ignore[attr-defined]  # nothing public does
        await asyncio.wait_for(process.wait(), END_S)


def _received(pipe: Connection, within_s: float, otherwise: str) -> Any:
    if not pipe.poll(within_s):
        raise TimeoutError(f"{otherwise} within {within_s:g} s")
    return pipe.recv()


class Child:
    """One such process; `ask` blocks."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self.pid: int = process.pid
        self._pipe = pipe

    def ask(self, told: Told, within_s: float = 900.0) -> Any:
        """Its answer. Raises `TimeoutError`, or `EOFError` when it has died."""
        self._pipe.send(told)
        return _received(self._pipe, within_s, "a process of the benchmark said nothing")


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator[Child]:
    """Run `target(pipe, *arguments)` in a process of its own until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    told = (os.getpid(), target, theirs, *arguments)
    process = context.Process(target=under, args=told, daemon=True)
    process.start()
    theirs.close()
    try:
        yield Child(process, ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        ended(process)
