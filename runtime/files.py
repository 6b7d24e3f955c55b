"""Files that are whole or absent: atomic writes, owner-only secrets, directory syncs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runtime.component import ConfigError

OWNER_ONLY = 0o600
_OTHERS = 0o077


class FileRefused(ValueError):
    """A file cannot be read, is none, or is too large; the text says which, without its name."""


def read_file(path: Path, bytes_max: int) -> bytes:
    """The content of a regular file of at most `bytes_max` bytes. Raises `FileRefused`.

    Devices and pipes are refused: some never end, some wait for ever.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "Is a directory" if path.is_dir() else "it is no regular file"
            raise FileRefused(what)
        with path.open("rb") as file:
            # By what comes: what a file says of its size need not be so.
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise FileRefused(error.strerror or str(error)) from error
    if len(data) > bytes_max:
        raise FileRefused(f"it has more than the {bytes_max:,} bytes that are read")
    return data


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


def check_owner_only(path: Path | str) -> None:
    """Return when nobody but its owner can read the file.

    Raises `ConfigError`, or `OSError` when the file is not there.
    """
    if Path(path).stat().st_mode & _OTHERS:
        raise ConfigError(f"{path} has keys: its mode must be 0600 (chmod 600 {path})")


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
