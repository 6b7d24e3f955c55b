"""The spool: messages on disk in the order they came, in files that are only appended to.

A message has a position, counted from 0 and never used twice. A file is named after its first
position; each message in it is a frame:

    length (4 bytes)  CRC-32 of the body (4)  body
    body: time received, µs (8)  topic length (2)  topic  payload

all big-endian. A frame that a kill cut short is the last of the last file, was never acknowledged,
and is dropped. All calls block: they belong into a worker thread.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from runtime.files import sync_directory

_FRAME: Final = struct.Struct(">II")
_BODY: Final = struct.Struct(">QH")
_READ_BYTES: Final = 1024 * 1024
# No MQTT packet is longer (MQTT 3.1.1 §2.2.3); a longer length is damage.
_BODY_BYTES_MAX: Final = 268_435_455 + 1024


class SpoolDamaged(ValueError):
    """A file is damaged before its end: messages that were acknowledged cannot be read. The text
    says where; what is behind that place has to be restored or given up by a person."""


class SpoolFull(OSError):
    """The messages could not be written (no space); nothing of them is kept."""


class Message(NamedTuple):
    """A message as it was received. `received_us` is Unix time."""

    position: int
    received_us: int
    topic: str
    payload: bytes


class Spool:
    """The writing end. `end` is the position that the next message gets."""

    def __init__(self, folder: Path, segment_bytes: int, bytes_max: int = 2**63) -> None:
        """Open or make the spool; a torn last frame is cut off, its bytes are kept beside it.

        It takes nothing more while its files have `bytes_max` together: the store is behind.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._segment_bytes = segment_bytes
        # The last file is never deleted: there must be room for others.
        self._bytes_max = max(bytes_max, 4 * segment_bytes)
        found = segments(folder)
        if not found:
            make_segment(folder, 0)
            found = segments(folder)
        self._path = found[-1].path
        count, self._size = _recover(self._path, found[-1].first)
        self.end = found[-1].first + count
        self._descriptor = os.open(self._path, os.O_WRONLY)
        os.lseek(self._descriptor, self._size, os.SEEK_SET)
        self._earlier_bytes = _bytes_of(found[:-1])

    @property
    def size_bytes(self) -> int:
        """What its files have together."""
        return self._earlier_bytes + self._size

    @property
    def is_filling(self) -> bool:
        """Whether more than half of what it may have is used, by files that could be deleted."""
        return self._earlier_bytes > self._bytes_max // 2

    def append(self, messages: Sequence[tuple[int, str, bytes]]) -> int:
        """Write (time received, topic, payload) of each and sync once; returns the new end.

        Raises `SpoolFull`. An error of the sync itself is raised as it is: after it nobody knows
        what is on the disk, so the process must end and read the spool again.
        """
        data = b"".join(encode_frame(*message) for message in messages)
        if self.size_bytes + len(data) > self._bytes_max:
            raise SpoolFull(errno.EDQUOT, f"{self.size_bytes} bytes wait for the store")
        if self._size and self._size + len(data) > self._segment_bytes:
            self._begin_segment()
        self._write(data)
        os.fdatasync(self._descriptor)
        self._size += len(data)
        self.end += len(messages)
        return self.end

    def drop_before(self, position: int) -> None:
        """Delete the files all of whose messages are before `position`."""
        found = segments(self._folder)
        for segment, following in itertools.pairwise(found):
            if following.first <= position:
                segment.path.unlink()
        self._earlier_bytes = _bytes_of(segments(self._folder)[:-1])

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _begin_segment(self) -> None:
        path = self._folder / f"{self.end:020d}.spool"
        try:
            make_segment(self._folder, self.end)
            descriptor = os.open(path, os.O_WRONLY)
        except OSError as error:
            # What comes next goes on in the file at hand: an empty one must not hide it.
            path.unlink(missing_ok=True)
            raise SpoolFull(error.errno, f"{path}: {error.strerror}") from error
        os.close(self._descriptor)
        self._earlier_bytes += self._size
        self._path, self._size = path, 0
        self._descriptor = descriptor

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._write_some(view) :]
        except OSError as error:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise SpoolFull(error.errno, f"{self._path}: {error.strerror}") from error

    def _write_some(self, view: memoryview) -> int:
        return os.write(self._descriptor, view)


class SpoolReader:
    """Reads messages from a position on, over all files."""

    def __init__(self, folder: Path, position: int) -> None:
        self._folder = folder
        self._descriptor = -1
        self._buffer = b""
        self._at = 0
        self._offset = 0
        self._next_file = -1
        self.position = position

    def read(self, until: int, messages_max: int, bytes_max: int) -> list[Message]:
        """Messages before position `until` (durable ones): at most so many, and, after the first,
        at most so many bytes. Raises `SpoolDamaged`.
        """
        found: list[Message] = []
        size = 0
        while self.position < until and len(found) < messages_max:
            if self._descriptor < 0:
                self._open()
            body = self._body_at_hand() or self._next_body()
            if body is None:
                self._open()
                continue
            message = decode_body(self.position, body)
            size += len(body)
            self.position += 1
            found.append(message)
            if size >= bytes_max:
                break
        return found

    def go_to(self, position: int) -> None:
        """Read on from there: the messages before it are known."""
        if position != self.position:
            self.close()
            self._next_file = -1
            self.position = position

    def close(self) -> None:
        """Close the file at hand; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        """Go to the file that holds `position`, and in it to the message."""
        wanted = self.position
        held = [found for found in segments(self._folder) if found.first <= wanted]
        if not held or held[-1].first == self._next_file:
            raise SpoolDamaged(f"{self._folder}: the message at {wanted} is missing")
        self.close()
        self._descriptor = os.open(held[-1].path, os.O_RDONLY)
        self._buffer, self._at, self._offset = b"", 0, 0
        self._next_file = held[-1].first
        for _ in range(held[-1].first, wanted):
            if self._next_body() is None:
                raise SpoolDamaged(f"{held[-1].path} ends before the message at {wanted}")

    def _body_at_hand(self) -> bytes | None:
        """The next frame's body when it was read from the disk already and is whole."""
        buffer, start = self._buffer, self._at + _FRAME.size
        if start > len(buffer):
            return None
        length, checksum = _FRAME.unpack_from(buffer, self._at)
        body = buffer[start : start + length]
        if len(body) != length or length < _BODY.size or zlib.crc32(body) != checksum:
            return None
        self._at = start + length
        return body

    def _next_body(self) -> bytes | None:
        """The next frame's body, None at the end of the file."""
        head = self._take(_FRAME.size)
        if not head:
            return None
        if len(head) == _FRAME.size:
            length, checksum = _FRAME.unpack(head)
            body = self._take(length) if _BODY.size <= length <= _BODY_BYTES_MAX else b""
            if body and len(body) == length and zlib.crc32(body) == checksum:
                return body
        raise SpoolDamaged(
            f"{self._folder}: file {self._next_file} is damaged before byte {self._offset}, "
            f"at the message {self.position}"
        )

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            more = os.pread(self._descriptor, max(_READ_BYTES, size), self._offset)
            if not more:
                break
            self._offset += len(more)
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
        taken = self._buffer[self._at : self._at + size]
        self._at += len(taken)
        return taken


class Segment(NamedTuple):
    """One file of the spool and the position of its first message."""

    first: int
    path: Path


def segments(folder: Path) -> list[Segment]:
    """The files of the spool in the order of their messages."""
    found = (path for path in folder.iterdir() if path.suffix == ".spool")
    return sorted(Segment(int(path.stem), path) for path in found)


def _bytes_of(found: Iterable[Segment]) -> int:
    return sum(segment.path.stat().st_size for segment in found)


def make_segment(folder: Path, first: int) -> Path:
    """Make the empty file for messages from position `first` on; it survives a power cut."""
    path = folder / f"{first:020d}.spool"
    path.touch()
    sync_directory(folder)
    return path


def encode_frame(received_us: int, topic: str, payload: bytes) -> bytes:
    """One message as it is in the file."""
    name = topic.encode()
    body = _BODY.pack(received_us, len(name)) + name + payload
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def decode_body(position: int, body: bytes) -> Message:
    """A message from a body whose checksum was right."""
    received_us, length = _BODY.unpack_from(body)
    end = _BODY.size + length
    return Message(position, received_us, str(body[_BODY.size : end], "utf-8"), body[end:])


def whole_frames(data: bytes) -> Iterable[int]:
    """Where each whole frame from the start of `data` ends."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        if end > len(data) or length < _BODY.size:
            return
        if zlib.crc32(data[at + _FRAME.size : end]) != checksum:
            return
        at = end
        yield at


def _recover(path: Path, first: int) -> tuple[int, int]:
    """How many whole frames the last file has and where they end; the rest is cut off."""
    data = path.read_bytes()
    ends = list(whole_frames(data))
    size = ends[-1] if ends else 0
    if size < len(data):
        # Never acknowledged, if a kill cut it short; kept in case it was the disk.
        path.with_suffix(f".torn-at-{first + len(ends)}").write_bytes(data[size:])
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())
    return len(ends), size
