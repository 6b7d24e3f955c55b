"""Where a bench keeps its stores and keys: a private directory that does not outlive the bench."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "lamplighter-state-"
KEPT_PREFIX = "lamplighter-kept-"

# Waits for the end of its standard input, which the kernel closes when the bench is gone, however
# it went: a SIGKILL leaves nobody else who could remove the keys. A component that is ending may
# still write a file while they are removed, which makes `rm` fail: it tries again, some seconds.
_JANITOR = (
    "cat >/dev/null; tries=0; "
    'until rm -rf -- "$0" 2>/dev/null || [ $tries -ge 50 ]; do '
    "tries=$((tries + 1)); sleep 0.1; done"
)


@contextlib.contextmanager
def temporary_state() -> Iterator[Path]:
    """A directory that its owner alone can read, removed with the block or with the process."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    janitor = subprocess.Popen(
        ["/bin/sh", "-c", _JANITOR, str(directory)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if janitor.stdin:
            janitor.stdin.close()
        janitor.wait()


def keep(state: Path) -> Path:
    """Move a state directory to where nobody removes it; returns the new path."""
    return state.rename(state.with_name(state.name.replace(PREFIX, KEPT_PREFIX)))
