"""Files that are whole or absent: atomic writes, owner-only secrets, directory syncs."""

from __future__ import annotations

import os
from pathlib import Path

OWNER_ONLY = 0o600


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644, sync: bool = False) -> None:
    """Write `data` under a temporary name and rename it to `path`.

    With `sync` the content survives a power cut, without it the kill of the process.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(descriptor, data) if len(data) < 65_536 else _write_all(descriptor, data)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    if sync:
        sync_directory(path.parent)


def write_secret(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file that its owner alone can read."""
    write_atomically(path, data, mode=OWNER_ONLY, sync=sync)


def sync_directory(path: Path) -> None:
    """Make renames and creations in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
