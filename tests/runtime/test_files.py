"""Files that are whole or as they were, and those that only their owner may read."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.component import ConfigError
from runtime.files import FileRefused, check_owner_only, read_file, write_atomically, write_secret


def test_a_secret_that_was_written_is_its_owners_alone(tmp_path: Path) -> None:
    write_secret(tmp_path / "key", b"secret")
    check_owner_only(tmp_path / "key")
    check_owner_only(str(tmp_path / "key"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_touch_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    write_secret(tmp_path / "key", b"secret")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ConfigError, match=r"0600 \(chmod 600 .*key\)"):
        check_owner_only(tmp_path / "key")


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "rows"
    file.write_bytes(b"12345")
    assert read_file(file, 5) == b"12345"
    with pytest.raises(FileRefused, match="it has more than the 4 bytes that are read"):
        read_file(file, 4)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(FileRefused, match="it is no regular file"):
            read_file(tmp_path / name, 5)
    with pytest.raises(FileRefused, match="Is a directory"):
        read_file(tmp_path, 5)
    with pytest.raises(FileRefused, match="No such file"):
        read_file(tmp_path / "gone", 5)


@contextlib.contextmanager
def room_for(bytes_max: int) -> Iterator[None]:
    """Files get no longer than this: a write across it is taken in part, and the next refused, as
    on a disk that gets full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("size", [101, 200_000])
def test_a_disk_that_gets_full_in_a_write_leaves_the_file_as_it_was(
    tmp_path: Path, size: int, sync: bool
) -> None:
    file = tmp_path / "state.json"
    write_atomically(file, b"before")
    with room_for(100), pytest.raises(OSError, match="too large") as refused:
        write_atomically(file, b"x" * size, sync=sync)
    assert refused.value.errno == errno.EFBIG
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file], "what was written takes no room"
    write_atomically(file, b"x" * size, sync=sync)
    assert len(file.read_bytes()) == size


def test_what_a_kill_left_does_not_give_a_secret_its_mode(tmp_path: Path) -> None:
    left = tmp_path / f".key.{os.getpid()}.tmp"
    left.write_bytes(b"half of somethi")
    left.chmod(0o644)
    write_secret(tmp_path / "key", b"secret")
    check_owner_only(tmp_path / "key")
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]
