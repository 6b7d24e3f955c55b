"""The file that a backup is: a compressed tar with its manifest first, and the manifest's checks.

Checksums find damage. They do not find malice: keep a backup where only who may read the stores can
write.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal

import msgspec

FORMAT: Final = "lamplighter-backup"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
DATA: Final = "data/"
MANIFEST_BYTES_MAX: Final = 512 * 1024 * 1024
MODES: Final = (0o600, 0o644)
PIECE_BYTES: Final = 1024 * 1024
_NAME_LENGTH_MAX: Final = 4_096
# Lone surrogates too: what a file system has for a name that is no UTF-8.
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class BackupRefused(ValueError):
    """A backup cannot be made or restored; the text says what is wrong, and what to do."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `schema` is the version that a database says of its tables."""

    name: str
    kind: Literal["sqlite", "file"]
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str
    mode: int
    schema: int | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the file. `left_out` are the files with keys that are not."""

    format: str
    version: int
    made_at_us: int
    with_keys: bool
    entries: list[Entry]
    left_out: list[str]


class _Head(msgspec.Struct, frozen=True):
    format: str
    version: int


def read_manifest(data: bytes) -> Manifest:
    """The manifest, and that nothing in it leads out of a folder. Raises `BackupRefused`."""
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format != FORMAT:
            raise BackupRefused("this is no backup of Lamplighter")
        if head.version > VERSION:
            raise BackupRefused(
                f"the backup has format {head.version}, this program reads up to {VERSION}: "
                "restore it with a newer one"
            )
        found = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BackupRefused("the backup's manifest cannot be read: the file is damaged") from None
    _check_entries(found.entries)
    return found


def check_name(name: str) -> None:
    """Raises `BackupRefused` for a name that is not a plain path below a folder."""
    path = PurePosixPath(name)
    is_plain = (
        0 < len(name) <= _NAME_LENGTH_MAX
        and not path.is_absolute()
        and ".." not in path.parts
        and str(path) == name
        and name != "."
        and not _FORBIDDEN.search(name)
    )
    if not is_plain:
        raise BackupRefused(f"the backup names {name[:100]!r}, which is no file below its folder")


def _check_entries(entries: list[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        check_name(entry.name)
        if entry.name in seen:
            raise BackupRefused(f"the backup names {entry.name[:100]!r} twice")
        if entry.mode not in MODES:
            raise BackupRefused(f"{entry.name[:100]!r} has a mode that no store has")
        seen.add(entry.name)
