"""`lamplighter backup` and `lamplighter restore`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from city_platform.backup.restoring import Restored
    from city_platform.backup.taking import Taken

EXIT_OTHER: Final = 3
_NAMES_TOLD: Final = 10


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The state folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to make.")],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Private keys, pre-shared keys and tokens too.")
    ] = False,
) -> None:
    """Copy the embedded stores of an installation into one file, also while it runs.

    Exit 0: it is whole and on the disk; 3: anything else, and there is no file.
    """
    from city_platform.backup.archive import BackupRefused
    from city_platform.backup.taking import back_up
    from runtime.clock import SystemClock

    try:
        taken = back_up(folder, out, SystemClock().wall_us(), with_keys=with_keys)
    except (BackupRefused, OSError) as error:
        _fail("backup", error)
    sys.stdout.write(taken_text(out, taken, with_keys=with_keys))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` made.")],
    into: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make.")],
) -> None:
    """Write the stores of a backup into a new folder: whole and verified, or not at all.

    Exit 0: everything is there; 3: anything else, and there is no folder.
    """
    from city_platform.backup.archive import BackupRefused
    from city_platform.backup.restoring import restore as restore_now

    try:
        restored = restore_now(file, into)
    except (BackupRefused, OSError) as error:
        _fail("restore", error)
    sys.stdout.write(restored_text(restored))


def taken_text(out: Path, taken: Taken, *, with_keys: bool) -> str:
    """What was backed up, for people."""
    lines = [f"{out}: {taken.entries} files, {taken.size_bytes:,} bytes"]
    if with_keys:
        lines.append("it has private keys: keep it as you keep them (its mode is 600)")
    elif taken.left_out:
        lines.append(f"left out, they hold keys (--with-keys takes them): {_some(taken.left_out)}")
    if taken.passed_over:
        lines.append(f"passed over, no plain files: {_some(taken.passed_over)}")
    return "".join(f"{line}\n" for line in lines)


def restored_text(restored: Restored) -> str:
    """What was restored, for people."""
    from datetime import UTC, datetime

    found = restored.manifest
    at = datetime.fromtimestamp(
        min(max(found.made_at_us, 0), 253_402_300_799_000_000) // 10**6, UTC
    )
    lines = [f"{restored.folder}: {len(found.entries)} files as of {at:%Y-%m-%dT%H:%M:%SZ}"]
    if found.left_out:
        lines.append(f"not in this backup, they hold keys: {_some(found.left_out)}")
    return "".join(f"{line}\n" for line in lines)


def _some(names: list[str]) -> str:
    told = ", ".join(name.encode(errors="replace").decode() for name in names[:_NAMES_TOLD])
    more = len(names) - _NAMES_TOLD
    return f"{told} and {more} more" if more > 0 else told


def _fail(command: str, error: Exception) -> None:
    sys.stderr.write(f"lamplighter {command}: {error}\n")
    raise typer.Exit(EXIT_OTHER) from None
