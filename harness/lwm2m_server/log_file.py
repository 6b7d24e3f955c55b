"""The server's log on disk: appended once a turn, replaced as a whole at a compaction.

A record that was appended survives the kill of the process, because the kernel has it. With `sync`
it has also reached the disk and survives a power cut; without, a power cut may take the last
records, and with them sequence numbers that a bridge has already seen.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from harness.lwm2m_server.records import DecodedLog, decode_log
from runtime.files import sync_directory, write_atomically

LOG_NAME = "events.log"
DAMAGED_NAME = "events.log.damaged"


class LogInUse(OSError):
    """Another server works in the same state directory."""


class LogFile:
    """One process's log in `directory`. Raises `LogInUse` when another process holds it."""

    def __init__(self, directory: Path, *, sync: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / LOG_NAME
        self._sync = sync
        self._lock = _lock(directory / ".lock")
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

    def append(self, records: bytes) -> None:
        """Append a turn's records in one write. Raises `OSError`, and then nothing may leave."""
        written = os.write(self._descriptor, records)
        while written < len(records):
            written += os.write(self._descriptor, memoryview(records)[written:])
        if self._sync:
            os.fdatasync(self._descriptor)
        self.size += written

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
