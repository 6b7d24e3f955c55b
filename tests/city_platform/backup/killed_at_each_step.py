"""Does one thing again and again, killed one step later each time, until it comes to its end.

A program of its own: `python killed_at_each_step.py backup|restore SOURCE FOLDER`. It works in
FOLDER/0, FOLDER/1, … and prints how many kills there were. A step is what the interpreter tells of
files: one opened, made, renamed, linked or taken away.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from city_platform.backup import back_up, restore

STEPS_MAX = 400
WITHIN_S = 60
_STEPS = {"open", "sqlite3.connect", "sqlite3.connect/handle"}


def main(what: str, source: Path, folder: Path) -> int:
    """Prints the number of kills."""
    for step in range(STEPS_MAX):
        place = folder / str(step)
        place.mkdir()

        def work(place: Path = place) -> None:
            if what == "backup":
                back_up(source, place / "b", 1, with_keys=True)
            else:
                restore(source, place / "new")

        if not is_killed_at(step, work):
            sys.stdout.write(f"{step}\n")
            return 0
    return 1


def is_killed_at(step: int, work: Callable[[], None]) -> bool:
    """Whether a process that did `work` came to its step number `step`."""
    child = os.fork()
    if child == 0:
        try:
            # Whatever it does, it ends.
            signal.alarm(WITHIN_S)
            _count_down(step)
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"step {step} failed")
    return False


def _count_down(steps: int) -> None:
    left = [steps]

    def count(event: str, _: object) -> None:
        if event in _STEPS or event.startswith(("os.", "shutil.", "tempfile.")):
            if left[0] == 0:
                # Not by os.kill, of which this would be told.
                signal.raise_signal(signal.SIGKILL)
            left[0] -= 1

    sys.addaudithook(count)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
