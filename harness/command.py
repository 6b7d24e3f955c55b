"""Where the `lamplighter` command begins, and where what nobody foresaw ends: in one line.

Ctrl-C is one line from here on too, also while it loads.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType

EXIT_OTHER = 3
# As for the processes of a bench: how much is logged.
LOG_VARIABLE = "LAMPLIGHTER_LOG"
_TEXT_MAX = 300
INTERRUPTED = "interrupted: what was started has been ended, and nothing is judged"


def main() -> None:
    """Entry point."""
    # Until the event loop hears signals itself. Nothing has been started by then that would have
    # to be ended, and a KeyboardInterrupt in the middle of an import is a traceback of its own.
    signal.signal(signal.SIGINT, _leave)
    try:
        from harness.cli import main as run

        run()
    except Exception as error:
        # Python's own ending is exit 1, which is a verdict: broken.
        _tell_unforeseen(error)
        sys.exit(EXIT_OTHER)


def _tell_unforeseen(error: Exception) -> None:
    if isinstance(error, MemoryError):
        sys.stderr.write(
            "lamplighter: there is not enough memory: ask for less, or fewer devices\n"
        )
        return
    if "DEBUG" in os.environ.get(LOG_VARIABLE, "").upper():
        traceback.print_exception(error)
        how = ""
    else:
        how = f"; run it again with {LOG_VARIABLE}=DEBUG for the traceback"
    text = " ".join(str(error).split())[:_TEXT_MAX] or "no more is known"
    sys.stderr.write(
        f"lamplighter: this is a fault of Lamplighter, and nothing is judged: "
        f"{type(error).__name__}: {text}{how}\n"
    )


def _leave(number: int, frame: FrameType | None) -> None:
    sys.stderr.write(f"lamplighter: {INTERRUPTED}\n")
    sys.stderr.flush()
    os._exit(EXIT_OTHER)
