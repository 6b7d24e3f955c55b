"""Taking a backup of a folder while the components that write to it run.

Databases are copied by SQLite's own online backup, each as it is at one moment. The spool's files
are held open before the databases are copied and read after them, so that whatever a database does
not have yet is there, also when ingestion deletes the file meanwhile. All other files are written
whole under another name and renamed, or only appended to.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sqlite3
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import quote

import msgspec

from city_platform.backup.archive import (
    DATA,
    FORMAT,
    MANIFEST,
    MODES,
    PIECE_BYTES,
    VERSION,
    BackupRefused,
    Entry,
    Manifest,
    check_name,
)
from city_platform.backup.staging import staging_beside
from city_platform.backup.stores import HEAD_BYTES, Store, is_passing, store_of
from city_platform.stores.sqlite import BUSY_TIMEOUT_MS
from runtime.files import OWNER_ONLY, sync_directory

# Fast rather than small: telemetry shrinks to a third at this level too.
_COMPRESSION: Final = 1
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Taken(NamedTuple):
    """What became of a backup. `left_out` hold keys; `passed_over` are no plain files."""

    entries: int
    size_bytes: int
    left_out: list[str]
    passed_over: list[str]


class _Found(NamedTuple):
    name: str
    path: Path
    mode: int
    store: Store


def back_up(folder: Path, out: Path, made_at_us: int, *, with_keys: bool = False) -> Taken:
    """Write the stores below `folder` to `out`, which its owner alone can read.

    Without `with_keys` files that hold keys are left out. Raises `BackupRefused` and `OSError`.
    """
    _check_places(folder, out)
    with staging_beside(out) as staging:
        copies = staging / "copies"
        with contextlib.ExitStack() as opened:
            entries, left_out, passed_over = _stage(folder, copies, opened, with_keys=with_keys)
        manifest = Manifest(
            format=FORMAT, version=VERSION, made_at_us=made_at_us, with_keys=with_keys,
            entries=entries, left_out=left_out,
        )  # fmt: skip
        size_bytes = _write(copies, manifest, staging / "packed", out)
    return Taken(len(entries), size_bytes, left_out, passed_over)


def _check_places(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise BackupRefused(f"{folder} is no folder: name the installation's state folder")
    if out.exists():
        raise BackupRefused(f"{out} is there already: choose another name")
    if not out.parent.is_dir():
        raise BackupRefused(f"{out.parent} is no folder: make it first")
    if folder.resolve() in out.resolve().parents:
        raise BackupRefused(f"{out} lies in what is backed up: choose another folder")


def _stage(
    folder: Path, staging: Path, opened: contextlib.ExitStack, *, with_keys: bool
) -> tuple[list[Entry], list[str], list[str]]:
    """Copy everything, in the order that `stores` says; what was copied, left out, passed over."""
    spools = _open_spools(folder, opened, {})
    before = sorted(_walk(folder, []), key=lambda one: (one.store.order, one.name))
    databases = [one for one in before if one.store.kind == "sqlite"]
    entries = [
        _copy_database(one, staging) for one in databases if with_keys or not one.store.has_keys
    ]
    # And what came meanwhile.
    spools = _open_spools(folder, opened, spools)
    entries += [_copy_open(name, MODES[1], file, staging) for name, file in sorted(spools.items())]
    passed_over: list[str] = []
    files = [one for one in _walk(folder, passed_over) if one.store.kind == "file"]
    copied = (_copy_file(one, staging) for one in files if with_keys or not one.store.has_keys)
    entries += [entry for entry in copied if entry is not None]
    left_out = {one.name for one in (*databases, *files) if one.store.has_keys and not with_keys}
    return entries, sorted(left_out), passed_over


def _walk(folder: Path, passed_over: list[str]) -> Iterator[_Found]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            below = path.relative_to(folder).as_posix()
            if is_passing(below):
                continue
            try:
                found = _look_at(below, path)
            except FileNotFoundError:
                continue  # it has gone meanwhile
            if found is None:
                passed_over.append(below)
            else:
                yield found


def _look_at(name: str, path: Path) -> _Found | None:
    """What a file is; None for what is no plain file with a plain name."""
    mode = path.lstat().st_mode
    try:
        check_name(name)
    except BackupRefused:
        return None
    if not stat.S_ISREG(mode):
        return None
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return _Found(name, path, mode, store_of(name, mode, head))


def _open_spools(
    folder: Path, opened: contextlib.ExitStack, held: Mapping[str, BinaryIO]
) -> dict[str, BinaryIO]:
    """The spool's files by name, those of `held` among them; `opened` closes them."""
    found = dict(held)
    for one in _walk(folder, []):
        if one.store.kind == "spool" and one.name not in found:
            with contextlib.suppress(FileNotFoundError):
                found[one.name] = opened.enter_context(one.path.open("rb"))
    return found


def _copy_database(one: _Found, staging: Path) -> Entry:
    target = _place(staging, one.name)
    try:
        # Not `ro`: such a one leaves its log behind when nobody else has the database open.
        source = sqlite3.connect(f"file:{quote(str(one.path))}?mode=rw", uri=True)
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(target)) as copy:
            source.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            source.backup(copy)
            # One file alone: without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
            check_database(copy, one.name)
            schema = int(copy.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise BackupRefused(f"{one.path} cannot be copied: {error}") from error
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(
        name=one.name, kind="sqlite", size_bytes=target.stat().st_size, sha256=digest,
        mode=_kept_mode(one.mode), schema=schema,
    )  # fmt: skip


def check_database(connection: sqlite3.Connection, name: str) -> None:
    """Raises `BackupRefused` for a database whose pages do not fit together."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise BackupRefused(f"the database {name} is damaged: {found}")


def _copy_file(one: _Found, staging: Path) -> Entry | None:
    try:
        with one.path.open("rb") as file:
            return _copy_open(one.name, _kept_mode(one.mode), file, staging)
    except FileNotFoundError:
        return None  # deleted meanwhile: then nothing refers to it


def _copy_open(name: str, mode: int, file: BinaryIO, staging: Path) -> Entry:
    digest, size_bytes = hashlib.sha256(), 0
    # As long as it is now; what is appended from here on is not of this backup.
    left = os.fstat(file.fileno()).st_size
    with _place(staging, name).open("wb") as target:
        while left and (piece := file.read(min(PIECE_BYTES, left))):
            target.write(piece)
            digest.update(piece)
            size_bytes += len(piece)
            left -= len(piece)
    return Entry(
        name=name, kind="file", size_bytes=size_bytes, sha256=digest.hexdigest(), mode=mode
    )


def _kept_mode(mode: int) -> int:
    return MODES[1] if stat.S_IMODE(mode) & _OTHERS else MODES[0]


def _place(staging: Path, name: str) -> Path:
    path = staging / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _write(copies: Path, manifest: Manifest, unnamed: Path, out: Path) -> int:
    """Put everything into one file, then give it its name. Returns its size in bytes."""
    descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed:
            _pack(packed, copies, manifest)
        file.flush()
        os.fsync(file.fileno())
    try:
        # Unlike a rename it never takes the place of another file.
        os.link(unnamed, out)
    except FileExistsError:
        raise BackupRefused(f"{out} is there already: choose another name") from None
    sync_directory(out.parent)
    return out.stat().st_size


def _pack(packed: gzip.GzipFile, copies: Path, manifest: Manifest) -> None:
    with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, MANIFEST, io.BytesIO(data := msgspec.json.encode(manifest)), len(data))
        for entry in manifest.entries:
            with (copies / entry.name).open("rb") as file:
                _add(tar, DATA + entry.name, file, entry.size_bytes)


def _add(tar: tarfile.TarFile, name: str, file: BinaryIO, size_bytes: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, OWNER_ONLY
    tar.addfile(info, file)
