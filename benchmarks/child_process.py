"""A process of a benchmark that is told what to do on a pipe, and what it used."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

Told = Any


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


class Child:
    """One such process; `ask` blocks."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self.pid: int = process.pid
        self._pipe = pipe

    def ask(self, told: Told, within_s: float = 900.0) -> Any:
        """Its answer. Raises `TimeoutError`, or `EOFError` when it has died."""
        self._pipe.send(told)
        if not self._pipe.poll(within_s):
            raise TimeoutError(f"a process of the benchmark is silent for {within_s:g} s")
        return self._pipe.recv()


@contextlib.contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator[Child]:
    """Run `target(pipe, *arguments)` in a process of its own until the block ends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Child(process, ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send(None)
        process.join(timeout=5)
        process.kill()
        process.join()
