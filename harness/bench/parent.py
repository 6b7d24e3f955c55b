"""Children that do not outlive the process that started them, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec as little as possible may happen.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> Callable[[], None]:
    """A `preexec_fn`: the kernel kills the child when its starter ends, also by SIGKILL.

    The starter must start it from its main thread. Only Linux can do it; elsewhere children end
    when their standard input does.
    """
    parent = os.getpid()

    def between_fork_and_exec() -> None:
        die_with(parent)

    return between_fork_and_exec


def die_with(parent: int) -> None:
    """Have the kernel end this process when `parent`, which started it, ends; see above."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
