"""What `ps` shows as the command line of a process that was forked and not executed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path

# Fields of /proc/PID/stat, counted behind the name, which may hold spaces: proc(5) 48 and 49.
_ARG_START, _ARG_END = 48 - 3, 49 - 3


def show_command_line(words: Sequence[str]) -> None:
    """Let this process be listed as `words`, as far as its first command line had room.

    The program's folder is left out first where it is short of room. Only Linux can do it;
    elsewhere the command line stays what it was.
    """
    place = _place_of_arguments()
    if place is None:
        return
    start, size = place
    ctypes.memmove(start, fitted(words, size), size)


def fitted(words: Sequence[str], size: int) -> bytes:
    """The words with spaces between, in exactly `size` bytes as the kernel wants them."""
    line = _joined(words)
    if len(line) > size - 2:
        line = _joined([Path(words[0]).name, *words[1:]])
    # A last byte that is not zero says that the rest is one string, up to its zero: without, every
    # byte of padding would be shown as an empty argument.
    return line[: size - 2].ljust(size - 1, b"\0") + b"."


def _joined(words: Sequence[str]) -> bytes:
    return b" ".join(word.encode(errors="surrogateescape") for word in words)


def _place_of_arguments() -> tuple[int, int] | None:
    """Address and size of the command line in this process's memory."""
    if sys.platform != "linux":
        return None
    try:
        fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, ValueError, IndexError):
        return None
    # Zeros are shown to those who may not trace the process.
    return (start, end - start) if 0 < start < end else None
