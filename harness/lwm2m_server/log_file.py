"""The server's log on disk: appended once a turn, replaced as a whole at a compaction.

A compaction of a running server is written beside it, piece by piece; what was appended meanwhile
follows, and then the new file takes the old one's name. A kill at any point leaves one whole log.

A record that was appended survives the kill of the process, because the kernel has it. With `sync`
it has also reached the disk and survives a power cut; without, a power cut may take the last
records, and with them sequence numbers that a bridge has already seen.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from harness.lwm2m_server.records import DecodedLog, decode_log
from runtime.files import sync_directory, write_atomically

LOG_NAME = "events.log"
DAMAGED_NAME = "events.log.damaged"
# A successor that a kill left unfinished.
_UNFINISHED = f".{LOG_NAME}.*"
_COPY_BYTES = 1024 * 1024
# How much is written between two syncs: one at the end would hold everything up.
_SYNC_EVERY_BYTES = 4 * 1024 * 1024


class LogInUse(OSError):
    """Another server works in the same state directory."""


class LogFile:
    """One process's log in `directory`. Raises `LogInUse` when another process holds it."""

    def __init__(self, directory: Path, *, sync: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / LOG_NAME
        self._sync = sync
        self._lock = _lock(directory / ".lock")
        for left in directory.glob(_UNFINISHED):
            left.unlink()
        self._descriptor = -1
        self.size = 0

    def read(self) -> DecodedLog:
        """What earlier incarnations left; empty when there is none."""
        try:
            return decode_log(self._path.read_bytes())
        except FileNotFoundError:
            return DecodedLog([], 0, damaged=False)

    def set_damaged_aside(self) -> Path:
        """Keep a damaged log for people to look at, under another name."""
        aside = self._path.with_name(DAMAGED_NAME)
        os.replace(self._path, aside)
        return aside

    def replace(self, content: bytes) -> None:
        """Make `content` the whole log, atomically, and append behind it from now on."""
        write_atomically(self._path, content, mode=0o600, sync=self._sync)
        self._close_descriptor()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        self.size = len(content)
        if self._sync:
            sync_directory(self._path.parent)

    def begin_successor(self) -> Successor:
        """A log to take this one's place: write into it, then `succeed`."""
        return Successor(self._path, self.size, sync=self._sync)

    def catch_up(self, successor: Successor) -> bool:
        """Copy a portion of what was appended here since the successor was begun; False when it may
        `succeed` without a pause."""
        return successor.catch_up(self._path, self.size)

    def succeed(self, successor: Successor) -> None:
        """Let the successor follow, with what was appended here since it was begun."""
        successor.copy_from(self._path)
        os.replace(successor.path, self._path)
        if self._sync:
            sync_directory(self._path.parent)
        self._close_descriptor()
        self._descriptor, self.size = successor.descriptor, successor.size

    def append(self, records: bytes) -> None:
        """Append a turn's records in one write. Raises `OSError`, and then nothing may leave."""
        _write_all(self._descriptor, records)
        if self._sync:
            os.fdatasync(self._descriptor)
        self.size += len(records)

    def close(self) -> None:
        """Let go of the file and of the directory; safe to call twice."""
        self._close_descriptor()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Successor:
    """A log that is being written in another's place."""

    def __init__(self, path: Path, since: int, *, sync: bool) -> None:
        self.path = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self.size = 0
        # Where in the old log that begins which is not in what is written here.
        self._since = since
        self._sync = sync
        self._unsynced = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self.descriptor = os.open(self.path, flags, 0o600)

    def write(self, content: bytes) -> None:
        """Write on. Raises `OSError`."""
        _write_all(self.descriptor, content)
        self.size += len(content)
        self._unsynced += len(content)
        if self._sync and self._unsynced >= _SYNC_EVERY_BYTES:
            self._sync_now()

    def catch_up(self, old: Path, size: int) -> bool:
        """Add a portion of what was appended to the old log since, which has `size` bytes now;
        False when little is left for `copy_from`. Raises `OSError`."""
        if size - self._since <= _COPY_BYTES:
            return False
        with old.open("rb") as source:
            self._copy(source)
        return True

    def copy_from(self, old: Path) -> None:
        """Add all that was appended to the old log since. Raises `OSError`."""
        with old.open("rb") as source:
            while self._copy(source):
                pass
        if self._sync:
            self._sync_now()

    def _copy(self, source: BinaryIO) -> bool:
        source.seek(self._since)
        records = source.read(_COPY_BYTES)
        self._since += len(records)
        self.write(records)
        return bool(records)

    def give_up(self) -> None:
        """Leave the old log as it is."""
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)

    def _sync_now(self) -> None:
        os.fdatasync(self.descriptor)
        self._unsynced = 0


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LogInUse(
            error.errno,
            f"another server works in {path.parent}: stop it or choose another state_dir",
        ) from error
    return descriptor
