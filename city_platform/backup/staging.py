"""The folder in which a backup or a restored folder is made, beside the place that it gets.

Who works in one holds a lock on it, which ends with the process however that ends. So what a kill
left behind, keys among it, is known for that and goes with the next try.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".partial"


@contextlib.contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """A new folder that its owner alone can read; gone after the block, unless it was renamed.

    Those that a kill left of the same `target` are taken away first. Raises `OSError`.
    """
    with contextlib.ExitStack() as opened:
        with _lock(target.parent, fcntl.LOCK_EX):
            _sweep(target)
            staging = Path(
                tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_SUFFIX, dir=target.parent)
            )
            opened.callback(shutil.rmtree, staging, ignore_errors=True)
            opened.enter_context(_lock(staging, fcntl.LOCK_EX))
        yield staging


def _sweep(target: Path) -> None:
    # Of an earlier version there may be a file beside its folder.
    ours = re.compile(re.escape(f".{target.name}.") + r"\w+\.partial(\.tar)?", re.ASCII)
    for path in target.parent.iterdir():
        if not ours.fullmatch(path.name) or path.is_symlink():
            continue
        with contextlib.suppress(OSError), _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextlib.contextmanager
def _lock(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)
