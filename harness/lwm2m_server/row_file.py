"""Lines in a file that its owner alone can read: appended, and now and then written anew.

What is appended survives the kill of the process; with `sync`, a power cut as well. A kill may cut
the last line short: whoever reads passes over what it cannot decode.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime.files import OWNER_ONLY, write_secret


def read_lines(path: Path) -> list[bytes]:
    """The lines of such a file; none when it is not there."""
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []


class RowFile:
    """One open file. `lines` counts what is in it."""

    def __init__(self, path: Path, lines: Iterable[bytes], *, sync: bool = False) -> None:
        """Begin with `lines`, in place of what was there. Raises `OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._sync = sync
        self._descriptor = -1
        self.lines = 0
        self.replace(lines)

    def replace(self, lines: Iterable[bytes]) -> None:
        """Write the whole file anew; it is the old one or the new one at any time."""
        kept = list(lines)
        write_secret(self._path, b"".join([line + b"\n" for line in kept]), sync=self._sync)
        self.close()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND, OWNER_ONLY)
        self.lines = len(kept)

    def append(self, lines: Sequence[bytes]) -> None:
        """Add lines; they are there when it returns. Raises `OSError`."""
        if not lines:
            return
        view = memoryview(b"\n".join(lines) + b"\n")
        while view:
            view = view[os.write(self._descriptor, view) :]
        if self._sync:
            os.fsync(self._descriptor)
        self.lines += len(lines)

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
