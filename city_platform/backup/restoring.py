"""Restoring a backup into a folder that is not there yet: whole and verified, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tarfile
import zlib
from pathlib import Path
from typing import IO, NamedTuple

from city_platform.backup.archive import (
    DATA,
    MANIFEST,
    MANIFEST_BYTES_MAX,
    PIECE_BYTES,
    BackupRefused,
    Entry,
    Manifest,
    read_manifest,
)
from city_platform.backup.staging import staging_beside
from city_platform.backup.taking import check_database
from runtime.files import sync_directory


class Restored(NamedTuple):
    """What was restored: what the backup says of itself."""

    manifest: Manifest
    folder: Path


def restore(file: Path, into: Path) -> Restored:
    """Write the stores of a backup below `into`. Raises `BackupRefused` and `OSError`.

    Everything is written beside it first, compared with its checksum, and databases are looked
    through; only then it gets its name. A kill leaves it whole or not there, and the next try takes
    away what else it left.
    """
    # By its name: `.` has none.
    into = Path(os.path.abspath(into))
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise BackupRefused(f"{into} is not empty: restore into a new folder")
    if not into.parent.is_dir():
        raise BackupRefused(f"{into.parent} is no folder: make it first")
    if os.path.ismount(into):
        raise BackupRefused(f"{into} is a mount point: restore into a new folder in it")
    with staging_beside(into) as staging:
        manifest = _unpack(file, staging)
        # All of it is on the disk before it can be taken for whole.
        os.sync()
        os.rename(staging, into)
        sync_directory(into.parent)
    return Restored(manifest, into)


def _unpack(file: Path, staging: Path) -> Manifest:
    try:
        with tarfile.open(file, "r|gz") as tar:
            manifest = read_manifest(_manifest_of(tar))
            for entry in manifest.entries:
                _unpack_entry(tar, entry, staging)
            if tar.next() is not None:
                raise BackupRefused("the backup has more than its manifest says")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise BackupRefused(f"{file} is damaged, or no backup: {error}") from error
    except OSError as error:
        # What gzip finds wrong has no number; a full disk has.
        if error.errno is None:
            raise BackupRefused(f"{file} is damaged: {error}") from error
        raise
    return manifest


def _manifest_of(tar: tarfile.TarFile) -> bytes:
    with _member(tar, MANIFEST, MANIFEST_BYTES_MAX) as content:
        return content.read()


def _member(tar: tarfile.TarFile, name: str, bytes_max: int) -> contextlib.closing[IO[bytes]]:
    """The next member, which must be the plain file of this name."""
    info = tar.next()
    if info is None:
        raise BackupRefused(f"the backup ends before {name}: it is damaged")
    if not info.isreg() or info.name != name:
        raise BackupRefused(f"the backup has {info.name[:100]!r} where {name[:100]!r} belongs")
    if info.size > bytes_max:
        raise BackupRefused(f"{name[:100]!r} is larger than its manifest says")
    content = tar.extractfile(info)
    assert content is not None
    return contextlib.closing(content)


def _unpack_entry(tar: tarfile.TarFile, entry: Entry, staging: Path) -> None:
    path = staging / entry.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size_bytes = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, entry.mode)
    with (
        os.fdopen(descriptor, "wb") as target,
        _member(tar, DATA + entry.name, entry.size_bytes) as content,
    ):
        while piece := content.read(PIECE_BYTES):
            target.write(piece)
            digest.update(piece)
            size_bytes += len(piece)
    if (size_bytes, digest.hexdigest()) != (entry.size_bytes, entry.sha256):
        raise BackupRefused(f"{entry.name!r} is not what was backed up: the file is damaged")
    if entry.kind == "sqlite":
        _check_schema(path, entry)


def _check_schema(path: Path, entry: Entry) -> None:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            check_database(connection, entry.name)
            schema = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise BackupRefused(f"the database {entry.name!r} cannot be read: {error}") from error
    if schema != entry.schema:
        raise BackupRefused(
            f"the database {entry.name!r} has schema {schema}, its backup says {entry.schema}"
        )
