"""Processes that tests start: what they say is waited for a bounded time, and none outlives its
test.

`with subprocess.Popen(...)` waits at its end for as long as the process likes, also when the block
failed or its time was over: not for tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

WITHIN_S: Final = 60.0


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process while the block runs; `options` are those of `Popen`. Its output is text."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    try:
        yield process
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait(WITHIN_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def end(process: subprocess.Popen[Any], within_s: float = WITHIN_S) -> None:
    """Close its standard input, for those that end by that; kill it when it does not in time."""
    try:
        process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        _kill(process)


async def ended(process: asyncio.subprocess.Process, within_s: float = WITHIN_S) -> None:
    """Ask it to end; kill it when it does not in time."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), within_s)
    except TimeoutError:
        # Kills it and lets its pipes go: `wait` waits for them too, which children of its own hold.
        process._transport.close()  # type: ignore[attr-defined]  # nothing public does
        await asyncio.wait_for(process.wait(), WITHIN_S)


def line_of(process: subprocess.Popen[Any], within_s: float = WITHIN_S) -> str:
    """The next line that it says, without its end. Raises `AssertionError` when none comes."""
    assert process.stdout is not None
    descriptor, ends_at = process.stdout.fileno(), time.monotonic() + within_s
    line = bytearray()
    while select.select([descriptor], [], [], max(0.0, ends_at - time.monotonic()))[0]:
        # Byte by byte: what follows the line is for who reads next.
        byte = os.read(descriptor, 1)
        if byte == b"\n":
            return line.decode()
        assert byte, f"it ended in the line {line.decode()!r}"
        line += byte
    raise AssertionError(f"no line within {within_s:g} s, only {line.decode()!r}")
