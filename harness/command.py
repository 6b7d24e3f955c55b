"""Where the `lamplighter` command begins: Ctrl-C is one line from here on, also while it loads."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_OTHER = 3
INTERRUPTED = "interrupted: what was started has been ended, and nothing is judged"


def main() -> None:
    """Entry point."""
    # Until the event loop hears signals itself. Nothing has been started by then that would have
    # to be ended, and a KeyboardInterrupt in the middle of an import is a traceback of its own.
    signal.signal(signal.SIGINT, _leave)
    from harness.cli import main as run

    run()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.stderr.write(f"lamplighter: {INTERRUPTED}\n")
    sys.stderr.flush()
    os._exit(EXIT_OTHER)
