"""Files that are whole or absent: atomic writes, owner-only secrets, directory syncs."""

from __future__ import annotations

import contextlib
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

    With `sync` the content survives a power cut, without it the kill of the process. On an
    `OSError` `path` is as it was, and nothing else is left of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = _open_new(temporary, mode)
    try:
        try:
            _write_all(descriptor, data)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        # It would take room from a disk that may have none.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
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


def _open_new(path: Path, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        # A kill left it, of a process with this number; its mode may be another one.
        os.unlink(path)
        return os.open(path, flags, mode)


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written == len(data):
        return
    # A disk that gets full takes the beginning, and says so at the next write alone.
    view = memoryview(data)[written:]
    while view:
        view = view[os.write(descriptor, view) :]
