"""Processes that tests start: what they say is waited for a bounded time, and none outlives its
test.

`with subprocess.Popen(...)` waits at its end for as long as the process likes, also when the block
failed or its time was over: not for tests.
"""

from __future__ import annotations

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
        process.kill()
        process.wait(WITHIN_S)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def line_of(process: subprocess.Popen[str], within_s: float = WITHIN_S) -> str:
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
